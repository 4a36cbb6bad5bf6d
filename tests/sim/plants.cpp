#include <array>
#include <deque>

#include "node.hpp"

namespace skiff::sim {
namespace {

using store::Log;
using store::LogUser;
using store::Op;
using store::Range;
using store::Record;
using store::Records;
using store::Recovered;
using store::Revision;

constexpr std::array<std::string_view, static_cast<std::size_t>(Plant::last)> kNames = {
    "none",       "early-ack",    "forget-vote",   "skip-on-resume", "reuse-revision",
    "stale-read", "two-deciders", "snapshot-hole", "false-bookmark"};

// Hands everything on.
class Wrapper : public Log {
 public:
  explicit Wrapper(std::unique_ptr<Log> log) : log_(std::move(log)) {}
  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    return log_->replay(std::move(each));
  }
  Task<Result<void>> append(Records records) override { return log_->append(std::move(records)); }
  Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                            std::size_t limit) override {
    return log_->history(std::move(range), after, until, limit);
  }
  Task<Result<std::vector<Record>>> state(Range range, Revision at, std::size_t limit) override {
    return log_->state(std::move(range), at, limit);
  }
  Revision compacted() const override { return log_->compacted(); }
  Task<Result<void>> compact(Revision revision) override { return log_->compact(revision); }
  Task<Result<void>> sync() override { return log_->sync(); }
  Task<Result<void>> close() override { return log_->close(); }
  void attach(LogUser& user) override { log_->attach(user); }
  store::Decider decider() const override { return log_->decider(); }
  Task<std::vector<Result<Revision>>> forward(std::vector<Op> ops) override {
    return log_->forward(std::move(ops));
  }
  Task<Result<Revision>> barrier() override { return log_->barrier(); }
  Task<Result<void>> replace(Recovered at, std::vector<Record> state) override {
    return log_->replace(at, std::move(state));
  }

 protected:
  std::unique_ptr<Log> log_;
};

// "It is on the disk" is said before it is.
class EarlyAck final : public Wrapper {
 public:
  EarlyAck(std::unique_ptr<Log> log, World& world)
      : Wrapper(std::move(log)), writes_(world.executor()) {}
  Task<Result<void>> append(Records records) override {
    writes_.spawn("append", later(*log_, std::move(records)));
    co_return Result<void>();
  }
  Task<Result<void>> close() override {
    co_await writes_.join();
    co_return co_await log_->close();
  }

 private:
  static Task<void> later(Log& log, Records records) {
    (void)co_await log.append(std::move(records));
  }
  TaskGroup writes_;
};

// After a restart numbering goes on from the newest key that exists: a last Op that erased one, or
// that was only held in memory, is forgotten.
class ReuseRevision final : public Wrapper {
 public:
  using Wrapper::Wrapper;
  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    Revision newest = 0;
    std::function<void(Record)> note = [&](Record record) {
      newest = std::max(newest, record.item->modified);
      each(std::move(record));
    };
    auto at = co_await log_->replay(note);
    if (at && newest != 0) {
      at->revision = newest;
      at->compacted = std::min(at->compacted, newest);
      at->resumable = std::min(at->resumable, newest);
    }
    co_return at;
  }
};

class StaleRead final : public Wrapper {
 public:
  using Wrapper::Wrapper;
  Task<Result<Revision>> barrier() override { co_return Revision{0}; }
};

// Cut off from the others, a server decides alone, and its own word is enough.
class TwoDeciders final : public Wrapper {
 public:
  using Wrapper::Wrapper;
  store::Decider decider() const override {
    const store::Decider real = log_->decider();
    return real == store::Decider::nobody ? store::Decider::here : real;
  }
  Task<Result<void>> append(Records records) override {
    if (log_->decider() == store::Decider::here) co_return co_await log_->append(records);
    co_return Result<void>();
  }
};

// A state that comes from another server lacks its last key.
class SnapshotHole final : public Wrapper {
 public:
  using Wrapper::Wrapper;
  void attach(LogUser& user) override {
    hole_.user = &user;
    log_->attach(hole_);
  }

 private:
  struct Hole final : LogUser {
    void deliver(Records records) override { user->deliver(std::move(records)); }
    void replace(Recovered at, std::vector<Record> state) override {
      if (!state.empty()) state.erase(state.begin());
      user->replace(at, std::move(state));
    }
    Task<std::vector<Result<Revision>>> decide(std::vector<Op> ops) override {
      return user->decide(std::move(ops));
    }
    void decider_changed() override { user->decider_changed(); }
    LogUser* user = nullptr;
  };
  Hole hole_;
};

class EntriesWrapper : public raft::Entries {
 public:
  EntriesWrapper(std::unique_ptr<raft::Entries> entries, World& world)
      : entries_(std::move(entries)), writes_(world.executor()), turn_(world.executor()) {}
  Task<Result<Loaded>> load() override { return entries_->load(); }
  Task<Result<void>> close() override {
    co_await writes_.join();
    co_return co_await entries_->close();
  }

 protected:
  std::unique_ptr<raft::Entries> entries_;
  TaskGroup writes_;
  Signal turn_;
};

class EarlyEntries final : public EntriesWrapper {
 public:
  using EntriesWrapper::EntriesWrapper;
  Task<Result<void>> write(Batch batch) override {
    waiting_.push_back(std::move(batch));
    if (waiting_.size() == 1) writes_.spawn("write", drain());
    co_return Result<void>();
  }

 private:
  Task<void> drain() {
    while (!waiting_.empty()) {
      for (int tries = 0; tries < 100; ++tries) {
        const auto written = co_await entries_->write(waiting_.front());
        if (written) break;
      }
      waiting_.pop_front();
    }
  }
  std::deque<Batch> waiting_;
};

// Term and vote are only written together with entries.
class ForgetVote final : public EntriesWrapper {
 public:
  using EntriesWrapper::EntriesWrapper;
  Task<Result<void>> write(Batch batch) override {
    if (!batch.state && late_) batch.state = late_;
    const bool only_state = batch.state && !batch.snapshot && batch.entries.empty() &&
                            batch.keep_from == 0 && batch.state->cluster != 0 && late_;
    late_ = batch.state ? batch.state : late_;
    if (only_state) co_return Result<void>();
    co_return co_await entries_->write(std::move(batch));
  }

 private:
  std::optional<raft::HardState> late_;
};

}  // namespace

std::string_view name_of(Plant plant) { return kNames[static_cast<std::size_t>(plant)]; }

Result<Plant> parse_plant(std::string_view text) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == text) return static_cast<Plant>(i);
  }
  return Error{Code::bad_request, "no such planted bug: " + std::string(text)};
}

std::unique_ptr<Log> plant_in(Plant plant, std::unique_ptr<Log> log, World& world, bool shared) {
  switch (plant) {
    case Plant::early_ack:
      if (shared) return log;
      return std::make_unique<EarlyAck>(std::move(log), world);
    case Plant::reuse_revision:
      return std::make_unique<ReuseRevision>(std::move(log));
    case Plant::stale_read:
      return std::make_unique<StaleRead>(std::move(log));
    case Plant::two_deciders:
      return std::make_unique<TwoDeciders>(std::move(log));
    case Plant::snapshot_hole:
      return std::make_unique<SnapshotHole>(std::move(log));
    default:
      return log;
  }
}

std::unique_ptr<raft::Entries> plant_in(Plant plant, std::unique_ptr<raft::Entries> entries,
                                        World& world) {
  if (plant == Plant::early_ack) {
    return std::make_unique<EarlyEntries>(std::move(entries), world);
  }
  if (plant == Plant::forget_vote) return std::make_unique<ForgetVote>(std::move(entries), world);
  return entries;
}

void plant_in(Plant plant, store::WatchOptions& options) {
  if (plant == Plant::skip_on_resume && options.after != 0) ++options.after;
}

}  // namespace skiff::sim
