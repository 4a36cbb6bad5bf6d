// Requests to etcd's v3 JSON gateway and its answers (etcd's api/etcdserverpb/rpc.proto in
// protobuf's JSON mapping: 64-bit numbers are strings, bytes are base64, defaults are left out).
// Pure; answers are not trusted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/value.hpp"
#include "skiff/store/item.hpp"

namespace skiff::etcd {

using store::Revision;

inline constexpr std::size_t kMaxAnswer = 64U << 20U;  // one answer, or one message of a stream

struct KeyValue {
  std::string key;
  std::string value;
  Revision created = 0;
  Revision modified = 0;
};

struct RangeRequest {
  std::string key;
  std::string end;  // "": the key alone
  Revision at = 0;  // 0: newest
  std::int64_t limit = 0;
  bool keys_only = false;
};
std::string to_body(const RangeRequest& request);

// A transaction that happens only while `key` has the given revision (0: does not exist).
class TxnRequest {
 public:
  TxnRequest(std::string_view key, Revision expect);
  TxnRequest& put(std::string_view key, std::string_view value, std::int64_t lease = 0);
  TxnRequest& erase(std::string_view key);
  // What to read when it does not happen.
  TxnRequest& otherwise(const RangeRequest& request);
  std::string body() &&;

 private:
  std::string compare_;
  std::string success_;
  std::string failure_;
};

// A put under a lease, whatever was there.
std::string put_body(std::string_view key, std::string_view value, std::int64_t lease);

// Events of [key, end) from `start` on, in fragments no larger than a request may be.
std::string watch_body(std::string_view key, std::string_view end, Revision start);

struct RangeAnswer {
  Revision revision = 0;  // etcd's newest when it answered
  std::string cluster;    // etcd's identity
  std::vector<KeyValue> kvs;
  bool more = false;
};
Result<RangeAnswer> read_range(const api::Value& answer);

struct TxnAnswer {
  bool succeeded = false;
  Revision revision = 0;
  std::vector<RangeAnswer> ranges;
};
Result<TxnAnswer> read_txn(const api::Value& answer);

struct WatchEvent {
  bool erase = false;
  KeyValue kv;
};
struct WatchAnswer {
  Revision revision = 0;
  bool created = false;
  bool canceled = false;
  bool fragment = false;   // more events of the last revision follow
  Revision compacted = 0;  // canceled because the start was older than this
  std::string reason;
  std::vector<WatchEvent> events;
};
// One line of a watch's answer; the error of an `{"error":...}` line is what refusal_of() says.
Result<WatchAnswer> read_watch(std::string_view line);

struct Refusal {
  Error error;
  bool transient = false;  // worth another try
};
// What an answer that is not 200 says.
Refusal refusal_of(int http_status, std::string_view body);
// The same for gRPC's status code and text.
Refusal refusal_of_status(std::int64_t grpc_code, std::string_view message);
// Whether one of those says that etcd's database is full.
bool says_full(const Error& error);

// A member that holds a 64-bit number, as string or number; absent: 0. invalid otherwise.
Result<std::int64_t> read_int(const api::Value& object, std::string_view name);

// parse_json with this room's limits.
Result<api::Value> parse_answer(std::string_view text);

}  // namespace skiff::etcd
