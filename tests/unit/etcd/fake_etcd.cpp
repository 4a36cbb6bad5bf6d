#include "fake_etcd.hpp"

#include "base64.hpp"

namespace skiff::etcd::test {
namespace {

http::ServerOptions server_options() {
  http::ServerOptions out;
  out.address = "127.0.0.1";
  return out;
}

std::string encoded(std::string_view bytes) {
  std::string out;
  append_base64(out, bytes);
  return out;
}

std::string bytes_of(const api::Value& value) { return decode_base64(value.as_string()).value(); }

store::Revision number_of(const api::Value& value) {
  return value.is_null() ? 0 : std::stoll(value.as_string());
}

std::string line(api::Value result) {
  return api::to_json(api::Value::object({{"result", std::move(result)}})) + "\n";
}

}  // namespace

FakeEtcd::FakeEtcd(Loop& loop)
    : loop_(loop), server_(loop.env, *this, server_options()), changed_(loop.env.executor) {
  REQUIRE(server_.listen().has_value());
}

Task<void> FakeEtcd::stop() { co_await server_.stop(0s); }

std::string FakeEtcd::url() const { return "http://127.0.0.1:" + std::to_string(server_.port()); }

void FakeEtcd::put(const std::string& key, const std::string& value) {
  change(key, &value, ++revision_);
}

void FakeEtcd::erase(const std::string& key) { change(key, nullptr, ++revision_); }

void FakeEtcd::break_watches() {
  ++generation_;
  changed_.notify_all();
}

void FakeEtcd::wipe() {
  entries_.clear();
  events_.clear();
  revision_ = 1;
  break_watches();
}

std::string FakeEtcd::value(const std::string& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? "" : found->second.value;
}

// Null value: the key goes.
void FakeEtcd::change(const std::string& key, const std::string* value, store::Revision at) {
  if (value == nullptr && entries_.erase(key) == 0) return;
  Event event{key, {}, value == nullptr};
  event.entry.modified = at;
  if (value != nullptr) {
    Entry& entry = entries_[key];
    if (entry.created == 0) entry.created = at;
    entry.value = *value;
    entry.modified = at;
    event.entry = entry;
  }
  events_.push_back(std::move(event));
  changed_.notify_all();
}

api::Value FakeEtcd::header() const {
  return api::Value::object({{"cluster_id", cluster}, {"revision", std::to_string(revision_)}});
}

api::Value FakeEtcd::range(const api::Value& request) const {
  const std::string begin = bytes_of(request["key"]);
  const std::string end = bytes_of(request["range_end"]);
  api::Value kvs = api::Value::array();
  for (auto it = entries_.lower_bound(begin); it != entries_.end(); ++it) {
    const auto& [key, entry] = *it;
    if (end.empty() ? key != begin : key >= end) break;
    kvs.push_back(api::Value::object({{"key", encoded(key)},
                                      {"value", encoded(entry.value)},
                                      {"create_revision", std::to_string(entry.created)},
                                      {"mod_revision", std::to_string(entry.modified)}}));
  }
  api::Value out = api::Value::object({{"header", header()}});
  out.set("kvs", std::move(kvs));
  return out;
}

api::Value FakeEtcd::transact(const api::Value& request) {
  const api::Value& compare = request["compare"].items()[0];
  const auto found = entries_.find(bytes_of(compare["key"]));
  const store::Revision at = found == entries_.end() ? 0 : found->second.modified;
  const bool fits = at == number_of(compare["mod_revision"]);
  api::Value responses = api::Value::array();
  if (fits) ++revision_;
  for (const api::Value& op : request[fits ? "success" : "failure"].items()) {
    const api::Value& put = op["request_put"];
    const api::Value& gone = op["request_delete_range"];
    const api::Value& read = op["request_range"];
    if (put.is_object()) {
      const std::string text = bytes_of(put["value"]);
      change(bytes_of(put["key"]), &text, revision_);
    }
    if (gone.is_object()) change(bytes_of(gone["key"]), nullptr, revision_);
    if (read.is_object()) {
      responses.push_back(api::Value::object({{"response_range", range(read)}}));
    }
  }
  api::Value out = api::Value::object({{"header", header()}, {"succeeded", fits}});
  out.set("responses", std::move(responses));
  return out;
}

// Leases never run out here.
api::Value FakeEtcd::lease(const std::string& path) {
  if (path.ends_with("/grant")) {
    return api::Value::object({{"ID", std::to_string(++leases_)}, {"TTL", "5"}});
  }
  return api::Value::object({{"result", api::Value::object({{"TTL", "5"}})}});
}

http::Response FakeEtcd::answer(int status, std::string text) {
  http::Buffers body;
  body.emplace_back(std::move(text));
  return http::Response::make(status, "application/json", std::move(body));
}

Task<void> FakeEtcd::watch(api::Value request, http::Exchange& exchange) {
  const api::Value& wanted = request["create_request"];
  const std::string begin = bytes_of(wanted["key"]);
  const std::string end = bytes_of(wanted["range_end"]);
  const store::Revision start = number_of(wanted["start_revision"]);
  const int generation = generation_;
  api::Value first = api::Value::object({{"header", header()}, {"created", true}});
  if (start < compacted_) {
    first.set("canceled", true);
    first.set("compact_revision", std::to_string(compacted_));
  }
  http::Response response = answer(200, line(std::move(first)));
  if (!co_await exchange.start(std::move(response))) co_return;
  std::size_t next = 0;
  while (generation == generation_ && start >= compacted_) {
    api::Value events = api::Value::array();
    for (; next < events_.size(); ++next) {
      const Event& e = events_[next];
      if (e.entry.modified < start || e.key < begin || e.key >= end) continue;
      api::Value kv = api::Value::object({{"key", encoded(e.key)},
                                          {"value", encoded(e.entry.value)},
                                          {"create_revision", std::to_string(e.entry.created)},
                                          {"mod_revision", std::to_string(e.entry.modified)}});
      api::Value event = api::Value::object({{"type", e.erase ? "DELETE" : "PUT"}});
      event.set("kv", std::move(kv));
      events.push_back(std::move(event));
    }
    if (events.items().empty()) {
      co_await changed_.wait();
      continue;
    }
    api::Value message = api::Value::object({{"header", header()}});
    message.set("events", std::move(events));
    http::Buffers part;
    part.emplace_back(line(std::move(message)));
    if (!co_await exchange.write(std::move(part))) co_return;
  }
  if (generation != generation_) exchange.abort();
}

Task<void> FakeEtcd::handle(http::Request request, http::Exchange& exchange) {
  ++asked[request.path];
  api::Value body = api::parse_json(request.body).value();
  const bool transaction = request.path == "/v3/kv/txn";
  Fault fault;
  fault.answered = true;
  if (transaction && !faults.empty()) {
    fault = std::move(faults.front());
    faults.pop_front();
  }
  if (down) fault = Fault{false, false, 200, "", {}};
  if (request.path == "/v3/watch" && fault.answered) {
    co_await watch(std::move(body), exchange);
    co_return;
  }
  std::string text = fault.body;
  if (fault.happens) {
    api::Value result = transaction                             ? transact(body)
                        : request.path.starts_with("/v3/lease") ? lease(request.path)
                                                                : range(body);
    if (request.path == "/v3/kv/put") put(bytes_of(body["key"]), bytes_of(body["value"]));
    if (text.empty()) text = api::to_json(result);
  }
  if (fault.meanwhile) fault.meanwhile();
  if (fault.answered) {
    exchange.respond(answer(fault.status, std::move(text)));
    co_return;
  }
  http::Response begun = answer(200, "{");
  (void)co_await exchange.start(std::move(begun));
  exchange.abort();
}

}  // namespace skiff::etcd::test
