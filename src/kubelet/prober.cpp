#include "prober.hpp"

#include <boost/asio/ip/tcp.hpp>

namespace skiff::kubelet {
namespace {

Error failure(std::string message) { return {Code::unavailable, std::move(message)}; }

const char* name_of(bool startup, bool liveness) {
  if (startup) return "Startup";
  return liveness ? "Liveness" : "Readiness";
}

}  // namespace

Result<std::int64_t> port_of(const Value& port, const Value& container) {
  if (port.is_int()) return port.as_int();
  for (const Value& p : container["ports"].items()) {
    if (p["name"].as_string() == port.as_string()) return p["containerPort"].as_int();
  }
  std::int64_t number = 0;
  const std::string& text = port.as_string();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return failure("couldn't find port: " + text);
}

std::string host_port(const std::string& host, std::int64_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

namespace {

Task<Result<void>> connect(std::string host, std::uint16_t port) {
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(host, ec);
  if (ec) co_return failure("not an address: " + host);
  asio::ip::tcp::socket socket(co_await asio::this_coro::executor);
  co_await socket.async_connect({address, port}, asio::redirect_error(asio::use_awaitable, ec));
  if (ec) {
    std::string text = ec.message();
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
    co_return failure("dial tcp " + host_port(host, port) + ": connect: " + text);
  }
  co_return Result<void>();
}

// What the API shows of this very instance of a container; null when it shows another or none.
const Value* reported_status(const Value& pod, const std::string& container_id) {
  for (const char* list : {"containerStatuses", "initContainerStatuses"}) {
    for (const Value& status : pod["status"][list].items()) {
      if (status["containerID"].as_string() == "skiff://" + container_id) return &status;
    }
  }
  return nullptr;
}

}  // namespace

Prober::Prober(Env env, runtime::Runtime& runtime, http::Client& http,
               client::EventRecorder& events, std::function<void()> changed)
    : env_(env), runtime_(runtime), http_(http), events_(events), changed_(std::move(changed)) {}

void Prober::watch(TaskGroup& group, ObjectPtr pod, const std::string& container,
                   const std::string& container_id, const std::string& address) {
  WatchedPtr& slot = watched_[container];
  if (slot && slot->id == container_id) return;
  if (slot) {
    slot->over = true;
    slot->started->notify_all();
  }
  slot = std::make_shared<Watched>();
  slot->pod = pod;
  slot->container = container;
  slot->id = container_id;
  slot->address = address;
  slot->started = std::make_unique<Signal>(env_.executor);
  const Value* spec = find_container(pod->root(), container);
  if (spec == nullptr) return;
  slot->health.started = !spec->has("startupProbe");
  slot->health.ready = slot->health.started && !spec->has("readinessProbe");
  // A kubelet that starts anew must not take running pods out of service: what was found out about
  // this very instance holds until a probe says otherwise.
  if (const Value* known = reported_status(pod->root(), container_id)) {
    slot->health.started = slot->health.started || (*known)["started"].as_bool();
    slot->health.ready = slot->health.ready || (*known)["ready"].as_bool();
  }
  const std::string name = "probe " + pod->key().to_string() + " " + container;
  if (spec->has("startupProbe")) group.spawn(name, run(slot, Kind::startup));
  if (spec->has("livenessProbe")) group.spawn(name, run(slot, Kind::liveness));
  if (spec->has("readinessProbe")) group.spawn(name, run(slot, Kind::readiness));
}

void Prober::forget(const std::string& container) {
  const auto it = watched_.find(container);
  if (it == watched_.end()) return;
  it->second->over = true;
  it->second->started->notify_all();
  watched_.erase(it);
}

Health Prober::health(const std::string& container) const {
  const auto it = watched_.find(container);
  return it != watched_.end() ? it->second->health : Health{};
}

Task<void> Prober::run(WatchedPtr w, Kind kind) {
  const char* field = kind == Kind::startup    ? "startupProbe"
                      : kind == Kind::liveness ? "livenessProbe"
                                               : "readinessProbe";
  const Value& probe = (*find_container(w->pod->root(), w->container))[field];
  const Duration period =
      std::chrono::seconds(std::max<std::int64_t>(1, probe["periodSeconds"].as_int(10)));
  const std::int64_t good_enough = std::max<std::int64_t>(1, probe["successThreshold"].as_int(1));
  const std::int64_t bad_enough = std::max<std::int64_t>(1, probe["failureThreshold"].as_int(3));
  const char* shown = name_of(kind == Kind::startup, kind == Kind::liveness);
  co_await env_.clock->sleep_for(std::chrono::seconds(probe["initialDelaySeconds"].as_int()));
  while (kind != Kind::startup && !w->health.started && !w->over) co_await w->started->wait();

  // A fresh container is asked again soon, until the period is reached, so that it is Ready when it
  // is ready. These early failures are not counted.
  Duration early = kind == Kind::liveness ? period : Duration(20ms);
  int good = 0;
  int bad = 0;
  while (!w->over) {
    const Result<void> verdict = co_await probe_once(w, &probe);
    if (w->over) break;
    if (verdict) {
      early = period;
      bad = 0;
      ++good;
      if (good >= good_enough) judge(w, kind, true, good);
      if (kind == Kind::startup && w->health.started) co_return;
    } else if (early >= period) {
      good = 0;
      ++bad;
      const Value* container = find_container(w->pod->root(), w->container);
      const bool is_init =
          find_named((*w->pod)["spec"]["initContainers"], w->container) == container;
      events_.event(
          *w->pod, "Warning", "Unhealthy",
          std::string(shown) + " probe failed: " + verdict.error().message,
          std::string(is_init ? "spec.initContainers{" : "spec.containers{") + w->container + "}");
      if (bad >= bad_enough) judge(w, kind, false, bad);
    }
    co_await env_.clock->sleep_for(std::min(early, period));
    if (early < period) early *= 2;
  }
}

void Prober::judge(const WatchedPtr& w, Kind kind, bool good, int count) {
  const Health before = w->health;
  if (kind == Kind::readiness) {
    w->health.ready = good;
  } else if (!good) {
    const char* what = kind == Kind::startup ? "startup" : "liveness";
    w->health.kill_reason =
        "Container " + w->container + " failed " + what + " probe, will be restarted";
  } else if (kind == Kind::startup) {
    w->health.started = true;
    const Value* spec = find_container(w->pod->root(), w->container);
    w->health.ready = !spec->has("readinessProbe");
    w->started->notify_all();
  }
  const bool differs = before.ready != w->health.ready || before.started != w->health.started ||
                       before.kill_reason != w->health.kill_reason;
  // A container that stays unhealthy is reported again, should the first kill not have come
  // through.
  if (differs || (!good && kind != Kind::readiness && count > 0)) changed_();
}

Task<Result<void>> Prober::probe_once(WatchedPtr w, const Value* probe) {
  const Duration timeout =
      std::chrono::seconds(std::max<std::int64_t>(1, (*probe)["timeoutSeconds"].as_int(1)));
  if (probe->has("httpGet")) co_return co_await probe_http(w, probe, timeout);
  if (probe->has("tcpSocket")) co_return co_await probe_tcp(w, probe, timeout);
  if (probe->has("exec")) co_return co_await probe_exec(w, probe, timeout);
  co_return failure("this node cannot probe by gRPC: use httpGet, tcpSocket or exec");
}

Task<Result<void>> Prober::probe_http(WatchedPtr w, const Value* probe, Duration timeout) {
  const Value& get = (*probe)["httpGet"];
  const Value* container = find_container(w->pod->root(), w->container);
  SKIFF_CO_TRY(const std::int64_t port, port_of(get["port"], *container));
  const std::string host(get["host"].as_string_or(w->address));
  const std::string& path = get["path"].as_string();
  http::ClientRequest request;
  request.url = (get["scheme"].as_string() == "HTTPS" ? "https://" : "http://") +
                host_port(host, port) + (path.rfind('/', 0) == 0 ? "" : "/") + path;
  request.timeout = timeout;
  request.max_body = 10 << 10;
  for (const Value& h : get["httpHeaders"].items()) {
    request.headers.set(h["name"].as_string(), h["value"].as_string());
  }
  if (!request.headers.has("Accept")) request.headers.add("Accept", "*/*");
  const std::string url = request.url;
  const Result<http::ClientResponse> answer = co_await http_.request(std::move(request));
  if (!answer) {
    if (answer.error().code == Code::too_large) co_return Result<void>();  // it does answer
    co_return failure("Get \"" + url + "\": " + answer.error().message);
  }
  if (answer->status >= 200 && answer->status < 400) co_return Result<void>();
  co_return failure("HTTP probe failed with statuscode: " + std::to_string(answer->status));
}

Task<Result<void>> Prober::probe_tcp(WatchedPtr w, const Value* probe, Duration timeout) {
  const Value& tcp = (*probe)["tcpSocket"];
  const Value* container = find_container(w->pod->root(), w->container);
  SKIFF_CO_TRY(const std::int64_t port, port_of(tcp["port"], *container));
  const std::string host(tcp["host"].as_string_or(w->address));
  std::string what = "dial tcp " + host_port(host, port);
  Task<Result<void>> attempt = connect(host, static_cast<std::uint16_t>(port));
  Result<void> done =
      co_await with_timeout<void>(*env_.clock, timeout, std::move(what), std::move(attempt));
  co_return done;
}

Task<Result<void>> Prober::probe_exec(WatchedPtr w, const Value* probe, Duration timeout) {
  std::vector<std::string> command;
  for (const Value& part : (*probe)["exec"]["command"].items()) command.push_back(part.as_string());
  const std::string id = w->id;
  const Result<runtime::ExecResult> result =
      co_await runtime_.exec_sync(id, std::move(command), timeout);
  if (!result) {
    if (result.error().code == Code::timeout) {
      co_return failure(
          "command timed out after " +
          std::to_string(std::chrono::duration_cast<std::chrono::seconds>(timeout).count()) + "s");
    }
    co_return result.error();
  }
  if (result->exit_code == 0) co_return Result<void>();
  co_return failure(result->out + result->err);
}

}  // namespace skiff::kubelet
