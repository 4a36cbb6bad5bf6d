#include "service.hpp"

namespace skiff::apiserver {
namespace {

constexpr std::string_view kPublicPaths[] = {"/healthz", "/livez", "/readyz", "/version"};

bool is_public(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::find(std::begin(kPublicPaths), std::end(kPublicPaths), path) !=
         std::end(kPublicPaths);
}

// RFC 7234 section 5.5: 299 is a warning that lasts.
std::string warning_header(std::string_view text) {
  std::string out = "299 - \"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  out += '"';
  return out;
}

// Counts a request while it is being answered.
class InFlight {
 public:
  explicit InFlight(std::size_t& count) : count_(count) { ++count_; }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  ~InFlight() { --count_; }

 private:
  std::size_t& count_;
};

// Counts a stream while it lasts.
class Counted {
 public:
  explicit Counted(metrics::Gauge* gauge) : gauge_(gauge) {
    if (gauge_) gauge_->add(1);
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() {
    if (gauge_) gauge_->add(-1);
  }

 private:
  metrics::Gauge* gauge_;
};

}  // namespace

Service::Service(Env env, registry::Registry& registry, ServiceAccountTokens* tokens,
                 Options options)
    : env_(env),
      registry_(registry),
      tokens_(tokens),
      options_(std::move(options)),
      authenticator_(env, registry, tokens, options_.static_tokens),
      authorizer_(registry.store()),
      openapi_(options_.git_version) {
  if (!env_.metrics) return;
  watchers_ =
      &env_.metrics->gauge("apiserver_longrunning_requests", "Open watches and log streams.");
  durations_ = &env_.metrics->histogram(
      "apiserver_request_duration_seconds", "Time to answer requests other than watches.",
      {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10});
}

Attributes Service::attributes_of(const Context& c) const {
  Attributes a;
  a.verb = c.info.verb;
  a.is_resource = c.info.is_resource;
  a.group = c.info.group;
  a.resource = c.info.resource;
  a.subresource = c.info.subresource;
  a.ns = c.info.ns;
  a.name = c.info.name;
  a.path = c.info.path;
  if (a.path == "/skiff/v1/history") history_attributes(c.request.query, a);
  // A namespace itself counts as lying in that namespace.
  if (a.group.empty() && a.resource == "namespaces" && a.ns.empty()) a.ns = a.name;
  return a;
}

// kubectl --as: whoever may impersonate is taken for somebody else from here on.
Result<UserPtr> Service::impersonate(const Context& c, const UserPtr& real) {
  const http::Headers& headers = c.request.headers;
  const std::string_view name = headers.get("Impersonate-User");
  const auto groups = headers.all("Impersonate-Group");
  if (name.empty()) {
    if (!groups.empty()) {
      return Error{Code::bad_request, "requested groups to impersonate without a user"};
    }
    return real;
  }
  constexpr std::string_view kAccount = "system:serviceaccount:";
  std::vector<Attributes> needed;
  Attributes who{.verb = "impersonate", .resource = "users", .name = std::string(name)};
  auto user = std::make_shared<User>();
  user->name = name;
  if (name.starts_with(kAccount)) {
    const std::string_view rest = name.substr(kAccount.size());
    const auto colon = rest.find(':');
    if (colon == std::string_view::npos) {
      return Error{Code::bad_request, "malformed service account name to impersonate"};
    }
    who.resource = "serviceaccounts";
    who.ns = std::string(rest.substr(0, colon));
    who.name = std::string(rest.substr(colon + 1));
    if (groups.empty()) {
      user->groups = {"system:serviceaccounts", "system:serviceaccounts:" + who.ns};
    }
  }
  needed.push_back(std::move(who));
  for (const std::string_view g : groups) {
    needed.push_back({.verb = "impersonate", .resource = "groups", .name = std::string(g)});
    user->groups.emplace_back(g);
  }
  if (const std::string_view uid = headers.get("Impersonate-Uid"); !uid.empty()) {
    needed.push_back({.verb = "impersonate",
                      .group = "authentication.k8s.io",
                      .resource = "uids",
                      .name = std::string(uid)});
    user->uid = uid;
  }
  for (const Attributes& a : needed) {
    if (!authorizer_.allows(*real, a)) return Authorizer::refusal(*real, a);
  }
  const bool anonymous = name == "system:anonymous";
  user->groups.emplace_back(anonymous ? "system:unauthenticated" : "system:authenticated");
  return UserPtr(std::move(user));
}

Result<void> Service::identify(Context& c) {
  SKIFF_TRY(UserPtr user, authenticator_.authenticate(c.request));
  if (!user) {
    if (!is_public(c.info.path)) return Error{Code::unauthorized, "Unauthorized"};
    user = Authenticator::anonymous();
  }
  SKIFF_TRY(c.user, impersonate(c, user));
  return {};
}

Result<void> Service::authorize(const Context& c) {
  if (!c.info.is_resource && is_public(c.info.path)) return {};
  const Attributes a = attributes_of(c);
  if (authorizer_.allows(*c.user, a)) return {};
  return Authorizer::refusal(*c.user, a);
}

void Service::finish(Context& c, http::Response& response) {
  response.headers.add("Audit-Id", c.audit_id);
  if (!response.headers.has("Cache-Control")) {
    response.headers.add("Cache-Control", "no-cache, private");
  }
  for (const std::string& w : c.warnings) response.headers.add("Warning", warning_header(w));
}

Task<http::Response> Service::answer(Context* c) {
  if (in_flight_ >= options_.max_in_flight) {
    auto details = std::make_shared<ErrorDetails>();
    details->retry_after_seconds = 1;
    co_return status_response(
        {Code::too_many_requests, "Too many requests, please try again later.", details});
  }
  const InFlight counted(in_flight_);
  if (c->info.is_resource) co_return co_await resource_request(c);
  auto plain = plain_path(*c);
  co_return plain ? std::move(*plain) : status_response(plain.error());
}

bool Service::is_streamed(const Context& c) const {
  if (!c.resource) return false;
  const bool is_log =
      c.info.subresource == "log" && c.info.verb == "get" && c.resource->plural == "pods";
  return is_log || (c.info.verb == "watch" && c.info.subresource.empty());
}

Task<void> Service::stream(std::unique_ptr<Context> c, http::Exchange* exchange) {
  const Counted counted(watchers_);
  Result<void> done;
  if (c->info.verb == "watch") {
    const auto session = co_await begin_watch(c.get(), exchange);
    if (session) {
      c.reset();
      if (*session) co_await run_watch(session->get());
      co_return;
    }
    done = session.error();
  } else {
    done = co_await pod_log(c.get(), exchange);
  }
  if (!done && !exchange->answered()) co_await refuse(std::move(c), exchange, done.error());
}

Task<void> Service::refuse(std::unique_ptr<Context> c, http::Exchange* exchange, Error why) {
  http::Response refusal = status_response(why);
  finish(*c, refusal);
  exchange->respond(std::move(refusal));
  co_return;
}

// No coroutine itself, nor is the request in the frame of one: a watch should hold neither.
Task<void> Service::handle(http::Request request, http::Exchange& exchange) {
  const TimePoint begin = env_.clock->now();
  auto context = std::make_unique<Context>();
  Context& c = *context;
  c.request = std::move(request);
  c.info = parse_request(c.request);
  const std::string_view given = c.request.headers.get("Audit-ID");
  c.audit_id = given.empty() ? env_.random->uuid() : std::string(given.substr(0, 64));
  Result<void> allowed = identify(c);
  if (allowed) allowed = authorize(c);
  if (!allowed) return refuse(std::move(context), &exchange, allowed.error());
  if (c.info.is_resource) {
    c.resource = api::find_resource(c.info.group, c.info.version, c.info.resource);
    // The path has to fit the scope: a namespace exactly where one belongs.
    const bool misplaced =
        c.resource &&
        (c.resource->namespaced ? c.info.ns.empty() && !c.info.name.empty() : !c.info.ns.empty());
    if (misplaced) c.resource = nullptr;
    if (is_streamed(c)) return stream(std::move(context), &exchange);
  }
  return answer_plainly(std::move(context), &exchange, begin);
}

// Looked for in the registry by its labels only once.
metrics::Counter& Service::requests(int status, const Context& c) {
  // Methods that nobody knows are as many as their senders think of.
  static const std::string kOther = "other";
  const std::string& verb = c.request.method == http::Method::other ? kOther : c.info.verb;
  metrics::Counter*& counter = requests_[status][verb];
  if (counter == nullptr) {
    counter = &env_.metrics->counter("apiserver_request_total", "Requests by verb and status code.",
                                     {"verb", "code"}, {verb, std::to_string(status)});
  }
  return *counter;
}

Task<void> Service::answer_plainly(std::unique_ptr<Context> context, http::Exchange* exchange,
                                   TimePoint begin) {
  Context& c = *context;
  if (is_own_path(c.info.path)) {
    co_await own_path(&c, exchange);
    co_return;
  }
  http::Response response = co_await answer(&c);
  finish(c, response);
  if (durations_) {
    durations_->observe(std::chrono::duration<double>(env_.clock->now() - begin).count());
  }
  if (env_.metrics) requests(response.status, c).add();
  exchange->respond(std::move(response));
}

}  // namespace skiff::apiserver
