#include "event_expiry.hpp"

#include "encode.hpp"

namespace skiff::registry {
namespace {

constexpr Duration kGather = 30s;  // so that one wake-up removes many
constexpr std::size_t kMaxPerCommit = 1000;

}  // namespace

void EventExpiry::note(const store::Item& item, Duration lifetime) {
  const TimePoint deadline = env_.clock->now() + lifetime;
  auto at = entries_.end();
  while (at != entries_.begin() && std::prev(at)->deadline > deadline) --at;
  entries_.insert(at, Entry{deadline, item.key, item.modified});
  if (entries_.size() == 1) changed_.notify_all();
}

std::vector<store::Op> EventExpiry::due(store::Store& store) {
  static const store::Author author = std::make_shared<const std::string>("system:apiserver");
  std::vector<store::Op> ops;
  const TimePoint now = env_.clock->now();
  while (!entries_.empty() && entries_.front().deadline <= now && ops.size() < kMaxPerCommit) {
    const Entry entry = std::move(entries_.front());
    entries_.pop_front();
    const auto item = store.get(entry.key);
    if (!item || (*item)->modified != entry.modified) continue;  // gone, or written since
    Encoded last = reopen((*item)->value);
    store::Op op;
    op.type = store::Op::Type::erase;
    op.key = entry.key;
    op.value = std::move(last.json);
    op.revision_slot = last.slot;
    op.expect = entry.modified;
    op.attributes = (*item)->attributes;
    op.is_volatile = true;
    op.author = author;
    ops.push_back(std::move(op));
  }
  return ops;
}

Task<void> EventExpiry::run(store::Store* store) {
  while (true) {
    if (entries_.empty()) {
      co_await changed_.wait();
      continue;
    }
    const TimePoint deadline = entries_.front().deadline;
    if (deadline > env_.clock->now()) {
      co_await env_.clock->sleep_until(deadline + kGather);
      continue;
    }
    std::vector<store::Op> ops = due(*store);
    if (!ops.empty()) co_await store->commit(std::move(ops));
  }
}

}  // namespace skiff::registry
