#include "raft_log.hpp"

#include "segments.hpp"

#include "skiff/base/log.hpp"

namespace skiff::raft {

using store::Decider;
using store::Record;
using store::Records;
using store::Revision;

namespace {

// Below this the core could not tell a snapshot from an entry: a server that has nothing is offered
// entry 1 first, and must then find that there is none.
constexpr Index kFirstSnapshot = 2;

bool has_nothing(const Entries::Loaded& loaded) {
  return loaded.state.term == 0 && loaded.snapshot.index == 0 && loaded.entries.empty();
}

}  // namespace

RaftLogImpl::RaftLogImpl(Env env, RaftOptions options)
    : env_(env),
      options_(std::move(options)),
      inner_(std::move(options_.inner)),
      base_(env.clock->now() - std::chrono::seconds(1)),
      flushed_at_(env.clock->now()),
      next_request_(env.random->next()),
      write_signal_(env.executor),
      written_signal_(env.executor),
      apply_signal_(env.executor),
      resumed_signal_(env.executor),
      inner_signal_(env.executor),
      change_signal_(env.executor),
      status_signal_(env.executor),
      inner_tasks_(env.executor),
      tasks_(env.executor) {}

RaftLogImpl::~RaftLogImpl() {
  if (options_.network != nullptr) options_.network->receive({});
}

// --- Start.

Result<void> RaftLogImpl::make_reset(Entries::Loaded& loaded, Entries::Batch& batch) {
  if (has_nothing(loaded)) {
    return Error{Code::invalid,
                 "there is nothing to go on from: this server never had the cluster's "
                 "state; start a new cluster instead"};
  }
  Server self;
  self.id = options_.id;
  self.address = options_.address;
  HardState state = loaded.state;
  state.term += 1;
  state.vote = 0;
  state.cluster = random_id(*env_.random);
  state.self = options_.id;
  Entry entry;
  entry.term = state.term;
  entry.kind = Entry::Kind::servers;
  entry.data = std::make_shared<const std::string>(encode_servers({self}));
  batch.state = state;
  batch.first = loaded.first + loaded.entries.size();
  batch.entries = {entry};
  batch.committed = batch.first;
  log::warn("raft", "this server goes on alone as a new cluster",
            {{"cluster", state.cluster}, {"index", batch.first}});
  return {};
}

// What is on disk, and what this start makes of it.
Task<Result<Entries::Loaded>> RaftLogImpl::prepare() {
  auto loading = co_await options_.entries->load();
  if (!loading) co_return loading.error();
  Entries::Loaded loaded = std::move(*loading);
  if (loaded.state.self != 0 && loaded.state.self != options_.id) {
    co_return Error{Code::conflict, "these entries belong to server " +
                                        std::to_string(loaded.state.self) + ", this is server " +
                                        std::to_string(options_.id)};
  }
  Entries::Batch batch;
  if (options_.start == Start::reset) {
    SKIFF_CO_CHECK(make_reset(loaded, batch));
  } else if (options_.start == Start::bootstrap && has_nothing(loaded)) {
    Server self;
    self.id = options_.id;
    self.address = options_.address;
    HardState state;
    state.term = 1;
    state.cluster = random_id(*env_.random);
    state.self = options_.id;
    SnapshotMark mark;
    mark.index = kFirstSnapshot;
    mark.term = 1;
    mark.servers = encode_servers({self});
    mark.servers_index = kFirstSnapshot;
    batch.state = state;
    batch.snapshot = mark;
    batch.restart = true;
    batch.committed = kFirstSnapshot;
  } else {
    co_return loaded;
  }
  Entries::Batch copy = batch;
  const auto written = co_await options_.entries->write(std::move(copy));
  if (!written) co_return written.error();
  apply_batch(loaded, std::move(batch));
  co_return loaded;
}

// The inner log's state, and over it what is known to be committed and not in it yet.
Task<Result<RaftLogImpl::Recovered>> RaftLogImpl::replay_inner(
    const std::function<void(Record)>& each) {
  std::map<std::string, Record> newer;
  std::vector<Record> tail;
  for (Index i = log_first_; i <= applied_; ++i) {
    Stored& stored = log_[i - log_first_];
    if (stored.entry.kind != Entry::Kind::records) continue;
    auto records = decode_records(*stored.entry.data, options_.sealer.get());
    if (!records) co_return records.error();
    for (Record& r : *records) {
      newer.insert_or_assign(r.item->key, r);
      tail.push_back(std::move(r));
    }
  }
  std::function<void(Record)> filter = [&](Record record) {
    const auto it = newer.find(record.item->key);
    if (it != newer.end() && it->second.item->modified > record.item->modified) return;
    each(std::move(record));
  };
  const auto recovered = co_await inner_->replay(std::move(filter));
  if (!recovered) co_return recovered.error();
  Recovered out = *recovered;
  for (auto& [key, record] : newer) {
    if (record.item->modified > recovered->revision && !record.erase) each(record);
  }
  for (Record& record : tail) {
    if (record.item->modified <= recovered->revision) continue;
    out.revision = std::max(out.revision, record.item->modified);
    for_inner_bytes_ += record.item->value.size() + record.item->key.size() + 128;
    for_inner_.push_back(std::move(record));
  }
  applied_revision_ = out.revision;
  co_return out;
}

Result<void> RaftLogImpl::start_engine(const Entries::Loaded& loaded) {
  const auto ms = [](Duration d) {
    return static_cast<unsigned>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
  };
  engine_.reset(skiff_engine_new(options_.id, options_.address.c_str(),
                                 static_cast<unsigned>(env_.random->next()),
                                 ms(options_.election_timeout), ms(options_.heartbeat)));
  std::vector<skiff_entry> entries;
  std::vector<Entry> given;
  for (const Stored& stored : log_) {
    skiff_entry entry{};
    entry.term = stored.entry.term;
    entry.kind = static_cast<std::uint8_t>(stored.entry.kind);
    entry.data = stored.entry.data->data();
    entry.size = stored.entry.data->size();
    entries.push_back(entry);
  }
  skiff_start start{};
  start.term = hard_.term;
  start.vote = hard_.vote;
  start.snapshot_index = loaded.snapshot.index;
  start.snapshot_term = loaded.snapshot.term;
  start.servers_index = loaded.snapshot.servers_index;
  start.servers = loaded.snapshot.servers.data();
  start.servers_size = loaded.snapshot.servers.size();
  start.first = log_first_;
  start.n_entries = static_cast<std::uint32_t>(entries.size());
  start.entries = entries.data();
  skiff_update update;
  const int rv = skiff_engine_start(engine_.get(), now_ms(), &start, &update);
  if (rv != 0) {
    return Error{Code::internal, std::string("raft cannot start: ") + skiff_engine_error(rv)};
  }
  absorb(update, {}, 0);
  // The core does not know how far we have got.
  for (Index i = std::max(log_first_, loaded.snapshot.index + 1); i <= applied_; ++i) {
    const Entry entry = log_[i - log_first_].entry;
    if (entry.kind != Entry::Kind::servers) continue;
    skiff_engine_servers_committed(engine_.get(), now_ms(), i, entry.data->data(),
                                   entry.data->size(), &update);
    absorb(update, {}, 0);
  }
  return {};
}

Task<Result<RaftLogImpl::Recovered>> RaftLogImpl::replay(std::function<void(Record)> each) {
  auto preparing = co_await prepare();
  if (!preparing) co_return preparing.error();
  const Entries::Loaded loaded = std::move(*preparing);
  hard_ = loaded.state;
  mark_ = loaded.snapshot;
  log_first_ = loaded.first;
  for (const Entry& entry : loaded.entries) {
    Stored stored{entry, nullptr};
    log_bytes_ += cost(stored);
    log_.push_back(std::move(stored));
  }
  applied_ = std::max(loaded.snapshot.index, std::min(loaded.committed, last_index()));
  const auto recovered = co_await replay_inner(each);
  if (!recovered) co_return recovered.error();
  SKIFF_CO_CHECK(start_engine(loaded));
  members_changed();
  tasks_.spawn("raft disk", write_loop());
  tasks_.spawn("raft apply", apply_loop());
  started_ = true;
  options_.network->receive([this](std::string frame) { receive(std::move(frame)); });
  last_decider_ = decider();
  settle();
  co_return *recovered;
}

// --- Writing.

Error RaftLogImpl::not_here() const {
  if (closing_) return {Code::unavailable, "the server is stopping; nothing was written"};
  if (!broken_.empty()) return {Code::unavailable, broken_};
  if (!disk_trouble_.empty()) return {Code::unavailable, disk_trouble_};
  if (leading()) return {Code::unavailable, "this server begins to lead; nothing was written"};
  if (decider() == Decider::elsewhere) {
    return {Code::unavailable, "another server leads; nothing was written"};
  }
  return {Code::unavailable, "a majority of the servers cannot be reached; nothing was written"};
}

// Knows, whatever happens to the coroutine, that somebody who was told of the end has gone on.
class RaftLogImpl::AppendGuard {
 public:
  AppendGuard(RaftLogImpl& log, WaiterPtr waiter) : log_(log), waiter_(std::move(waiter)) {}
  ~AppendGuard() {
    if (!waiter_->done) {
      waiter_->abandoned = true;
      log_.apply_signal_.notify_all();
      return;
    }
    std::size_t& count = waiter_->outcome ? log_.resuming_ : log_.failing_;
    if (count > 0 && --count == 0) {
      log_.resumed_signal_.notify_all();
      log_.apply_signal_.notify_all();
    }
  }
  AppendGuard(const AppendGuard&) = delete;
  AppendGuard& operator=(const AppendGuard&) = delete;

 private:
  RaftLogImpl& log_;
  WaiterPtr waiter_;
};

Result<Index> RaftLogImpl::submit_records(std::span<const Record> records, Records whole) {
  Entry entry;
  entry.term = skiff_engine_term(engine_.get());
  entry.data = std::make_shared<const std::string>(encode_records(records, options_.sealer.get()));
  skiff_entry raw{};
  raw.term = entry.term;
  raw.kind = static_cast<std::uint8_t>(entry.kind);
  raw.data = entry.data->data();
  raw.size = entry.data->size();
  skiff_update update;
  const int rv = skiff_engine_submit(engine_.get(), now_ms(), &raw, &update);
  if (rv != 0) return not_here();
  const Index index = update.first;
  absorb(update, {&entry, 1}, index);
  log_[index - log_first_].records = std::move(whole);
  return index;
}

Task<Result<void>> RaftLogImpl::append(Records records) {
  if (decider() != Decider::here) co_return not_here();
  if (group_bytes_ > options_.max_pending_bytes) {
    co_return Error{Code::too_many_requests, "too much waits for the other servers"};
  }
  const Revision least = std::max(submitted_revision_, applied_revision_);
  if (records->front().item->modified <= least) {
    co_return Error{Code::unavailable, "another server has written since; nothing was written"};
  }
  Group group;
  group.term = skiff_engine_term(engine_.get());
  group.waiter = std::make_shared<Waiter>(env_.executor);
  const WaiterPtr waiter = group.waiter;
  const std::span<const Record> all(*records);
  Index last = 0;
  for (std::size_t at = 0; at < all.size();) {
    std::size_t bytes = 0;
    std::size_t end = at;
    while (end < all.size() && (end == at || bytes < options_.max_entry_bytes)) {
      bytes += all[end].item->value.size() + all[end].item->key.size() + 128;
      ++end;
    }
    // A part of a batch is kept as records of its own.
    Records whole = records;
    if (at != 0 || end != all.size()) {
      whole = std::make_shared<const std::vector<Record>>(all.begin() + static_cast<long>(at),
                                                          all.begin() + static_cast<long>(end));
    }
    const auto index = submit_records(all.subspan(at, end - at), std::move(whole));
    if (!index) co_return index.error();
    if (group.first == 0) group.first = *index;
    last = *index;
    group.bytes += bytes;
    submitted_revision_ = all[end - 1].item->modified;
    at = end;
  }
  group_bytes_ += group.bytes;
  groups_.emplace(last, std::move(group));
  AppendGuard guard(*this, waiter);
  settle();
  while (!waiter->done) co_await waiter->changed.wait();
  co_return waiter->outcome;
}

Decider RaftLogImpl::decider() const {
  if (!started_ || closing_ || !broken_.empty() || removed_) return Decider::nobody;
  if (leading()) {
    const bool ready = applied_ >= term_first_ && failing_ == 0 &&
                       skiff_engine_transferee(engine_.get()) == 0 && disk_trouble_.empty();
    return ready ? Decider::here : Decider::nobody;
  }
  const Id leader = skiff_engine_leader(engine_.get());
  if (leader == 0 || leader == options_.id || !leader_contact_) return Decider::nobody;
  // Who is in no list keeps a dead leader for ever.
  const bool recent = env_.clock->now() - *leader_contact_ < 2 * options_.election_timeout;
  return recent ? Decider::elsewhere : Decider::nobody;
}

// --- What the inner log knows.

Task<Result<std::vector<Record>>> RaftLogImpl::history(store::Range range, Revision after,
                                                       Revision until, std::size_t limit) {
  SKIFF_CO_CHECK(co_await flush_inner());
  co_return co_await inner_->history(std::move(range), after, until, limit);
}

Task<Result<std::vector<Record>>> RaftLogImpl::state(store::Range range, Revision at,
                                                     std::size_t limit) {
  SKIFF_CO_CHECK(co_await flush_inner());
  co_return co_await inner_->state(std::move(range), at, limit);
}

Task<Result<void>> RaftLogImpl::compact(Revision revision) {
  SKIFF_CO_CHECK(co_await flush_inner());
  co_return co_await inner_->compact(revision);
}

Task<Result<void>> RaftLogImpl::sync() {
  SKIFF_CO_CHECK(co_await flush_inner());
  co_return co_await inner_->sync();
}

Task<Result<void>> RaftLogImpl::replace(Recovered, std::vector<Record>) {
  co_return Error{Code::invalid,
                  "the state of a cluster of several servers cannot be replaced: stop "
                  "all, restore one server alone, and let the others join it again"};
}

// --- Stop.

Task<Result<void>> RaftLogImpl::close() {
  if (started_ && leading() && voters() > 1 && disk_trouble_.empty()) {
    const auto outcome = co_await hand_over(0);
    if (!outcome)
      log::warn("raft", "the leadership was not handed over", {{"error", outcome.error()}});
  }
  closing_ = true;
  if (started_) {
    settle();
    options_.network->receive({});
    const Error stopping{Code::unavailable, "the server is stopping"};
    fail_groups(0, stopping);
    fail_requests(stopping);
    for (Confirmation& c : confirmations_) c.waiter->finish(stopping);
    confirmations_.clear();
    for (auto& [id, out] : outbound_) out->stop = true;
  }
  closed_ = true;
  tasks_.cancel();
  co_await tasks_.join();
  co_await inner_tasks_.join();
  inner_busy_ = false;
  Result<void> outcome;
  if (started_ && !installing_) outcome = co_await flush_inner();
  co_await inner_tasks_.join();  // it may have told us before its own end
  const auto inner = co_await inner_->close();
  const auto entries = co_await options_.entries->close();
  if (outcome) outcome = inner;
  if (outcome) outcome = entries;
  status_signal_.notify_all();
  co_return outcome;
}

Result<std::unique_ptr<RaftLog>> make_raft_log(Env env, RaftOptions options) {
  const auto invalid = [](std::string what) { return Error{Code::invalid, std::move(what)}; };
  if (options.id == 0) return invalid("a server's id is not 0");
  if (!is_address(options.address)) {
    return invalid("'" + options.address + "' is no address of a server: https://HOST:PORT");
  }
  if (!options.inner || options.network == nullptr || options.entries == nullptr) {
    return invalid("a shared log needs an inner log, a network and entries");
  }
  if (options.heartbeat < std::chrono::milliseconds(1) ||
      options.election_timeout < 2 * options.heartbeat) {
    return invalid("an election timeout is at least two heartbeats");
  }
  return std::unique_ptr<RaftLog>(std::make_unique<RaftLogImpl>(env, std::move(options)));
}

}  // namespace skiff::raft
