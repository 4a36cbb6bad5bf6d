// skiff's own paths below /skiff/v1: history, snapshots and what the store says of itself.
#include <fstream>

#include "service.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;
using registry::Change;

constexpr std::string_view kOwn = "/skiff/v1/";
constexpr std::int64_t kUsualChanges = 500;
constexpr std::int64_t kMostChanges = 10'000;
constexpr std::size_t kPiece = 256 * 1024;

Result<std::int64_t> number(const http::Query& query, std::string_view name,
                            std::int64_t otherwise) {
  const std::string* text = query.find(name);
  if (!text || text->empty()) return otherwise;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0) {
    return Error{Code::bad_request,
                 std::string(name) + ": want a whole number, not \"" + *text + "\""};
  }
  return value;
}

http::Response json(std::string text) {
  http::Buffers body;
  body.emplace_back(std::move(text));
  return http::Response::make(200, "application/json", std::move(body));
}

std::string_view verb_name(Change::Verb verb) {
  switch (verb) {
    case Change::Verb::created:
      return "created";
    case Change::Verb::modified:
      return "modified";
    case Change::Verb::deleted:
      return "deleted";
    case Change::Verb::kept:
      return "kept";
  }
  return {};
}

// The resource a query names; null when it names none.
Result<const api::Resource*> resource_of(const http::Query& q) {
  if (q.get("resource").empty()) return nullptr;
  const std::string_view group = q.get("group");
  const std::string_view version = q.get("version");
  const api::Resource* found = version.empty()
                                   ? api::storage_resource(group, q.get("resource"))
                                   : api::find_resource(group, version, q.get("resource"));
  if (!found) {
    return Error{Code::not_found, "the server knows no resource \"" +
                                      std::string(q.get("resource")) + "\" in API group \"" +
                                      std::string(group) + "\""};
  }
  return found;
}

// The objects go in as the bytes they are.
void append_change(std::string& out, const Change& c, bool with_previous) {
  Value head = Value::object({{"revision", c.revision}, {"verb", verb_name(c.verb)}});
  if (c.time != WallTime{}) head.set("time", format_micro_time(c.time));
  if (!c.author.empty()) head.set("author", c.author);
  head.set("group", c.resource->group);
  head.set("version", c.resource->version);
  head.set("resource", c.resource->plural);
  std::string text = api::to_json(head);
  text.pop_back();
  out += text + ",\"object\":" + c.item->value;
  if (with_previous) out += ",\"previous\":" + c.previous->value;
  out += '}';
}

std::string_view decider_name(store::Decider d) {
  if (d == store::Decider::here) return "here";
  return d == store::Decider::elsewhere ? "elsewhere" : "nobody";
}

}  // namespace

bool is_own_path(std::string_view path) { return path.starts_with(kOwn); }

void history_attributes(const http::Query& query, Attributes& out) {
  out.is_resource = true;
  out.verb = query.get("name").empty() ? "list" : "get";
  out.group = query.get("group");
  out.resource = query.get("resource");
  if (out.resource.empty()) out.resource = out.group = "*";
  out.subresource = "history";
  out.ns = query.get("namespace");
  out.name = query.get("name");
}

Task<Result<http::Response>> Service::history(Context* c) {
  const http::Query& q = c->request.query;
  registry::Target target;
  SKIFF_CO_TRY(target.resource, resource_of(q));
  target.ns = q.get("namespace");
  target.name = q.get("name");
  if (!target.resource && target.ns.empty()) {
    co_return Error{Code::bad_request, "history: name a resource or a namespace"};
  }
  if (target.resource && !target.resource->namespaced) target.ns.clear();
  if (target.resource && target.resource->namespaced && target.ns.empty() && !target.name.empty()) {
    co_return Error{Code::bad_request, "history: the namespace of the object is missing"};
  }
  SKIFF_CO_TRY(const std::int64_t limit, number(q, "limit", kUsualChanges));
  registry::HistoryOptions options;
  options.limit =
      static_cast<std::size_t>(limit == 0 ? kMostChanges : std::min(limit, kMostChanges));
  SKIFF_CO_TRY(options.after, number(q, "after", 0));
  SKIFF_CO_TRY(options.until, number(q, "until", 0));
  SKIFF_CO_CHECK(co_await registry_.catch_up("", &c->warnings));
  SKIFF_CO_TRY(const registry::History found, co_await registry_.history(target, options));
  std::string out = "{\"revision\":" + std::to_string(found.revision) +
                    ",\"compacted\":" + std::to_string(found.compacted) + ",\"changes\":[";
  std::set<std::string_view> seen;  // whose change before is in the answer already
  for (const Change& change : found.changes) {
    if (out.back() != '[') out += ',';
    append_change(out, change, change.previous && !seen.contains(change.item->key));
    seen.insert(change.item->key);
  }
  co_return json(out + "]}");
}

http::Response Service::store_status() const {
  const store::Store& s = registry_.store();
  const registry::Options& o = registry_.options();
  Value doc = Value::object({{"revision", s.revision()}, {"compacted", s.compacted()}});
  doc.set("window", s.window());
  doc.set("decider", decider_name(s.decider()));
  if (const auto error = s.failing()) doc.set("failing", error->message);
  doc.set("serviceCIDR", o.service_cidr);
  doc.set("nodePorts", std::to_string(o.node_port_min) + "-" + std::to_string(o.node_port_max));
  doc.set("version", options_.git_version);
  return json(api::to_json(doc));
}

Task<Result<http::Response>> Service::snapshots(Context* c) {
  if (!options_.backups) {
    co_return Error{Code::unavailable, "this server takes no snapshots"};
  }
  if (c->request.method == http::Method::post) {
    SKIFF_CO_TRY(const store::SnapshotInfo info, co_await options_.backups->take(false));
    Value doc = Value::object({{"file", info.path}, {"revision", info.revision}});
    doc.set("keys", static_cast<std::int64_t>(info.keys));
    doc.set("bytes", static_cast<std::int64_t>(info.bytes));
    doc.set("time", format_time(info.time));
    co_return json(api::to_json(doc));
  }
  SKIFF_CO_TRY(const Value report, co_await options_.backups->report());
  co_return json(api::to_json(report));
}

Task<Result<void>> Service::stream_snapshot(Context* c, http::Exchange* exchange) {
  if (!options_.backups) co_return Error{Code::unavailable, "this server takes no snapshots"};
  SKIFF_CO_TRY(const store::SnapshotInfo info, co_await options_.backups->take(true));
  std::ifstream file(info.path, std::ios::binary);
  // Open files live on without a name: nothing is left behind, whatever happens to the client.
  const bool open = static_cast<bool>(file);
  std::remove(info.path.c_str());
  if (!open) co_return Error{Code::internal, "the snapshot cannot be read back"};
  http::Response head = http::Response::make(200, "application/octet-stream", {});
  head.compressible = false;
  head.headers.add("Skiff-Revision", std::to_string(info.revision));
  head.headers.add("Skiff-Bytes", std::to_string(info.bytes));
  finish(*c, head);
  SKIFF_CO_CHECK(co_await exchange->start(std::move(head)));
  std::uint64_t sent = 0;
  while (true) {
    std::string piece(kPiece, '\0');
    std::function<std::size_t()> read = [&] {
      file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      return static_cast<std::size_t>(file.gcount());
    };
    const std::size_t length = co_await env_.blocking->run(read);
    if (length == 0) break;
    piece.resize(length);
    sent += length;
    http::Buffers part;
    part.emplace_back(std::move(piece));
    SKIFF_CO_CHECK(co_await exchange->write(std::move(part)));
  }
  if (sent != info.bytes) exchange->abort();  // the client must not take it for whole
  co_return Result<void>();
}

Task<void> Service::own_path(Context* c, http::Exchange* exchange) {
  const std::string_view path = std::string_view(c->info.path).substr(kOwn.size());
  const http::Method method = c->request.method;
  const bool get = method == http::Method::get || method == http::Method::head;
  const bool post = method == http::Method::post && path == "snapshots";
  Result<http::Response> response = not_found_path();
  Result<void> streamed;
  if (!get && !post) {
    response = Error{Code::method_not_allowed,
                     "the server does not allow this method on the requested resource"};
  } else if (path == "history") {
    response = co_await history(c);
  } else if (path == "store") {
    response = store_status();
  } else if (path == "snapshots") {
    response = co_await snapshots(c);
  } else if (path == "snapshot" || path == "state") {
    if (path == "snapshot") {
      streamed = co_await stream_snapshot(c, exchange);
    } else {
      streamed = co_await stream_state(c, exchange);
    }
    if (exchange->answered()) co_return;
    if (!streamed) response = streamed.error();
  }
  http::Response answer = response ? std::move(*response) : status_response(response.error());
  finish(*c, answer);
  exchange->respond(std::move(answer));
}

}  // namespace skiff::apiserver
