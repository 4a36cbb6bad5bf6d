#include <boost/asio/this_coro.hpp>
#include <list>

#include "skiff/client/reconcile.hpp"
#include "wait.hpp"

namespace skiff::client {
namespace {

constexpr std::size_t kMaxRecords = 4096;  // remembered for counting, least recently used go first
constexpr std::size_t kMaxPending = 1000;
constexpr std::size_t kMaxBatch = 256;
constexpr Duration kGather = 20ms;  // events come in bursts: wait for the rest of the burst
constexpr Duration kSimilarWindow = 10min;
constexpr std::size_t kMaxSimilar = 10;  // distinct messages before they are combined
constexpr double kSpamBurst = 25;
constexpr double kSpamRefillSeconds = 300;
constexpr std::string_view kCombined = "(combined from similar events): ";

// One Event object, written or about to be.
struct Record {
  std::string key;
  Value event;
  std::int64_t count = 1;
  bool created = false;
  bool pending = false;
  TimePoint last{};
};

struct Similar {
  std::set<std::string> messages;
  TimePoint last{};
};

struct Bucket {
  double tokens = kSpamBurst;
  TimePoint last{};
};

std::string nanos_hex(WallTime t) {
  char buffer[24];
  const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch());
  std::snprintf(buffer, sizeof buffer, "%llx", static_cast<unsigned long long>(nanos.count()));
  return buffer;
}

// What Event.involvedObject says about an object.
Value reference_to(const Value& about, std::string_view field_path) {
  const Value& meta = about["metadata"];
  Value ref = Value::object({{"kind", about["kind"]}});
  if (!meta["namespace"].as_string().empty()) ref.set("namespace", meta["namespace"]);
  ref.set("name", meta["name"]);
  if (!meta["uid"].as_string().empty()) ref.set("uid", meta["uid"]);
  ref.set("apiVersion", about["apiVersion"]);
  if (!meta["resourceVersion"].as_string().empty()) {
    ref.set("resourceVersion", meta["resourceVersion"]);
  }
  if (!field_path.empty()) ref.set("fieldPath", field_path);
  return ref;
}

}  // namespace

struct EventRecorder::State {
  State(Env e, Client& c, std::string comp, std::string h)
      : env(e), client(&c), component(std::move(comp)), host(std::move(h)), changed(e.executor) {}

  Env env;
  Client* client;
  std::string component;
  std::string host;
  Changes changed;
  std::list<Record> records;  // most recently used first
  std::map<std::string, std::list<Record>::iterator> by_key;
  std::deque<std::list<Record>::iterator> pending;
  std::map<std::string, Similar> similar;
  std::map<std::string, Bucket> buckets;
  std::uint64_t sequence = 0;
  TimePoint last_sweep{};

  bool spam(const std::string& object_key);
  bool combine(const std::string& similar_key, const std::string& message);
  void sweep();
  void evict();
  Value make(Value involved, std::string_view type, std::string_view reason, std::string message);
  void record(const Value& about, std::string_view type, std::string_view reason,
              std::string message, std::string_view field_path);
  Write write_for(const Record& record) const;
  void finished(std::list<Record>::iterator record, const Result<ObjectPtr>& result);
  Task<void> run();
};

// Upstream's spam filter: a token bucket per object.
bool EventRecorder::State::spam(const std::string& object_key) {
  const TimePoint now = env.clock->now();
  Bucket& bucket = buckets.try_emplace(object_key, Bucket{kSpamBurst, now}).first->second;
  const double elapsed = std::chrono::duration<double>(now - bucket.last).count();
  bucket.tokens = std::min(kSpamBurst, bucket.tokens + elapsed / kSpamRefillSeconds);
  bucket.last = now;
  if (bucket.tokens < 1) return true;
  bucket.tokens -= 1;
  return false;
}

// Whether events that differ in their message only have become too many to keep apart.
bool EventRecorder::State::combine(const std::string& similar_key, const std::string& message) {
  const TimePoint now = env.clock->now();
  Similar& group = similar[similar_key];
  if (now - group.last > kSimilarWindow) group.messages.clear();
  group.last = now;
  if (group.messages.size() < kMaxSimilar) group.messages.insert(message);
  return group.messages.size() >= kMaxSimilar && !group.messages.contains(message);
}

// Forgets what no longer influences anything; at most once a minute, so its cost is spread.
void EventRecorder::State::sweep() {
  const TimePoint now = env.clock->now();
  if (now - last_sweep < 1min) return;
  last_sweep = now;
  std::erase_if(similar, [&](const auto& s) { return now - s.second.last > kSimilarWindow; });
  std::erase_if(buckets, [&](const auto& b) {
    const double idle = std::chrono::duration<double>(now - b.second.last).count();
    return b.second.tokens + idle / kSpamRefillSeconds >= kSpamBurst;
  });
  while (similar.size() > kMaxRecords) similar.erase(similar.begin());
  while (buckets.size() > kMaxRecords) buckets.erase(buckets.begin());
}

void EventRecorder::State::evict() {
  auto it = records.end();
  while (records.size() > kMaxRecords && it != records.begin()) {
    --it;
    if (it->pending) continue;
    by_key.erase(it->key);
    it = records.erase(it);
  }
}

Value EventRecorder::State::make(Value involved, std::string_view type, std::string_view reason,
                                 std::string message) {
  const WallTime now = env.clock->wall() + std::chrono::microseconds(sequence++ % 1000);
  const std::string ns = involved["namespace"].as_string();
  Value event = Value::object({{"apiVersion", "v1"}, {"kind", "Event"}});
  event.set("metadata",
            Value::object({{"name", involved["name"].as_string() + "." + nanos_hex(now)},
                           {"namespace", ns.empty() ? "default" : ns}}));
  event.set("involvedObject", std::move(involved));
  event.set("reason", reason);
  event.set("message", std::move(message));
  Value source = Value::object({{"component", component}});
  if (!host.empty()) source.set("host", host);
  event.set("source", std::move(source));
  event.set("type", type);
  event.set("reportingComponent", component);
  event.set("reportingInstance", host);
  return event;
}

void EventRecorder::State::record(const Value& about, std::string_view type,
                                  std::string_view reason, std::string message,
                                  std::string_view field_path) {
  sweep();
  Value involved = reference_to(about, field_path);
  const std::string object_key = involved["apiVersion"].as_string() + "\n" +
                                 involved["kind"].as_string() + "\n" +
                                 involved["namespace"].as_string() + "\n" +
                                 involved["name"].as_string() + "\n" + involved["uid"].as_string();
  if (spam(object_key)) return;
  std::string key = object_key + "\n" + std::string(field_path) + "\n" + std::string(type) + "\n" +
                    std::string(reason);
  if (combine(key, message)) {
    message.insert(0, kCombined);
  } else {
    key += "\n" + message;
  }
  const TimePoint now = env.clock->now();
  const auto known = by_key.find(key);
  std::list<Record>::iterator record;
  if (known != by_key.end() && now - known->second->last <= kSimilarWindow) {
    record = known->second;
    records.splice(records.begin(), records, record);
    ++record->count;
    record->event.set("message", std::move(message));
  } else {
    if (pending.size() >= kMaxPending) return;
    if (known != by_key.end()) known->second->key.clear();  // too old to count on: a new object
    records.push_front({key, make(std::move(involved), type, reason, std::move(message))});
    record = records.begin();
    record->event.set("firstTimestamp", format_time(env.clock->wall()));
    by_key[key] = record;
    evict();
  }
  record->last = now;
  record->event.set("lastTimestamp", format_time(env.clock->wall()));
  record->event.set("count", record->count);
  if (record->pending || pending.size() >= kMaxPending) return;
  record->pending = true;
  pending.push_back(record);
  changed.notify();
}

Write EventRecorder::State::write_for(const Record& record) const {
  const Value& meta = record.event["metadata"];
  Write write;
  write.ref = resources::kEvents.in(meta["namespace"].as_string());
  if (!record.created) {
    write.object = record.event;
    return write;
  }
  write.type = Write::Type::patch;
  write.ref.name = meta["name"].as_string();
  for (const char* field : {"count", "lastTimestamp", "message"}) {
    write.object.set(field, record.event[field]);
  }
  return write;
}

void EventRecorder::State::finished(std::list<Record>::iterator record,
                                    const Result<ObjectPtr>& result) {
  if (result || result.error().code == Code::already_exists) {
    record->created = true;
    return;
  }
  log::debug("client", "event not written", {{"why", result.error()}});
  const bool expired_on_server = record->created && result.error().code == Code::not_found;
  record->created = false;
  if (!expired_on_server || record->pending || pending.size() >= kMaxPending) return;
  record->count = 1;
  record->event.set("count", 1);
  record->event.set("firstTimestamp", record->event["lastTimestamp"]);
  record->pending = true;
  pending.push_back(record);
}

Task<void> EventRecorder::State::run() {
  for (;;) {
    while (pending.empty()) co_await changed.wait(changed.count());
    co_await env.clock->sleep_for(kGather);
    std::vector<std::list<Record>::iterator> taken;
    std::vector<Write> writes;
    while (!pending.empty() && taken.size() < kMaxBatch) {
      taken.push_back(pending.front());
      pending.pop_front();
      writes.push_back(write_for(*taken.back()));
    }
    // Still marked pending, so that nothing evicts them while the write is under way; what is
    // recorded meanwhile is seen by comparing counts.
    std::vector<std::int64_t> counts;
    for (const auto& record : taken) counts.push_back(record->count);
    const std::vector<Result<ObjectPtr>> results = co_await client->batch(std::move(writes));
    for (std::size_t i = 0; i < taken.size() && i < results.size(); ++i) {
      taken[i]->pending = false;
      finished(taken[i], results[i]);
      if (taken[i]->count != counts[i] && !taken[i]->pending && pending.size() < kMaxPending) {
        taken[i]->pending = true;
        pending.push_back(taken[i]);
      }
    }
  }
}

EventRecorder::EventRecorder(Env env, Client& client, std::string component, std::string host)
    : state_(std::make_unique<State>(env, client, std::move(component), std::move(host))) {}
EventRecorder::~EventRecorder() = default;

void EventRecorder::start(TaskGroup& group) { group.spawn("event recorder", state_->run()); }

void EventRecorder::event(const api::Object& about, std::string_view type, std::string_view reason,
                          std::string message, std::string_view field_path) {
  state_->record(about.root(), type, reason, std::move(message), field_path);
}

void EventRecorder::event(const Value& about, std::string_view type, std::string_view reason,
                          std::string message, std::string_view field_path) {
  state_->record(about, type, reason, std::move(message), field_path);
}

}  // namespace skiff::client
