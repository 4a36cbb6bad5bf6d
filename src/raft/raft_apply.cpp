// Committed entries: to the store at once, to the inner log in steps; and forgetting entries.
#include "raft_log.hpp"
#include "skiff/base/log.hpp"

#include <unordered_map>

namespace skiff::raft {

using store::Record;

namespace {

constexpr std::size_t kRecordCost = 128;
constexpr Duration kRetryInner = std::chrono::seconds(2);
constexpr int kEntriesATurn = 64;

}  // namespace

Task<void> RaftLogImpl::apply_loop() {
  int turn = 0;
  co_await yield();  // the store is not to hear of anything before replay() has returned
  for (;;) {
    const bool applied = co_await apply_one();
    if (applied) {
      start_flush();
      if (++turn % kEntriesATurn == 0) co_await yield();
      continue;
    }
    settle();
    start_flush();
    forget_when_due();
    co_await apply_signal_.wait();
  }
}

// False when there is nothing that can be applied now.
Task<bool> RaftLogImpl::apply_one() {
  const Index committed = skiff_engine_commit(engine_.get());
  const Index index = applied_ + 1;
  if (installing_ || !broken_.empty() || committed < index || index > last_index()) co_return false;
  if (for_inner_bytes_ > 8 * options_.apply_bytes) co_return false;
  Stored stored = log_[index - log_first_];
  if (stored.entry.kind == Entry::Kind::servers) {
    applied_ = index;
    skiff_update update;
    const int rv =
        skiff_engine_servers_committed(engine_.get(), now_ms(), index, stored.entry.data->data(),
                                       stored.entry.data->size(), &update);
    if (rv == 0) absorb(update, {}, 0);
    members_changed();
    co_return true;
  }
  if (stored.entry.kind == Entry::Kind::barrier) {
    applied_ = index;
    change_signal_.notify_all();
    co_return true;
  }
  const auto group = groups_.lower_bound(index);
  if (group != groups_.end() && group->second.first <= index && !group->second.waiter->abandoned) {
    if (committed < group->first) co_return false;  // all of an append or none of it
    const Index last = group->first;
    for (Index i = index; i <= last; ++i) {
      Stored& own = log_[i - log_first_];
      queue_for_inner(*own.records);
      applied_revision_ = own.records->back().item->modified;
      own.records.reset();
    }
    applied_ = last;
    group_bytes_ -= group->second.bytes;
    ++resuming_;
    group->second.waiter->finish({});
    groups_.erase(group);
    change_signal_.notify_all();
    co_return true;
  }
  const auto outcome = co_await apply_records(index, std::move(stored));
  if (!outcome) {
    broken_ = "entry " + std::to_string(index) + " of the shared log: " + outcome.error().message;
    log::error("raft", "this server cannot follow the cluster any more", {{"error", broken_}});
    status_signal_.notify_all();
    co_return false;
  }
  co_return true;
}

// What this store does not know yet.
Task<Result<void>> RaftLogImpl::apply_records(Index index, Stored stored) {
  auto decoded = decode_records(*stored.entry.data, options_.sealer.get());
  if (!decoded) co_return decoded.error();
  // The store publishes its own records when append() resumes: they come first.
  while (resuming_ > 0 || failing_ > 0) co_await resumed_signal_.wait();
  if (installing_ || applied_ + 1 != index) co_return Result<void>();
  std::vector<Record> fresh;
  for (Record& record : *decoded) {
    if (record.item->modified > applied_revision_) fresh.push_back(std::move(record));
  }
  const auto group = groups_.find(index);  // given up by who had appended it
  if (group != groups_.end()) {
    group_bytes_ -= group->second.bytes;
    groups_.erase(group);
  }
  applied_ = index;
  if (!fresh.empty()) {
    applied_revision_ = fresh.back().item->modified;
    queue_for_inner(fresh);
    auto records = std::make_shared<const std::vector<Record>>(std::move(fresh));
    if (user_ != nullptr) user_->deliver(std::move(records));
  }
  log_[index - log_first_].records.reset();
  change_signal_.notify_all();
  co_return Result<void>();
}

// --- The inner log. It gets each record once, in order; of a volatile key only the last version
// that there is by the time of writing.

void RaftLogImpl::queue_for_inner(const std::vector<Record>& records) {
  if (for_inner_.empty()) flushed_at_ = env_.clock->now();
  for (const Record& record : records) {
    for_inner_bytes_ += record.item->value.size() + record.item->key.size() + kRecordCost;
    for_inner_.push_back(record);
  }
}

// Beside the applying: the database may take its time.
void RaftLogImpl::start_flush() {
  if (flushing_ || !inner_due()) return;
  flushing_ = true;
  tasks_.spawn("raft database", flush_when_due());
}

Task<void> RaftLogImpl::flush_when_due() {
  while (inner_due()) {
    const auto flushed = co_await flush_inner();
    // Whoever cannot write waits for room on the disk: entries are kept meanwhile.
    if (!flushed) co_await env_.clock->sleep_for(kRetryInner);
  }
  flushing_ = false;
  apply_signal_.notify_all();
}

bool RaftLogImpl::inner_due() const {
  if (for_inner_.empty() || installing_) return false;
  return for_inner_bytes_ > options_.apply_bytes ||
         env_.clock->now() - flushed_at_ >= options_.apply_interval;
}

std::vector<Record> RaftLogImpl::take_for_inner() {
  std::vector<Record> all = std::move(for_inner_);
  for_inner_.clear();
  for_inner_bytes_ = 0;
  // From the back: what a later version of a volatile key supersedes is not written, and that
  // version takes the place of its predecessor.
  std::unordered_map<std::string_view, std::size_t> later;
  std::vector<bool> dropped(all.size(), false);
  for (std::size_t i = all.size(); i-- > 0;) {
    Record& record = all[i];
    if (!record.is_volatile) continue;
    const auto it = later.find(record.item->key);
    if (it != later.end() && !record.erase && all[it->second].previous == record.item->modified) {
      all[it->second].previous = record.previous;
      dropped[i] = true;
      continue;
    }
    later.insert_or_assign(record.item->key, i);
  }
  std::vector<Record> out;
  out.reserve(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (dropped[i]) continue;
    // Entries make them durable: the inner log need not treat them in a way of its own, and so its
    // newest revision says exactly what it has.
    all[i].is_volatile = false;
    out.push_back(std::move(all[i]));
  }
  return out;
}

// In a task that nobody cancels: what was taken for the inner log and did not get there would be
// missing from it for good, and who asks for history may give up at any time.
Task<Result<void>> RaftLogImpl::flush_inner() {
  if (for_inner_.empty() && !inner_busy_) co_return Result<void>();
  const auto waiter = std::make_shared<Waiter>(env_.executor);
  inner_tasks_.spawn("raft inner log", write_inner(waiter));
  while (!waiter->done) co_await waiter->changed.wait();
  co_return waiter->outcome;
}

Task<void> RaftLogImpl::write_inner(WaiterPtr waiter) {
  const auto lock = co_await InnerLock::take(*this);
  if (for_inner_.empty() || (closed_ && installing_)) {
    waiter->finish({});
    co_return;
  }
  const std::vector<Record> keep = for_inner_;
  const std::size_t keep_bytes = for_inner_bytes_;
  auto records = std::make_shared<const std::vector<Record>>(take_for_inner());
  flushed_at_ = env_.clock->now();
  const auto outcome = co_await inner_->append(std::move(records));
  if (!outcome) {
    // What came meanwhile follows what could not be written.
    for_inner_.insert(for_inner_.begin(), keep.begin(), keep.end());
    for_inner_bytes_ += keep_bytes;
    if (inner_trouble_.empty()) {
      log::warn("raft", "the database takes no writes; entries are kept until it does",
                {{"error", outcome.error()}});
    }
    inner_trouble_ = outcome.error().message;
  } else {
    inner_trouble_.clear();
    apply_signal_.notify_all();
  }
  waiter->finish(outcome);
}

// By size; and when those for whom more was kept have caught up, or are gone.
void RaftLogImpl::forget_when_due() {
  if (forgetting_ || closed_) return;
  const bool much = log_bytes_ > 2 * options_.keep_bytes + kept_for_behind_;
  const bool idle = kept_for_behind_ == 0 ||
                    applied_ <= skiff_engine_snapshot_index(engine_.get()) ||
                    known_to_all() < applied_;
  if (!much && idle) return;
  forgetting_ = true;
  tasks_.spawn("raft entries", forget_entries());
}

// What the servers that have answered lately all have.
Index RaftLogImpl::known_to_all() const {
  Index least = last_index();
  if (!leading()) return least;
  for (const Server& s : servers()) {
    if (s.id == options_.id || !heard_lately(s.id)) continue;
    const auto out = outbound_.find(s.id);
    const Index has =
        out != outbound_.end() ? out->second->index : skiff_engine_matched(engine_.get(), s.id);
    least = std::min(least, has);  // to go on from there, the core looks at its term
  }
  return least;
}

// How many entries up to `index` are worth keeping.
unsigned RaftLogImpl::trailing_entries(Index index) {
  const Index known = known_to_all();
  int again = 0;
  for (auto& [id, peer] : peers_) {
    const bool behind =
        outbound_.count(id) != 0 || skiff_engine_matched(engine_.get(), id) < applied_;
    if (!behind) peer.snapshots = 0;
    again = std::max(again, peer.snapshots - 1);
  }
  // Whoever lacks more than a snapshot has is better off with one, unless that is for ever so.
  const std::size_t most = std::max(options_.keep_behind_bytes, snapshot_bytes_)
                           << static_cast<unsigned>(std::min(again, 3));
  unsigned trailing = 0;
  std::size_t bytes = 0;
  for (Index i = index; i >= log_first_; --i, ++trailing) {
    if (bytes >= options_.keep_bytes && (i < known || bytes >= most)) break;
    bytes += cost(log_[i - log_first_]);
  }
  kept_for_behind_ = bytes > options_.keep_bytes ? bytes - options_.keep_bytes : 0;
  return trailing;
}

// Once the inner log has them on disk, entries are only of use to servers that are behind.
Task<void> RaftLogImpl::forget_entries() {
  const Index index = std::min<Index>(applied_, skiff_engine_stored(engine_.get()));
  const std::string servers = encode_servers(committed_servers());
  const Index servers_index = skiff_engine_servers_index(engine_.get());
  Result<void> synced = co_await flush_inner();
  if (synced) synced = co_await inner_->sync();
  const bool possible = synced && !installing_ &&
                        index > skiff_engine_snapshot_index(engine_.get()) &&
                        servers_index <= index && term_of(index) != 0;
  if (possible) {
    const unsigned trailing = trailing_entries(index);
    SnapshotMark mark;
    mark.index = index;
    mark.term = term_of(index);
    mark.servers = servers;
    mark.servers_index = servers_index;
    skiff_update update;
    const int rv = skiff_engine_snapshot(engine_.get(), now_ms(), index, trailing, &update);
    if (rv == 0) {
      absorb(update, {}, 0);
      const Index first = skiff_engine_first(engine_.get());
      while (log_first_ < first && !log_.empty()) {
        log_bytes_ -= cost(log_.front());
        log_.pop_front();
        ++log_first_;
      }
      Entries::Batch& batch = next_write();
      mark_ = mark;
      batch.snapshot = std::move(mark);
      batch.keep_from = log_first_;
    }
  } else if (!synced) {
    co_await env_.clock->sleep_for(kRetryInner);
  }
  forgetting_ = false;
}

}  // namespace skiff::raft
