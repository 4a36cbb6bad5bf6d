#include "skiff/http/client.hpp"

#include <algorithm>

#include "answer.hpp"
#include "sockets.hpp"
#include "write.hpp"

namespace skiff::http {
namespace {

// May be sent again when a kept connection turns out to be dead (RFC 9110 section 9.2.2).
bool idempotent(Method method) noexcept {
  return method != Method::post && method != Method::patch && method != Method::connect &&
         method != Method::other;
}

bool expects_body(Method method) noexcept {
  return method == Method::post || method == Method::put || method == Method::patch;
}

std::string origin_of(const Url& url) {
  return (url.tls ? "https://" : "http://") + url.authority();
}

}  // namespace

void Pool::use_tls(std::shared_ptr<const TlsContext> made) {
  tls = std::move(made);
  kept.clear();
  ++generation;
}

// Reading the system's CAs takes a while: away from the loop, and only for the first HTTPS request.
Task<Result<void>> Pool::make_tls() {
  auto work = [settings = options.tls] { return TlsContext::for_client(settings); };
  auto made = co_await env.blocking->run(std::move(work));
  if (!made) co_return made.error();
  if (!tls) use_tls(std::move(*made));
  co_return Result<void>{};
}

std::unique_ptr<Stream> Pool::take(const std::string& origin) {
  const auto it = kept.find(origin);
  if (it == kept.end()) return nullptr;
  const TimePoint oldest = env.clock->now() - options.keep;
  std::unique_ptr<Stream> found;
  // The most recently used one is the least likely to have been closed.
  while (!found && !it->second.empty()) {
    Kept last = std::move(it->second.back());
    it->second.pop_back();
    if (last.since >= oldest && !is_stale(last.stream->native())) found = std::move(last.stream);
  }
  std::erase_if(it->second, [&](const Kept& k) { return k.since < oldest; });
  if (it->second.empty()) kept.erase(it);
  return found;
}

void Pool::give_back(const std::string& origin, std::unique_ptr<Stream> stream,
                     std::uint64_t made_in) {
  std::vector<Kept>& list = kept[origin];
  if (made_in != generation || list.size() >= options.max_kept_per_host) return;
  list.push_back({std::move(stream), env.clock->now()});
}

Task<Result<std::vector<Endpoint>>> Pool::look_up(Url url) {
  if (is_numeric(url.host)) co_return resolve(url.host, url.port);
  auto work = [host = url.host, port = url.port] { return resolve(host, port); };
  auto found = co_await env.blocking->run(std::move(work));
  co_return found;
}

Task<Result<std::unique_ptr<Stream>>> Pool::connect(Url url) {
  auto found = co_await look_up(url);
  if (!found) co_return found.error();
  Error problem{Code::unavailable, "\"" + url.host + "\" has no address"};
  for (const Endpoint& endpoint : *found) {
    const Result<int> fd = start_connect(endpoint);
    if (!fd) {
      problem = fd.error();
      continue;
    }
    auto stream = std::make_unique<Stream>(env.executor, *fd, scratch);
    co_await stream->writable();
    if (const int number = connect_error(*fd); number != 0) {
      const std::string text = errno_error(number, "cannot connect to " + endpoint.text).message;
      problem = Error{Code::unavailable, text};
      continue;
    }
    if (!url.tls) co_return stream;
    auto session = tls->client_session(env.clock->wall(), url.host);
    if (!session) co_return session.error();
    stream->set_tls(std::move(*session));
    const Result<void> shaken = co_await stream->handshake();
    if (!shaken) co_return shaken.error();
    co_return stream;
  }
  co_return problem;
}

Client::Client(Env env, ClientOptions options)
    : pool_(std::make_shared<Pool>(std::move(env), std::move(options))) {}

Client::~Client() = default;

Result<void> Client::set_tls(TlsClientOptions tls) {
  SKIFF_TRY(auto made, TlsContext::for_client(tls));
  pool_->use_tls(std::move(made));
  pool_->options.tls = std::move(tls);
  return {};
}

void Client::close_idle() noexcept { pool_->kept.clear(); }

namespace {

Outgoing outgoing(const ClientOptions& options, const Url& url, ClientRequest request) {
  Headers headers;
  if (!request.headers.has("Host")) headers.add("Host", url.authority());
  if (!request.headers.has("User-Agent")) headers.add("User-Agent", options.user_agent);
  for (const Headers::Field& f : request.headers) headers.add(f.name, f.value);
  Framing framing;
  framing.length = request.body.size();
  framing.length_known = !request.body.empty() || expects_body(request.method);
  Outgoing out;
  out.head = request_head(name_of(request.method), url.target, headers, framing);
  out.tail = std::move(request.body);
  return out;
}

// Sends and reads up to the end of the answer's header. `again`: the connection was a kept one that
// had died, and the request may be repeated.
Task<Result<std::unique_ptr<Answer>>> try_once(std::shared_ptr<Pool> pool, Url url,
                                               ClientRequest request, bool fresh, bool* again) {
  const std::string origin = origin_of(url);
  std::unique_ptr<Stream> stream;
  if (!fresh) stream = pool->take(origin);
  const bool kept = stream != nullptr;
  if (!kept) {
    Task<Result<std::unique_ptr<Stream>>> connecting = pool->connect(url);
    auto connected = co_await with_timeout(*pool->env.clock, pool->options.connect_timeout,
                                           "connecting", std::move(connecting));
    if (!connected) co_return connected.error();
    stream = std::move(*connected);
  }
  const Method method = request.method;
  Outgoing out = outgoing(pool->options, url, std::move(request));
  auto answer = std::make_unique<Answer>(pool, origin, std::move(stream), method == Method::head);
  co_await answer->send(std::move(out));
  // A server that refuses a request early closes while the body is being sent: its answer counts.
  const Result<void> read = co_await answer->read_header();
  if (read) co_return answer;
  *again = kept && idempotent(method) && !answer->heard();
  co_return read.error();
}

Task<Result<std::unique_ptr<Answer>>> perform(std::shared_ptr<Pool> pool, Url url,
                                              ClientRequest request) {
  if (url.tls && !pool->tls) {
    const Result<void> ready = co_await pool->make_tls();
    if (!ready) co_return ready.error();
  }
  bool again = false;
  if (!idempotent(request.method)) {
    co_return co_await try_once(std::move(pool), url, std::move(request), false, &again);
  }
  ClientRequest copy = request;
  auto answer = co_await try_once(pool, url, std::move(copy), false, &again);
  if (answer || !again) co_return answer;
  answer = co_await try_once(pool, url, std::move(request), true, &again);
  co_return answer;
}

Task<Result<ClientResponse>> perform_whole(std::shared_ptr<Pool> pool, Url url,
                                           ClientRequest request) {
  const std::size_t limit = request.max_body;
  auto answer = co_await perform(std::move(pool), std::move(url), std::move(request));
  if (!answer) co_return answer.error();
  ClientResponse response;
  response.status = (*answer)->status();
  auto body = co_await (*answer)->read_all(limit);
  if (!body) co_return body.error();
  response.headers = (*answer)->headers();
  response.body = std::move(*body);
  co_return response;
}

}  // namespace

Task<Result<ClientResponse>> Client::request(ClientRequest request) {
  SKIFF_CO_TRY(const Url url, Url::parse(request.url));
  const std::string what = std::string(name_of(request.method)) + " " + request.url;
  const Duration timeout = request.timeout;
  Clock& clock = *pool_->env.clock;
  auto work = perform_whole(pool_, url, std::move(request));
  if (timeout <= Duration::zero()) {
    auto response = co_await std::move(work);
    if (!response) co_return annotate(response.error(), what);
    co_return response;
  }
  auto response = co_await with_timeout(clock, timeout, std::string("waiting"), std::move(work));
  if (!response) co_return annotate(response.error(), what);
  co_return response;
}

Task<Result<std::unique_ptr<ResponseStream>>> Client::stream(ClientRequest request) {
  SKIFF_CO_TRY(const Url url, Url::parse(request.url));
  const std::string what = std::string(name_of(request.method)) + " " + request.url;
  const Duration timeout = request.timeout > Duration::zero() ? request.timeout : Duration(24h);
  Clock& clock = *pool_->env.clock;
  auto work = perform(pool_, url, std::move(request));
  auto answer = co_await with_timeout(clock, timeout, std::string("waiting"), std::move(work));
  if (!answer) co_return annotate(answer.error(), what);
  co_return std::unique_ptr<ResponseStream>(std::move(*answer));
}

}  // namespace skiff::http
