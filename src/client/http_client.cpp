#include "skiff/client/http_client.hpp"

#include "skiff/client/reflector.hpp"

namespace skiff::client {
namespace {

constexpr std::size_t kMaxEventBytes = 16U << 20U;
constexpr std::size_t kConcurrentWrites = 8;

void add_if(http::Query& query, const char* key, const std::string& value) {
  if (!value.empty()) query.add(key, value);
}

std::string with_query(const Ref& ref, const http::Query& query) {
  std::string url = path_of(ref);
  if (!query.empty()) url += "?" + query.to_string();
  return url;
}

http::Query query_of(const ListOptions& options) {
  http::Query query;
  add_if(query, "labelSelector", options.label_selector);
  add_if(query, "fieldSelector", options.field_selector);
  add_if(query, "resourceVersion", options.resource_version);
  add_if(query, "resourceVersionMatch", options.resource_version_match);
  add_if(query, "continue", options.continue_token);
  if (options.limit > 0) query.add("limit", std::to_string(options.limit));
  return query;
}

http::Query query_of(const WriteOptions& options) {
  http::Query query;
  if (options.dry_run) query.add("dryRun", "All");
  add_if(query, "fieldManager", options.field_manager);
  return query;
}

std::string body_of(const DeleteOptions& options) {
  Value doc = Value::object({{"apiVersion", "v1"}, {"kind", "DeleteOptions"}});
  if (options.grace_period_seconds) doc.set("gracePeriodSeconds", *options.grace_period_seconds);
  if (!options.propagation_policy.empty()) {
    doc.set("propagationPolicy", options.propagation_policy);
  }
  if (!options.uid.empty()) doc.member("preconditions").set("uid", options.uid);
  if (!options.resource_version.empty()) {
    doc.member("preconditions").set("resourceVersion", options.resource_version);
  }
  if (options.dry_run) doc.member("dryRun").push_back("All");
  return api::to_json(doc);
}

std::string_view media_type(api::PatchType type) {
  switch (type) {
    case api::PatchType::json:
      return "application/json-patch+json";
    case api::PatchType::merge:
      return "application/merge-patch+json";
    case api::PatchType::strategic:
      return "application/strategic-merge-patch+json";
    case api::PatchType::apply:
      return "application/apply-patch+yaml";
  }
  return "application/json";
}

Result<ObjectPtr> object_from(std::string body) {
  SKIFF_TRY(const Value checked, api::parse_json(body));
  if (!checked.is_object()) return Error{Code::internal, "the server's answer is no object"};
  auto owner = std::make_shared<const std::string>(std::move(body));
  const std::string_view json = *owner;
  return api::Object::wrap(std::move(owner), json);
}

// One line of a watch.
Result<WatchEvent> event_from(std::string_view line) {
  SKIFF_TRY(Value doc, api::parse_json(line, {.max_bytes = kMaxEventBytes, .max_depth = 1000}));
  const std::string& type = doc["type"].as_string();
  if (type == "ERROR") return error_from_status(doc["object"]);
  WatchEvent event;
  if (type == "ADDED") {
    event.type = WatchEvent::Type::added;
  } else if (type == "MODIFIED") {
    event.type = WatchEvent::Type::modified;
  } else if (type == "DELETED") {
    event.type = WatchEvent::Type::deleted;
  } else if (type == "BOOKMARK") {
    event.type = WatchEvent::Type::bookmark;
  } else {
    return Error{Code::internal, "a watch sent an event of unknown type \"" + type + "\""};
  }
  Value* object = doc.find("object");
  if (object == nullptr || !object->is_object()) {
    return Error{Code::internal, "a watch sent an event without an object"};
  }
  event.revision = parse_revision((*object)["metadata"]["resourceVersion"].as_string());
  event.object = api::Object::make(std::move(*object));
  return event;
}

// JSON objects, one a line, as they arrive.
class LineStream final : public WatchStream {
 public:
  explicit LineStream(std::unique_ptr<http::ResponseStream> stream) : stream_(std::move(stream)) {}

  Task<Result<std::vector<WatchEvent>>> next() override {
    std::vector<WatchEvent> events;
    for (;;) {
      if (auto error = take_lines(events)) {
        if (events.empty()) co_return *error;
        failed_ = std::move(error);
        co_return events;
      }
      if (!events.empty()) co_return events;
      if (failed_) co_return *failed_;
      if (buffer_.size() > kMaxEventBytes) {
        co_return Error{Code::too_large, "a watch event is larger than 16 MiB"};
      }
      SKIFF_CO_TRY(const std::string more, co_await stream_->read());
      if (more.empty()) co_return Error{Code::unavailable, "the server ended the watch"};
      buffer_ += more;
    }
  }

 private:
  std::optional<Error> take_lines(std::vector<WatchEvent>& events) {
    std::size_t start = 0;
    std::optional<Error> error;
    for (auto end = buffer_.find('\n', scanned_); end != std::string::npos && !error;
         end = buffer_.find('\n', start)) {
      const std::string_view line = std::string_view(buffer_).substr(start, end - start);
      start = end + 1;
      if (line.empty()) continue;
      auto event = event_from(line);
      if (event) {
        events.push_back(std::move(*event));
      } else {
        error = event.error();
      }
    }
    buffer_.erase(0, start);
    scanned_ = buffer_.size();
    return error;
  }

  std::unique_ptr<http::ResponseStream> stream_;
  std::string buffer_;
  std::size_t scanned_ = 0;  // no newline before this
  std::optional<Error> failed_;
};

}  // namespace

std::string path_of(const Ref& ref) {
  std::string path = ref.group.empty() ? "/api/" : "/apis/" + ref.group + "/";
  path += ref.version;
  if (!ref.ns.empty()) path += "/namespaces/" + http::percent_encode(ref.ns);
  path += "/" + ref.resource;
  if (!ref.name.empty()) path += "/" + http::percent_encode(ref.name);
  if (!ref.subresource.empty()) path += "/" + ref.subresource;
  return path;
}

struct HttpClient::State {
  State(Env e, ClusterAccess a, std::string agent)
      : env(e),
        access(std::move(a)),
        http(e, {.tls = access.tls, .user_agent = std::move(agent)}) {}

  Env env;
  ClusterAccess access;
  http::Client http;

  http::ClientRequest complete(http::ClientRequest request) const {
    request.url = access.server + request.url;
    if (!access.token.empty()) request.headers.set("Authorization", "Bearer " + access.token);
    if (!request.headers.has("Accept")) request.headers.add("Accept", "application/json");
    return request;
  }

  Task<Result<std::string>> call(http::Method method, std::string url, std::string body,
                                 std::string content_type) {
    http::ClientRequest request;
    request.method = method;
    request.url = std::move(url);
    if (!body.empty()) {
      request.headers.add("Content-Type", std::move(content_type));
      request.body = std::move(body);
    }
    http::ClientRequest whole = complete(std::move(request));
    SKIFF_CO_TRY(http::ClientResponse answer, co_await http.request(std::move(whole)));
    if (answer.status < 200 || answer.status > 299) {
      co_return error_from_answer(answer.status, answer.body);
    }
    co_return std::move(answer.body);
  }

  Task<Result<ObjectPtr>> call_object(http::Method method, std::string url, std::string body,
                                      std::string content_type) {
    SKIFF_CO_TRY(std::string answer,
                 co_await call(method, std::move(url), std::move(body), std::move(content_type)));
    co_return object_from(std::move(answer));
  }
};

HttpClient::HttpClient(Env env, ClusterAccess access, std::string user_agent)
    : state_(std::make_unique<State>(env, std::move(access), std::move(user_agent))) {}
HttpClient::~HttpClient() = default;

const ClusterAccess& HttpClient::access() const noexcept { return state_->access; }

Result<void> HttpClient::set_access(ClusterAccess access) {
  SKIFF_CHECK(state_->http.set_tls(access.tls));
  state_->access = std::move(access);
  return {};
}

Task<Result<ObjectPtr>> HttpClient::get(Ref ref) {
  return state_->call_object(http::Method::get, path_of(ref), "", "");
}

Task<Result<List>> HttpClient::list(Ref ref, ListOptions options) {
  std::string url = with_query(ref, query_of(options));
  SKIFF_CO_TRY(const std::string body,
               co_await state_->call(http::Method::get, std::move(url), "", ""));
  const api::ParseLimits limits{.max_bytes = SIZE_MAX, .max_depth = 1000};
  SKIFF_CO_TRY(Value doc, api::parse_json(body, limits));
  List out;
  out.resource_version = doc["metadata"]["resourceVersion"].as_string();
  out.continue_token = doc["metadata"]["continue"].as_string();
  out.remaining = doc["metadata"]["remainingItemCount"].as_int();
  std::string kind = doc["kind"].as_string();
  if (kind.ends_with("List")) kind.resize(kind.size() - 4);
  Value* items = doc.find("items");
  if (items == nullptr || !items->is_array()) co_return out;
  for (Value& item : items->mutable_items()) {
    if (item["apiVersion"].is_null()) item.set("apiVersion", doc["apiVersion"]);
    if (item["kind"].is_null()) item.set("kind", kind);
    out.items.push_back(api::Object::make(std::move(item)));
  }
  co_return out;
}

Task<Result<std::unique_ptr<WatchStream>>> HttpClient::watch(Ref ref, ListOptions options) {
  http::Query query = query_of(options);
  query.add("watch", "true");
  if (options.bookmarks) query.add("allowWatchBookmarks", "true");
  http::ClientRequest request;
  request.url = with_query(ref, query);
  http::ClientRequest whole = state_->complete(std::move(request));
  SKIFF_CO_TRY(auto stream, co_await state_->http.stream(std::move(whole)));
  if (stream->status() != 200) {
    const int status = stream->status();
    SKIFF_CO_TRY(const std::string body, co_await stream->read_all(1U << 20U));
    co_return error_from_answer(status, body);
  }
  co_return std::unique_ptr<WatchStream>(std::make_unique<LineStream>(std::move(stream)));
}

Task<Result<ObjectPtr>> HttpClient::create(Ref ref, Value object, WriteOptions options) {
  // A subresource (binding, eviction) is posted below its object, an object to its collection.
  if (ref.subresource.empty()) ref.name.clear();
  return state_->call_object(http::Method::post, with_query(ref, query_of(options)),
                             api::to_json(object), "application/json");
}

Task<Result<ObjectPtr>> HttpClient::update(Ref ref, Value object, WriteOptions options) {
  if (ref.name.empty()) ref.name = object["metadata"]["name"].as_string();
  return state_->call_object(http::Method::put, with_query(ref, query_of(options)),
                             api::to_json(object), "application/json");
}

Task<Result<ObjectPtr>> HttpClient::patch(Ref ref, api::PatchType type, Value patch,
                                          WriteOptions options) {
  return state_->call_object(http::Method::patch, with_query(ref, query_of(options)),
                             api::to_json(patch), std::string(media_type(type)));
}

Task<Result<ObjectPtr>> HttpClient::remove(Ref ref, DeleteOptions options) {
  return state_->call_object(http::Method::delete_, path_of(ref), body_of(options),
                             "application/json");
}

namespace {

// What the workers of one batch share.
struct Batch {
  std::vector<Write> writes;
  std::vector<Result<ObjectPtr>> results;
  std::size_t next = 0;
};

Task<void> write_some(HttpClient* client, Batch* batch) {
  while (batch->next < batch->writes.size()) {
    const std::size_t i = batch->next++;
    Write write = std::move(batch->writes[i]);
    switch (write.type) {
      case Write::Type::create:
        batch->results[i] = co_await client->create(write.ref, std::move(write.object));
        break;
      case Write::Type::update:
        batch->results[i] = co_await client->update(write.ref, std::move(write.object));
        break;
      case Write::Type::patch:
        batch->results[i] =
            co_await client->patch(write.ref, write.patch_type, std::move(write.object));
        break;
      case Write::Type::remove:
        batch->results[i] = co_await client->remove(write.ref, write.delete_options);
        break;
    }
  }
}

}  // namespace

Task<std::vector<Result<ObjectPtr>>> HttpClient::batch(std::vector<Write> writes) {
  Batch batch;
  const Error canceled{Code::canceled, "the batch was given up"};
  batch.results.assign(writes.size(), canceled);
  batch.writes = std::move(writes);
  TaskGroup group(state_->env.executor);
  const std::size_t workers = std::min(kConcurrentWrites, batch.writes.size());
  for (std::size_t i = 0; i < workers; ++i) group.spawn("batch", write_some(this, &batch));
  co_await group.join();
  co_return std::move(batch.results);
}

Task<Result<http::ClientResponse>> HttpClient::request(http::ClientRequest request) {
  return state_->http.request(state_->complete(std::move(request)));
}

Task<Result<std::unique_ptr<http::ResponseStream>>> HttpClient::stream(
    http::ClientRequest request) {
  return state_->http.stream(state_->complete(std::move(request)));
}

}  // namespace skiff::client
