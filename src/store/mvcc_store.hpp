// The Store over any Log.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "history.hpp"
#include "index.hpp"
#include "skiff/store/store.hpp"
#include "watch_hub.hpp"

namespace skiff::store {

// What /metrics tells of the store.
struct StoreMetrics {
  explicit StoreMetrics(metrics::Registry& registry);
  metrics::Counter& commits;
  metrics::Counter& appends;
  metrics::Counter& failures;
  metrics::Counter& events;
  metrics::Counter& expired;
  metrics::Gauge& revision;
  metrics::Gauge& compacted;
  metrics::Gauge& window;
  metrics::Gauge& keys;
  metrics::Gauge& watchers;
  metrics::Gauge& history_bytes;
};

// Life of an Op: accept() checks it against `pending_` and the index, gives it a revision and puts
// it into the gathering batch; the writer hands one batch after the other to the log; publish()
// moves it into index and history and tells the watches. Until then only accept() sees it, so
// forgetting `pending_` undoes whatever the log could not keep. What other servers decide comes by
// deliver() and goes straight to publish().
//
// mvcc_store.cpp has reads and writes, mvcc_store_shared.cpp what several servers need, and
// mvcc_store_past.cpp what is about the past: the window, the log's history, compaction.
class MvccStore final : public Store {
 public:
  MvccStore(Env env, std::unique_ptr<Log> log, StoreOptions options);
  ~MvccStore() override;

  Task<Result<void>> replay();

  Revision revision() const override { return revision_; }
  Revision compacted() const override { return std::min(window_, log_->compacted()); }
  Revision window() const override { return window_; }
  Task<Result<ItemPtr>> get_at(std::string key, Revision at) override;
  Task<Result<Page>> range_at(Range range, std::size_t limit, Revision at) override;
  Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                            std::size_t limit) override;
  Task<Result<Revision>> barrier() override;
  Decider decider() const override { return log_->decider(); }
  Task<void> decider_changed() override;
  Result<ItemPtr> get(std::string_view key, Revision at) const override;
  Result<Page> range(const Range& range, std::size_t limit, Revision at) const override;
  Task<std::vector<Result<ItemPtr>>> commit(std::vector<Op> ops) override;
  std::optional<Error> failing() const override { return failing_; }
  Result<std::unique_ptr<Watch>> watch(WatchOptions options) override;
  Task<Result<void>> compact(Revision revision) override;
  Task<Result<void>> close() override;

 private:
  // What a shared log calls. Apart, because both doors have a decider_changed().
  class FromLog final : public LogUser {
   public:
    explicit FromLog(MvccStore& store) : store_(store) {}
    void deliver(Records records) override { store_.deliver(std::move(records)); }
    void replace(Recovered at, std::vector<Record> state) override {
      store_.replace(at, std::move(state));
    }
    Task<std::vector<Result<Revision>>> decide(std::vector<Op> ops) override {
      return store_.decide_for_another(std::move(ops));
    }
    void decider_changed() override { store_.decider_moved(); }

   private:
    MvccStore& store_;
  };

  // Ops that share an append.
  struct Batch {
    explicit Batch(Executor executor)
        : records(std::make_shared<std::vector<Record>>()), finished(std::move(executor)) {}
    std::shared_ptr<std::vector<Record>> records;
    std::size_t bytes = 0;
    bool done = false;
    std::optional<Error> error;
    Signal finished;
  };

  Error too_old(Revision at, Revision oldest) const;
  Error in_future(Revision at) const;
  Result<void> check_readable(Revision at) const;

  const Slot* newest(std::string_view key) const;
  Result<const Slot*> verdict(const Op& op) const;
  Result<ItemPtr> accept(Op&& op, Batch& batch);
  Task<std::vector<Result<ItemPtr>>> decide(std::vector<Op> ops);
  Task<std::vector<Result<ItemPtr>>> confirm(std::vector<Op> ops,
                                             std::vector<Result<ItemPtr>> verdicts);
  std::optional<Error> cannot_decide() const;
  Task<void> write_batches();
  void publish(const std::vector<Record>& records);
  void apply(const Record& record);
  void place(Record record);  // a newest version, without a past
  void fail(Batch& batch, const Error& error);
  void finish(Batch& batch, std::optional<Error> error);
  void show_metrics();

  // Several servers.
  void deliver(Records records);
  void release_held();
  void replace(Recovered at, std::vector<Record> state);
  void decider_moved();
  void give_up();
  bool settled() const { return held_.empty() && !(in_flight_ && in_flight_->done); }
  Task<std::vector<Result<Revision>>> decide_for_another(std::vector<Op> ops);
  Task<std::vector<Result<ItemPtr>>> forward(std::vector<Op> ops);
  Task<Result<void>> until_shown(Revision revision);
  Task<Result<ItemPtr>> find_version(std::string key, Revision revision);
  void wake_readers();

  // The past.
  std::size_t window_bound() const;
  void note_time();
  void trim_when_due();
  Task<void> trim_by_policy(Revision old_enough);
  Task<void> trim(Revision revision);
  void drop_front();
  bool can_load(Revision after) const;
  Task<void> load_past();
  Task<bool> load_back_to(Revision target);
  Task<bool> read_past(Revision target, Revision from, std::vector<Record>* out);
  Task<bool> link_past(std::vector<Record> records, std::vector<Change>* out);
  // Notes what the first of each key's records replaced; `seen` are the keys that are no news.
  using Replaced = std::unordered_map<std::string_view, ItemPtr>;
  Task<Result<void>> find_replaced(std::span<const Record> records,
                                   std::unordered_set<std::string_view>* seen, Replaced* out);
  void install(Change change);
  void scan_window(const Range& range, Revision& cursor, Revision until, std::size_t limit,
                   std::vector<Record>& out) const;

  Env env_;
  FromLog from_log_{*this};  // before the log, which it outlives
  std::unique_ptr<Log> log_;
  StoreOptions options_;
  metrics::Registry own_metrics_;
  StoreMetrics metrics_;

  Index index_;
  History history_;
  std::shared_ptr<WatchHub> hub_;
  Revision revision_ = 1;
  Revision window_ = 0;      // every change after it is in `history_`
  Revision resumable_ = 0;   // no watch may resume from before it
  Revision last_given_ = 1;  // to an accepted Op; at least `revision_`
  std::size_t live_bytes_ = 0;
  std::optional<Error> failing_;
  std::uint64_t shown_events_ = 0;
  std::uint64_t shown_expired_ = 0;

  // Newest accepted version of keys with Ops on their way; the key's bytes are the item's.
  std::unordered_map<std::string_view, Slot> pending_;
  std::shared_ptr<Batch> gathering_;
  std::shared_ptr<Batch> in_flight_;  // done already: given up, though the log has yet to answer
  std::size_t waiting_bytes_ = 0;
  bool writing_ = false;
  bool trimming_ = false;
  bool opened_ = false;
  bool closed_ = false;

  std::deque<Records> held_;  // delivered while the fate of an older append is open
  std::map<Revision, std::shared_ptr<Signal>> until_;  // who waits for a revision to show
  Signal decider_signal_;
  Signal settled_signal_;
  int generation_ = 0;  // counts replaced states

  Revision loadable_ = 0;  // the window as it was at the start, while it may grow back from there
  Revision load_to_ = 0;   // how far back watches wait for it
  bool loading_ = false;

  std::deque<std::pair<TimePoint, Revision>> times_;  // which revision was newest when
  TaskGroup tasks_;
};

}  // namespace skiff::store
