#include "gateway.hpp"

#include <algorithm>

namespace skiff::etcd {
namespace {

constexpr Duration kFirstPause = 20ms;
constexpr Duration kLongestPause = 500ms;

http::ClientOptions client_options(const EtcdOptions& options) {
  http::ClientOptions out;
  out.tls = options.tls;
  out.connect_timeout = options.connect_timeout;
  out.max_kept_per_host = options.connections;
  return out;
}

Refusal unreachable(const Error& error) {
  if (error.code == Code::too_large) return {error};
  const bool tells = error.code == Code::unauthorized;  // a certificate: trying again is no use
  return {Error{tells ? Code::unauthorized : Code::unavailable, error.message}, !tells};
}

double seconds_of(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

GatewayMetrics::GatewayMetrics(metrics::Registry& r)
    : sent(r.counter("skiff_etcd_bytes_sent_total", "Bodies of requests to etcd.")),
      received(r.counter("skiff_etcd_bytes_received_total", "Bodies of etcd's answers.")),
      registry_(r) {}

GatewayMetrics::Kind& GatewayMetrics::of(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const auto known = kinds_.find(name);
  if (known != kinds_.end()) return known->second;
  const std::vector<std::string> label = {"request"};
  const metrics::LabelValues value = {std::string(name)};
  Kind kind{
      registry_.counter("skiff_etcd_requests_total", "Requests to etcd, repeated ones too.", label,
                        value),
      registry_.counter("skiff_etcd_failures_total",
                        "Requests that etcd refused or that did not reach it.", label, value),
      registry_.histogram("skiff_etcd_request_seconds",
                          "Until etcd's answer was there; of a watch, until it began.",
                          {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10},
                          label, value)};
  return kinds_.emplace(std::string(name), kind).first->second;
}

Result<void> check_options(const EtcdOptions& options) {
  const auto bad = [](std::string what) { return Error{Code::bad_request, std::move(what)}; };
  if (options.endpoints.empty()) return bad("etcd: no endpoint is given");
  for (const std::string& endpoint : options.endpoints) {
    const auto url = http::Url::parse(endpoint);
    if (!url) {
      return bad("etcd: \"" + endpoint +
                 "\" is not an http:// or https:// URL: " + url.error().message);
    }
    if (url->target != "/") {
      return bad("etcd: \"" + endpoint + "\" has a path: give only scheme, host and port");
    }
  }
  const std::string& prefix = options.prefix;
  if (prefix.size() < 2 || prefix.front() != '/' || prefix.back() == '/') {
    return bad("etcd: the prefix \"" + prefix + "\" must begin with / and not end with it");
  }
  if (options.user.empty() != options.password.empty()) {
    return bad("etcd: a user needs a password, and a password a user");
  }
  if (options.tls.identity.certificate_pem.empty() != options.tls.identity.key_pem.empty()) {
    return bad("etcd: a client certificate needs its key, and a key its certificate");
  }
  if (options.connections == 0 || options.request_timeout <= Duration::zero() ||
      options.health_interval <= Duration::zero() || options.lease < Duration(1s)) {
    return bad("etcd: connections, timeouts and lease must be positive");
  }
  return {};
}

std::optional<std::string> LineReader::take_line() {
  const auto end = buffer_.find('\n', searched_);
  if (end == std::string::npos) {
    searched_ = buffer_.size();
    return std::nullopt;
  }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  searched_ = 0;
  return line;
}

// Puts what comes into the object, not into its result: so nothing is lost when a timeout gives up
// on the result in the moment in which it is there.
Task<Result<void>> LineReader::fill() {
  auto part = co_await stream_->read();
  if (!part) {
    ended_ = part.error();
  } else if (part->empty()) {
    ended_ = Error{Code::unavailable, "etcd ended the stream"};
  } else {
    received_.add(static_cast<double>(part->size()));
    buffer_ += *part;
  }
  co_return Result<void>{};
}

Task<Result<std::string>> LineReader::next(Duration idle) {
  for (;;) {
    if (auto line = take_line()) {
      if (line->empty()) continue;
      co_return std::move(*line);
    }
    if (ended_) co_return *ended_;
    if (buffer_.size() > kMaxAnswer) {
      co_return Error{Code::too_large, "etcd's answer is malformed: a message without an end"};
    }
    Task<Result<void>> filling = fill();
    const auto filled =
        co_await with_timeout(clock_, idle, std::string("etcd's watch"), std::move(filling));
    if (!filled && !ended_ && buffer_.size() == searched_) co_return filled.error();
  }
}

Gateway::Gateway(Env env, const EtcdOptions& options)
    : env_(env),
      options_(options),
      metrics_(env.metrics != nullptr ? *env.metrics : own_metrics_),
      client_(env, client_options(options)),
      authenticated_(env.executor) {}

http::ClientRequest Gateway::request_to(const std::string& path, std::string body) const {
  http::ClientRequest request;
  request.method = http::Method::post;
  request.url = endpoint() + path;
  if (request.url[endpoint().size() - 1] == '/') request.url = endpoint() + path.substr(1);
  request.headers.add("Content-Type", "application/json");
  if (!token_.empty()) request.headers.add("Authorization", token_);
  request.body = std::move(body);
  request.max_body = kMaxAnswer;
  return request;
}

// One at a time: etcd spends much work on a password.
Task<Result<void>> Gateway::authenticate() {
  if (authenticating_) {
    while (authenticating_) co_await authenticated_.wait();
    co_return Result<void>{};
  }
  struct Busy {
    Gateway& gateway;
    explicit Busy(Gateway& g) : gateway(g) { gateway.authenticating_ = true; }
    ~Busy() {
      gateway.authenticating_ = false;
      gateway.authenticated_.notify_all();
    }
  };
  const Busy busy(*this);
  api::Value ask = api::Value::object();
  ask.set("name", options_.user);
  ask.set("password", options_.password);
  http::ClientRequest request = request_to("/v3/auth/authenticate", api::to_json(ask));
  request.headers.erase("Authorization");
  request.timeout = options_.request_timeout;
  auto answer = co_await client_.request(std::move(request));
  if (!answer) co_return unreachable(answer.error()).error;
  if (answer->status != 200) {
    const Refusal refusal = refusal_of(answer->status, answer->body);
    if (refusal.error.message.find("authentication is not enabled") != std::string::npos) {
      no_authentication_ = true;
      co_return Result<void>{};
    }
    co_return annotate(refusal.error, "user \"" + options_.user + "\"");
  }
  const auto value = parse_answer(answer->body);
  if (!value) co_return value.error();
  token_ = (*value)["token"].as_string();
  const bool usable =
      !token_.empty() && token_.size() <= 16 * 1024 &&
      std::all_of(token_.begin(), token_.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (usable) co_return Result<void>{};
  token_.clear();
  co_return Error{Code::invalid, "etcd's answer is malformed: it has no token"};
}

Task<Gateway::Attempt> Gateway::attempt(std::string path, std::string body, Duration limit) {
  GatewayMetrics::Kind& kind = metrics_.of(path);
  const TimePoint begun = env_.clock->now();
  kind.requests.add();
  metrics_.sent.add(static_cast<double>(body.size()));
  Attempt out = co_await attempt_once(std::move(path), std::move(body), limit);
  kind.seconds.observe(seconds_of(env_.clock->now() - begun));
  if (!out.answer) kind.failures.add();
  co_return out;
}

Task<Gateway::Attempt> Gateway::attempt_once(std::string path, std::string body, Duration limit) {
  Attempt out;
  if (!options_.user.empty() && token_.empty() && !no_authentication_) {
    const auto ready = co_await authenticate();
    if (!ready) {
      out.refusal = {ready.error(), ready.error().code == Code::unavailable};
      out.transport = out.refusal.transient;
      co_return out;
    }
  }
  http::ClientRequest request = request_to(path, std::move(body));
  request.timeout = limit;
  auto answer = co_await client_.request(std::move(request));
  if (!answer) {
    out.refusal = unreachable(answer.error());
    out.transport = out.refusal.transient;
    co_return out;
  }
  metrics_.received.add(static_cast<double>(answer->body.size()));
  if (answer->status != 200) {
    out.refusal = refusal_of(answer->status, answer->body);
    co_return out;
  }
  auto value = parse_answer(answer->body);
  if (value) {
    out.answer = std::move(*value);
  } else {
    out.refusal = {value.error()};
  }
  co_return out;
}

Task<Result<api::Value>> Gateway::call_within(Duration limit, std::string path, std::string body,
                                              bool* maybe_done) {
  const TimePoint deadline = env_.clock->now() + limit;
  Duration pause = kFirstPause;
  std::size_t broken = 0;  // attempts that never heard of etcd
  bool renewed = false;
  for (;;) {
    const std::size_t asked = at_;
    const Duration left = std::max<Duration>(deadline - env_.clock->now(), 1ms);
    Attempt one = co_await attempt(path, body, left);
    if (one.answer) co_return std::move(*one.answer);
    const Error error = annotate(one.refusal.error, "etcd at " + options_.endpoints[asked]);
    if (error.code == Code::unauthorized && !renewed && !token_.empty()) {
      renewed = true;
      token_.clear();
      continue;
    }
    if (maybe_done != nullptr && (one.transport || one.refusal.transient)) *maybe_done = true;
    if (!one.refusal.transient || env_.clock->now() >= deadline) co_return error;
    if (at_ == asked) move_on();
    if (one.transport) {
      // Every kept connection may be dead: one more round than there are endpoints, on new ones.
      client_.close_idle();
      if (++broken > options_.endpoints.size()) co_return error;
      continue;
    }
    co_await env_.clock->sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

Task<Result<std::unique_ptr<LineReader>>> Gateway::open(std::string path, std::string body) {
  const std::string name = "etcd at " + endpoint();
  if (!options_.user.empty() && token_.empty() && !no_authentication_) {
    const auto ready = co_await authenticate();
    if (!ready) co_return annotate(ready.error(), name);
  }
  GatewayMetrics::Kind& kind = metrics_.of(path);
  const TimePoint begun = env_.clock->now();
  kind.requests.add();
  metrics_.sent.add(static_cast<double>(body.size()));
  http::ClientRequest request = request_to(path, std::move(body));
  request.timeout = options_.request_timeout;
  auto stream = co_await client_.stream(std::move(request));
  kind.seconds.observe(seconds_of(env_.clock->now() - begun));
  if (!stream || (*stream)->status() != 200) kind.failures.add();
  if (!stream) co_return annotate(unreachable(stream.error()).error, name);
  if ((*stream)->status() != 200) {
    const int status = (*stream)->status();
    const auto text = co_await (*stream)->read_all(64 * 1024);
    const Refusal refusal = refusal_of(status, text ? *text : std::string());
    if (refusal.error.code == Code::unauthorized) token_.clear();
    co_return annotate(refusal.error, name);
  }
  co_return std::make_unique<LineReader>(*env_.clock, std::move(*stream), metrics_.received);
}

Task<Result<RangeAnswer>> Gateway::range_within(Duration limit, RangeRequest request) {
  auto answer = co_await call_within(limit, "/v3/kv/range", to_body(request), nullptr);
  if (!answer) co_return answer.error();
  co_return read_range(*answer);
}

}  // namespace skiff::etcd
