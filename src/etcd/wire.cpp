#include "wire.hpp"

#include <charconv>

#include "base64.hpp"

namespace skiff::etcd {
namespace {

constexpr std::string_view kFull = "etcd's database is full";

Error malformed(std::string_view what) {
  return {Code::invalid, "etcd's answer is malformed: " + std::string(what)};
}

void add_bytes(std::string& out, std::string_view name, std::string_view bytes) {
  out += '"';
  out += name;
  out += "\":\"";
  append_base64(out, bytes);
  out += '"';
}

void add_number(std::string& out, std::string_view name, std::int64_t n) {
  out += ",\"";
  out += name;
  out += "\":\"";
  out += std::to_string(n);
  out += '"';
}

void add_range(std::string& out, const RangeRequest& r) {
  out += '{';
  add_bytes(out, "key", r.key);
  if (!r.end.empty()) {
    out += ',';
    add_bytes(out, "range_end", r.end);
  }
  if (r.at != 0) add_number(out, "revision", r.at);
  if (r.limit != 0) add_number(out, "limit", r.limit);
  if (r.keys_only) out += ",\"keys_only\":true";
  out += '}';
}

Result<std::string> read_bytes(const api::Value& object, std::string_view name) {
  const api::Value& member = object[name];
  if (member.is_null()) return std::string();
  if (!member.is_string()) return malformed(std::string(name) + " is not a string");
  auto bytes = decode_base64(member.as_string());
  if (!bytes) return malformed(std::string(name) + " is not base64");
  return bytes;
}

Result<Revision> read_revision(const api::Value& object, std::string_view name) {
  SKIFF_TRY(const std::int64_t n, read_int(object, name));
  if (n < 0) return malformed(std::string(name) + " is negative");
  return n;
}

Result<KeyValue> read_kv(const api::Value& value) {
  if (!value.is_object()) return malformed("a key-value pair is not an object");
  KeyValue kv;
  SKIFF_TRY(kv.key, read_bytes(value, "key"));
  SKIFF_TRY(kv.value, read_bytes(value, "value"));
  SKIFF_TRY(kv.created, read_revision(value, "create_revision"));
  SKIFF_TRY(kv.modified, read_revision(value, "mod_revision"));
  return kv;
}

Result<WatchEvent> read_event(const api::Value& value) {
  WatchEvent event;
  const std::string_view type = value["type"].as_string_or("PUT");
  if (type != "PUT" && type != "DELETE") return malformed("an event of an unknown type");
  event.erase = type == "DELETE";
  SKIFF_TRY(event.kv, read_kv(value["kv"]));
  if (event.kv.modified == 0) return malformed("an event without a revision");
  return event;
}

bool contains(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

}  // namespace

std::string to_body(const RangeRequest& request) {
  std::string out;
  add_range(out, request);
  return out;
}

TxnRequest::TxnRequest(std::string_view key, Revision expect) {
  compare_ += '{';
  add_bytes(compare_, "key", key);
  compare_ += R"(,"target":"MOD","result":"EQUAL")";
  add_number(compare_, "mod_revision", expect);
  compare_ += '}';
}

TxnRequest& TxnRequest::put(std::string_view key, std::string_view value, std::int64_t lease) {
  if (!success_.empty()) success_ += ',';
  success_ += R"({"request_put":{)";
  add_bytes(success_, "key", key);
  success_ += ',';
  add_bytes(success_, "value", value);
  if (lease != 0) add_number(success_, "lease", lease);
  success_ += "}}";
  return *this;
}

TxnRequest& TxnRequest::erase(std::string_view key) {
  if (!success_.empty()) success_ += ',';
  success_ += R"({"request_delete_range":{)";
  add_bytes(success_, "key", key);
  success_ += "}}";
  return *this;
}

TxnRequest& TxnRequest::otherwise(const RangeRequest& request) {
  if (!failure_.empty()) failure_ += ',';
  failure_ += R"({"request_range":)";
  add_range(failure_, request);
  failure_ += '}';
  return *this;
}

std::string TxnRequest::body() && {
  std::string out;
  out.reserve(compare_.size() + success_.size() + failure_.size() + 64);
  out += R"({"compare":[)";
  out += compare_;
  out += R"(],"success":[)";
  out += success_;
  out += R"(],"failure":[)";
  out += failure_;
  out += "]}";
  return out;
}

std::string put_body(std::string_view key, std::string_view value, std::int64_t lease) {
  std::string out = "{";
  add_bytes(out, "key", key);
  out += ',';
  add_bytes(out, "value", value);
  add_number(out, "lease", lease);
  out += '}';
  return out;
}

std::string watch_body(std::string_view key, std::string_view end, Revision start) {
  std::string out = R"({"create_request":{)";
  add_bytes(out, "key", key);
  out += ',';
  add_bytes(out, "range_end", end);
  add_number(out, "start_revision", start);
  out += R"(,"progress_notify":true,"fragment":true}})";
  return out;
}

Result<std::int64_t> read_int(const api::Value& object, std::string_view name) {
  const api::Value& member = object[name];
  if (member.is_null()) return std::int64_t{0};
  if (member.is_int()) return member.as_int();
  std::int64_t n = 0;
  const std::string& text = member.as_string();
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, n);
  if (text.empty() || problem != std::errc() || stop != end) {
    return malformed(std::string(name) + " is not a number");
  }
  return n;
}

Result<RangeAnswer> read_range(const api::Value& answer) {
  if (!answer.is_object()) return malformed("it is not an object");
  RangeAnswer out;
  SKIFF_TRY(out.revision, read_revision(answer["header"], "revision"));
  out.cluster = answer["header"]["cluster_id"].as_string();
  out.more = answer["more"].as_bool();
  out.kvs.reserve(answer["kvs"].size());
  for (const api::Value& value : answer["kvs"].items()) {
    SKIFF_TRY(auto kv, read_kv(value));
    if (kv.modified == 0) return malformed("a key without a revision");
    out.kvs.push_back(std::move(kv));
  }
  return out;
}

Result<TxnAnswer> read_txn(const api::Value& answer) {
  if (!answer.is_object()) return malformed("it is not an object");
  TxnAnswer out;
  out.succeeded = answer["succeeded"].as_bool();
  SKIFF_TRY(out.revision, read_revision(answer["header"], "revision"));
  if (out.revision == 0) return malformed("it has no revision");
  for (const api::Value& response : answer["responses"].items()) {
    const api::Value* range = response.find("response_range");
    if (range == nullptr) continue;
    SKIFF_TRY(auto one, read_range(*range));
    out.ranges.push_back(std::move(one));
  }
  return out;
}

Result<api::Value> parse_answer(std::string_view text) {
  api::ParseLimits limits;
  limits.max_bytes = kMaxAnswer;
  limits.max_depth = 32;
  auto value = api::parse_json(text, limits);
  if (!value) return malformed(value.error().message);
  return value;
}

Result<WatchAnswer> read_watch(std::string_view line) {
  SKIFF_TRY(const api::Value message, parse_answer(line));
  if (const api::Value* error = message.find("error")) {
    std::int64_t code = (*error)["grpc_code"].as_int();
    if (code == 0) code = (*error)["code"].as_int();
    return refusal_of_status(code, (*error)["message"].as_string()).error;
  }
  const api::Value& result = message["result"];
  if (!result.is_object()) return malformed("a message of a watch without a result");
  WatchAnswer out;
  SKIFF_TRY(out.revision, read_revision(result["header"], "revision"));
  SKIFF_TRY(out.compacted, read_revision(result, "compact_revision"));
  out.created = result["created"].as_bool();
  out.canceled = result["canceled"].as_bool();
  out.fragment = result["fragment"].as_bool();
  out.reason = result["cancel_reason"].as_string();
  for (const api::Value& value : result["events"].items()) {
    SKIFF_TRY(auto event, read_event(value));
    out.events.push_back(std::move(event));
  }
  return out;
}

Refusal refusal_of(int http_status, std::string_view body) {
  const auto value = parse_answer(body);
  const api::Value* error = value ? value->find("error") : nullptr;
  if (error == nullptr) {
    const bool overloaded = http_status == 502 || http_status == 503 || http_status == 504;
    return {Error{Code::unavailable, "this is no etcd with a v3 gateway: it answers with HTTP " +
                                         std::to_string(http_status)},
            overloaded};
  }
  if (error->is_object()) {
    return refusal_of_status((*error)["grpc_code"].as_int(), (*error)["message"].as_string());
  }
  return refusal_of_status((*value)["code"].as_int(), error->as_string());
}

bool says_full(const Error& error) { return contains(error.message, kFull); }

// The codes are gRPC's (google.golang.org/grpc/codes).
Refusal refusal_of_status(std::int64_t code, std::string_view text) {
  const std::string said = "etcd says: " + std::string(text.substr(0, 500));
  if (contains(text, "required revision has been compacted")) {
    return {Error{Code::expired, "etcd has compacted that revision"}};
  }
  if (contains(text, "future revision")) {
    return {Error{Code::bad_request, "that revision is in the future"}};
  }
  if (contains(text, "request is too large") || contains(text, "larger than max")) {
    return {Error{Code::too_large, "larger than this etcd takes (--max-request-bytes)"}};
  }
  if (contains(text, "database space exceeded")) {
    return {
        Error{Code::unavailable,
              std::string(kFull) +
                  ": compact and defragment it, then disarm the NOSPACE "
                  "alarm (etcdctl defrag; etcdctl alarm disarm), or raise --quota-backend-bytes"}};
  }
  if (contains(text, "invalid auth token") || contains(text, "revision in header is old") ||
      code == 16) {
    return {Error{Code::unauthorized, said}};
  }
  if (contains(text, "user name is empty")) {
    return {Error{Code::unauthorized, "etcd asks for a user and a password"}};
  }
  if (contains(text, "authentication failed") || contains(text, "authentication is not enabled")) {
    return {Error{Code::unauthorized, said}};
  }
  if (code == 7) return {Error{Code::forbidden, said}};
  if (contains(text, "requested lease not found")) return {Error{Code::not_found, said}};
  const bool transient =
      code == 4 || code == 8 || code == 10 || code == 13 || code == 14 || code == 1 || code == 2;
  return {Error{transient ? Code::unavailable : Code::internal, said}, transient};
}

}  // namespace skiff::etcd
