#include "mvcc_store.hpp"

#include <algorithm>
#include <charconv>

namespace skiff::store {
namespace {

Error closed_error() { return {Code::unavailable, "the store is closed"}; }

// `value` with `revision` written in at `slot`, in a string no larger than it must be: it will be
// kept.
std::string splice(std::string value, std::uint32_t slot, Revision revision) {
  char digits[24];
  std::string_view text;
  if (slot != kNoSlot) {
    const char* end = std::to_chars(digits, digits + sizeof digits, revision).ptr;
    text = {digits, static_cast<std::size_t>(end - digits)};
  }
  const std::size_t size = value.size() + text.size();
  if (value.capacity() >= size && value.capacity() <= size + size / 8 + 32) {
    if (!text.empty()) value.insert(slot, text);
    return value;
  }
  const std::string_view whole = value;
  const std::size_t cut = text.empty() ? whole.size() : slot;
  std::string out;
  out.reserve(size);
  out.append(whole.substr(0, cut)).append(text).append(whole.substr(cut));
  return out;
}

}  // namespace

StoreMetrics::StoreMetrics(metrics::Registry& r)
    : commits(r.counter("skiff_store_commits_total", "Ops made durable.")),
      appends(r.counter("skiff_store_appends_total", "Batches of Ops given to the log.")),
      failures(r.counter("skiff_store_append_failures_total", "Batches the log could not keep.")),
      events(r.counter("skiff_store_watch_events_total", "Events given to watches.")),
      expired(r.counter("skiff_store_watch_expired_total", "Watches dropped for falling behind.")),
      revision(r.gauge("skiff_store_revision", "Newest durable revision.")),
      compacted(r.gauge("skiff_store_compacted_revision", "Oldest readable revision.")),
      window(r.gauge("skiff_store_window_revision", "Oldest revision that is kept in memory.")),
      keys(r.gauge("skiff_store_keys", "Keys that exist.")),
      watchers(r.gauge("skiff_store_watchers", "Open watches.")),
      history_bytes(r.gauge("skiff_store_history_bytes", "Memory held by superseded versions.")) {}

MvccStore::MvccStore(Env env, std::unique_ptr<Log> log, StoreOptions options)
    : env_(env),
      log_(std::move(log)),
      options_(options),
      metrics_(env.metrics != nullptr ? *env.metrics : own_metrics_),
      hub_(std::make_shared<WatchHub>(env.executor, history_)),
      decider_signal_(env.executor),
      settled_signal_(env.executor),
      tasks_(env.executor) {}

MvccStore::~MvccStore() {
  if (!closed_) hub_->close(closed_error());
}

Task<Result<void>> MvccStore::replay() {
  log_->attach(from_log_);
  const int generation = generation_;
  // A state that arrives meanwhile makes the rest of the replay old.
  auto each = [this, generation](Record record) {
    if (generation_ == generation) place(std::move(record));
  };
  const auto recovered = co_await log_->replay(std::move(each));
  if (!recovered) co_return recovered.error();
  if (generation_ == generation) {
    revision_ = std::max(revision_, recovered->revision);
    last_given_ = std::max(last_given_, revision_);
    resumable_ = recovered->resumable;
    window_ = recovered->revision;
    loadable_ = window_;
  }
  opened_ = true;
  release_held();
  note_time();
  show_metrics();
  co_return Result<void>();
}

void MvccStore::place(Record record) {
  const Slot* known = index_.find(record.item->key);
  if (known != nullptr && known->item->modified > record.item->modified) return;
  if (known != nullptr) live_bytes_ -= History::size_of(*known->item);
  if (record.erase) {
    index_.remove(record.item->key);
    return;
  }
  live_bytes_ += History::size_of(*record.item);
  index_.replace(Slot{std::move(record.item), false});
}

Error MvccStore::too_old(Revision at, Revision oldest) const {
  return {Code::expired, "revision " + std::to_string(at) +
                             " is too old: the oldest that is kept is " + std::to_string(oldest)};
}

Error MvccStore::in_future(Revision at) const {
  return {Code::bad_request, "revision " + std::to_string(at) +
                                 " is in the future: the newest is " + std::to_string(revision_)};
}

Result<void> MvccStore::check_readable(Revision at) const {
  if (at > revision_) return in_future(at);
  if (at != 0 && at < window_) return too_old(at, window_);
  return {};
}

Result<ItemPtr> MvccStore::get(std::string_view key, Revision at) const {
  SKIFF_CHECK(check_readable(at));
  const Slot* slot = index_.find(key);
  ItemPtr item;
  if (slot != nullptr) item = history_.version_at(*slot, at == 0 ? revision_ : at);
  if (!item) return Error{Code::not_found, "\"" + std::string(key) + "\" not found"};
  return item;
}

Result<Page> MvccStore::range(const Range& range, std::size_t limit, Revision at) const {
  SKIFF_CHECK(check_readable(at));
  Page page;
  page.revision = at == 0 ? revision_ : at;
  const Index::Position from = index_.lower_bound(range.begin);
  const Index::Position to = range.end.empty() ? index_.end() : index_.lower_bound(range.end);
  const bool newest = page.revision == revision_;
  const std::size_t live = newest || limit == 0 ? index_.count_live(from, to) : limit;
  page.items.reserve(limit == 0 ? live : std::min(limit, live));
  index_.scan(from, to, [&](const Slot& slot) {
    const bool plain = slot.item->modified <= page.revision;
    ItemPtr old;
    if (!plain) old = history_.version_at(slot, page.revision);
    if (plain ? slot.erased : !old) return true;
    if (limit != 0 && page.items.size() == limit) {
      page.more = true;
      return false;
    }
    if (plain) {
      page.items.push_back(slot.item);
    } else {
      page.items.push_back(std::move(old));
    }
    return true;
  });
  if (page.more && newest) page.remaining = live - page.items.size();
  return page;
}

const Slot* MvccStore::newest(std::string_view key) const {
  if (!pending_.empty()) {
    const auto it = pending_.find(key);
    if (it != pending_.end()) return &it->second;
  }
  return index_.find(key);
}

// What the Op supersedes (null or erased: nothing), or why it is refused.
Result<const Slot*> MvccStore::verdict(const Op& op) const {
  const auto quoted = [&] { return "\"" + op.key + "\""; };
  if (op.value.size() > options_.max_value_bytes) {
    return Error{Code::too_large, quoted() + " would have " + std::to_string(op.value.size()) +
                                      " bytes; at most " +
                                      std::to_string(options_.max_value_bytes) + " are allowed"};
  }
  if (op.key.empty() || (op.revision_slot != kNoSlot && op.revision_slot > op.value.size())) {
    return Error{Code::bad_request, quoted() + ": empty key, or revision slot beyond the value"};
  }
  const Slot* slot = newest(op.key);
  const bool exists = slot != nullptr && !slot->erased;
  const bool wanted = op.expect ? *op.expect != 0 : op.type == Op::Type::erase;
  if (!exists && wanted) return Error{Code::not_found, quoted() + " not found"};
  if (op.expect && exists) {
    if (*op.expect == 0) return Error{Code::already_exists, quoted() + " already exists"};
    if (*op.expect != slot->item->modified) {
      return Error{Code::conflict, quoted() + " is at revision " +
                                       std::to_string(slot->item->modified) + ", not at " +
                                       std::to_string(*op.expect)};
    }
  }
  if (op.type == Op::Type::erase && !exists) {
    return Error{Code::not_found, quoted() + " not found"};  // expect 0: nothing there to erase
  }
  return slot;
}

Result<ItemPtr> MvccStore::accept(Op&& op, Batch& batch) {
  SKIFF_TRY(const Slot* slot, verdict(op));
  const Item* before = slot != nullptr && !slot->erased ? slot->item.get() : nullptr;
  const bool erase = op.type == Op::Type::erase;
  auto item = std::make_shared<Item>();
  item->modified = ++last_given_;
  item->created = before != nullptr ? before->created : item->modified;
  item->key = std::move(op.key);
  if (erase && op.value.empty()) {
    item->value = before->value;
  } else {
    item->value = splice(std::move(op.value), op.revision_slot, item->modified);
  }
  if (erase && op.attributes.empty()) {
    item->attributes = before->attributes;
  } else {
    item->attributes = std::move(op.attributes);
  }
  batch.bytes += item->value.size() + item->key.size();
  Record record;
  record.item = item;
  record.previous = before != nullptr ? before->modified : 0;
  record.erase = erase;
  record.is_volatile = op.is_volatile;
  record.time = env_.clock->wall();
  record.author = std::move(op.author);
  batch.records->push_back(std::move(record));
  pending_.erase(item->key);  // its node holds a view of the older item's key
  pending_.emplace(item->key, Slot{item, erase});
  return ItemPtr(std::move(item));
}

// Not a coroutine itself: every write passes here, and a frame is an allocation.
Task<std::vector<Result<ItemPtr>>> MvccStore::commit(std::vector<Op> ops) {
  if (log_->decider() == Decider::elsewhere && !closed_) return forward(std::move(ops));
  return decide(std::move(ops));
}

std::optional<Error> MvccStore::cannot_decide() const {
  if (closed_) return closed_error();
  if (waiting_bytes_ > options_.max_waiting_bytes) {
    return Error{Code::too_many_requests, "the disk cannot keep up with the writes: try later"};
  }
  switch (log_->decider()) {
    case Decider::here:
      return std::nullopt;
    case Decider::elsewhere:
      return Error{Code::unavailable, "another server has become the leader: nothing was written"};
    case Decider::nobody:
      break;
  }
  return Error{Code::unavailable,
               "nothing was written: there is no leader, because most of the servers (or the "
               "datastore) cannot be reached; reads go on and may be stale"};
}

Task<std::vector<Result<ItemPtr>>> MvccStore::decide(std::vector<Op> ops) {
  std::vector<Result<ItemPtr>> verdicts;
  verdicts.reserve(ops.size());
  std::optional<Error> refusal = cannot_decide();
  while (!refusal && !settled()) {
    co_await settled_signal_.wait();
    refusal = cannot_decide();
  }
  if (refusal) {
    verdicts.assign(ops.size(), *refusal);
    co_return verdicts;
  }
  if (!gathering_) gathering_ = std::make_shared<Batch>(env_.executor);
  std::shared_ptr<Batch> batch = gathering_;
  const std::size_t had = batch->records->size();
  const std::size_t had_bytes = batch->bytes;
  Revision refused_by = 0;  // newest version on its way that an Op was refused for
  for (Op& op : ops) {
    verdicts.push_back(accept(std::move(op), *batch));
    if (verdicts.back()) continue;
    // A refused Op is not moved from. NOLINTNEXTLINE(bugprone-use-after-move)
    const auto it = pending_.find(op.key);
    if (it != pending_.end()) refused_by = std::max(refused_by, it->second.item->modified);
  }
  waiting_bytes_ += batch->bytes - had_bytes;
  if (batch->records->size() == had) {
    // A refusal must not tell of what may still fail, and the refused will read again at once: they
    // wait for what stood in their way.
    if (refused_by == 0) co_return co_await confirm(std::move(ops), std::move(verdicts));
    if (in_flight_ && refused_by <= in_flight_->records->back().item->modified) batch = in_flight_;
  } else if (!writing_) {
    writing_ = true;
    tasks_.spawn("store writer", write_batches());
  }
  while (!batch->done) co_await batch->finished.wait();
  if (batch->error) {
    for (auto& v : verdicts) {
      if (v || refused_by != 0 || log_->decider() != Decider::here) v = *batch->error;
    }
  }
  co_return verdicts;
}

// All was refused, for what is published here. With several servers that may be old news: another
// may decide by now. So a refusal is told once nothing newer is known to those who would know.
Task<std::vector<Result<ItemPtr>>> MvccStore::confirm(std::vector<Op> ops,
                                                      std::vector<Result<ItemPtr>> verdicts) {
  const Revision known = last_given_;
  const auto reached = co_await log_->barrier();
  if (reached && *reached <= known) co_return verdicts;
  if (reached) co_return co_await commit(std::move(ops));
  verdicts.assign(ops.size(), reached.error());
  co_return verdicts;
}

Task<void> MvccStore::write_batches() {
  co_await yield();  // whoever is ready in this turn shares the first append
  while (gathering_ && !gathering_->records->empty()) {
    const std::shared_ptr<Batch> batch = std::exchange(gathering_, nullptr);
    in_flight_ = batch;
    metrics_.appends.add();
    const auto outcome = co_await log_->append(batch->records);
    in_flight_.reset();
    if (outcome) {
      failing_.reset();
      publish(*batch->records);  // even when it was given up here: now it is known
      if (!batch->done) finish(*batch, std::nullopt);
    } else if (!batch->done) {
      fail(*batch, outcome.error());
    }
    release_held();
    trim_when_due();
  }
  writing_ = false;
}

void MvccStore::fail(Batch& batch, const Error& error) {
  const Error told{Code::unavailable, error.message, error.details};
  if (!failing_) {
    log::error("store", "cannot write; reads go on and the next write tries again",
               {{"error", told.message}});
  }
  failing_ = told;
  metrics_.failures.add();
  pending_.clear();
  finish(batch, told);
  // What has gathered meanwhile was checked against what is now undone.
  if (const auto later = std::exchange(gathering_, nullptr)) finish(*later, told);
}

void MvccStore::finish(Batch& batch, std::optional<Error> error) {
  waiting_bytes_ -= batch.bytes;
  batch.error = std::move(error);
  batch.done = true;
  batch.finished.notify_all();
}

void MvccStore::publish(const std::vector<Record>& records) {
  std::size_t published = 0;
  for (const Record& record : records) {
    if (record.item->modified <= revision_) continue;  // it came on two ways
    const auto it = pending_.find(record.item->key);
    if (it != pending_.end() && it->second.item == record.item) pending_.erase(it);
    apply(record);
    hub_->publish(history_[history_.size() - 1]);
    ++published;
  }
  if (published == 0) return;
  revision_ = records.back().item->modified;
  last_given_ = std::max(last_given_, revision_);
  hub_->settle(revision_);
  wake_readers();
  metrics_.commits.add(static_cast<double>(published));
  show_metrics();
}

void MvccStore::apply(const Record& record) {
  Change change;
  change.item = record.item;
  change.erase = record.erase;
  change.is_volatile = record.is_volatile;
  change.time = record.time;
  change.author = record.author;
  change.replaced = index_.replace(Slot{record.item, record.erase});
  if (const ItemPtr* previous = change.previous()) live_bytes_ -= History::size_of(**previous);
  if (!record.erase) live_bytes_ += History::size_of(*record.item);
  history_.push(std::move(change));
}

void MvccStore::show_metrics() {
  metrics_.revision.set(static_cast<double>(revision_));
  metrics_.compacted.set(static_cast<double>(compacted()));
  metrics_.window.set(static_cast<double>(window_));
  metrics_.keys.set(static_cast<double>(index_.live()));
  metrics_.watchers.set(static_cast<double>(hub_->size()));
  metrics_.history_bytes.set(static_cast<double>(history_.bytes()));
  metrics_.events.add(static_cast<double>(hub_->events() - shown_events_));
  metrics_.expired.add(static_cast<double>(hub_->expired() - shown_expired_));
  shown_events_ = hub_->events();
  shown_expired_ = hub_->expired();
}

Result<std::unique_ptr<Watch>> MvccStore::watch(WatchOptions options) {
  if (closed_) return closed_error();
  const Range& range = options.range;
  if (!range.end.empty() && range.end <= range.begin) {
    return Error{Code::bad_request, "the range to watch is empty"};
  }
  const Revision oldest = std::max(window_, resumable_);
  bool wait = false;
  if (options.after != 0 && options.after < oldest) {
    if (!can_load(options.after)) {
      return Error{Code::expired, "revision " + std::to_string(options.after) +
                                      " is too old to watch from: the oldest is " +
                                      std::to_string(oldest)};
    }
    wait = true;
    load_to_ = std::min(load_to_ == 0 ? options.after : load_to_, options.after);
    if (!loading_) {
      loading_ = true;
      tasks_.spawn("store history", load_past());
    }
  }
  options.max_pending = std::max<std::size_t>(options.max_pending, 1);
  return hub_->add(std::move(options), revision_, wait);
}

Task<Result<void>> MvccStore::close() {
  if (closed_) co_return Result<void>();
  closed_ = true;
  wake_readers();
  decider_signal_.notify_all();
  settled_signal_.notify_all();
  co_await tasks_.join();
  hub_->close(closed_error());
  show_metrics();
  co_return co_await log_->close();
}

Task<Result<std::unique_ptr<Store>>> Store::open(Env env, std::unique_ptr<Log> log,
                                                 StoreOptions options) {
  auto store = std::make_unique<MvccStore>(env, std::move(log), options);
  const auto replayed = co_await store->replay();
  if (!replayed) co_return replayed.error();
  co_return std::unique_ptr<Store>(std::move(store));
}

Range Range::prefix(std::string_view p) {
  // The first key after all that start with p: p with its last byte raised, leaving out 0xff bytes.
  std::string end(p);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return {std::string(p), std::move(end)};
}

Range Range::key(std::string_view k) { return {std::string(k), std::string(k) + '\0'}; }

bool Range::contains(std::string_view k) const { return k >= begin && (end.empty() || k < end); }

}  // namespace skiff::store
