// What all handlers share, and the handlers by what they answer.
#pragma once

#include <map>

#include "authenticate.hpp"
#include "authorize.hpp"
#include "discovery.hpp"
#include "media.hpp"
#include "openapi.hpp"
#include "present.hpp"
#include "request_info.hpp"
#include "skiff/apiserver/apiserver.hpp"
#include "status.hpp"
#include "watch_pace.hpp"

namespace skiff::apiserver {

// One request on its way. Gone as soon as a watch has begun: that may last for days.
struct Context {
  http::Request request;
  RequestInfo info;
  UserPtr user;
  const api::Resource* resource = nullptr;
  std::vector<std::string> warnings;
  std::string audit_id;
};

class WatchSession;  // watch_stream.cpp

class Service {
 public:
  Service(Env env, registry::Registry& registry, ServiceAccountTokens* tokens, Options options);

  Task<void> handle(http::Request request, http::Exchange& exchange);
  void set_ready(bool ready) noexcept { ready_ = ready; }

 private:
  // service.cpp
  Task<http::Response> answer(Context* c);
  Result<void> identify(Context& c);
  Result<void> authorize(const Context& c);
  Task<void> answer_plainly(std::unique_ptr<Context> c, http::Exchange* exchange, TimePoint begin);
  metrics::Counter& requests(int status, const Context& c);
  bool is_streamed(const Context& c) const;
  Task<void> stream(std::unique_ptr<Context> c, http::Exchange* exchange);
  Task<void> refuse(std::unique_ptr<Context> c, http::Exchange* exchange, Error why);
  void finish(Context& c, http::Response& response);
  Attributes attributes_of(const Context& c) const;
  Result<UserPtr> impersonate(const Context& c, const UserPtr& real);

  // plain_paths.cpp
  Result<http::Response> plain_path(Context& c);
  http::Response version(const Context& c) const;
  http::Response health(const Context& c, std::string_view kind) const;

  // resources.cpp
  Task<http::Response> resource_request(Context* c);
  Task<Result<http::Response>> read(Context* c);
  Task<Result<http::Response>> write(Context* c);
  Task<Result<http::Response>> remove(Context* c);
  Result<http::Response> respond(Context& c, const registry::Written& written) const;
  Result<Presentation> presentation(const Context& c) const;
  Result<registry::WriteContext> write_context(Context& c, std::string_view options_kind) const;
  registry::Target target_of(const Context& c) const;
  Result<http::Response> component_statuses(Context& c) const;

  // reviews.cpp
  bool is_review(const api::Resource& resource) const;
  Result<http::Response> review(Context& c);
  Result<api::Value> token_review(api::Value doc);
  Result<api::Value> access_review(const Context& c, api::Value doc);
  Result<api::Value> rules_review(const Context& c, api::Value doc);

  // watch_stream.cpp
  // The head is sent, run_watch() is to follow; null: that was all.
  Task<Result<std::shared_ptr<WatchSession>>> begin_watch(Context* c, http::Exchange* exchange);
  static Task<void> run_watch(WatchSession* session);
  // own_paths.cpp, own_state.cpp
  Task<void> own_path(Context* c, http::Exchange* exchange);
  Task<Result<http::Response>> history(Context* c);
  http::Response store_status() const;
  Task<Result<http::Response>> snapshots(Context* c);
  Task<Result<void>> stream_snapshot(Context* c, http::Exchange* exchange);
  Task<Result<void>> stream_state(Context* c, http::Exchange* exchange);
  // pod_log.cpp
  Task<Result<void>> pod_log(Context* c, http::Exchange* exchange);

  Env env_;
  registry::Registry& registry_;
  ServiceAccountTokens* tokens_;
  Options options_;
  Authenticator authenticator_;
  Authorizer authorizer_;
  Discovery discovery_;
  OpenApi openapi_;
  bool ready_ = false;
  std::size_t in_flight_ = 0;
  WatchPace watch_pace_;
  std::map<int, std::map<std::string, metrics::Counter*>> requests_;  // by status and verb
  metrics::Gauge* watchers_ = nullptr;
  metrics::Histogram* durations_ = nullptr;
};

// Whether `path` is one of skiff's own.
bool is_own_path(std::string_view path);
// What history() asks the authorizer.
void history_attributes(const http::Query& query, Attributes& out);
// Who writes, for history: ?fieldManager, or what the User-Agent begins with. Checked as upstream
// checks it.
Result<std::string> manager_of(const http::Request& request, std::string_view options_kind);

// Reads the body as JSON or YAML. `kind` is named in the complaint about a body that is neither.
Result<api::Value> parse_body(const http::Request& request, std::string_view kind,
                              std::vector<std::string>* duplicates);

}  // namespace skiff::apiserver
