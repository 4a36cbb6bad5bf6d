// The Store over any Log.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
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
  metrics::Gauge& keys;
  metrics::Gauge& watchers;
  metrics::Gauge& history_bytes;
};

// Life of an Op: accept() checks it against `pending_` and the index, gives it a revision and puts
// it into the gathering batch; the writer hands one batch after the other to the log; publish()
// moves it into index and history and tells the watches. Until then only accept() sees it, so
// forgetting `pending_` undoes whatever the log could not keep.
class MvccStore final : public Store {
 public:
  MvccStore(Env env, std::unique_ptr<Log> log, StoreOptions options);
  ~MvccStore() override;

  Task<Result<void>> replay();

  Revision revision() const override { return revision_; }
  Revision compacted() const override { return std::min(compacted_, log_->compacted()); }
  Revision window() const override { return compacted_; }
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

  Result<void> check_readable(Revision at) const;
  const Slot* newest(std::string_view key) const;
  Result<const Slot*> verdict(const Op& op) const;
  Result<ItemPtr> accept(Op&& op, Batch& batch);
  Task<void> write_batches();
  void publish(const std::vector<Record>& records);
  void apply(Record record);
  void fail(Batch& batch, const Error& error);
  void finish(Batch& batch, std::optional<Error> error);
  void show_metrics();

  void note_time();
  void compact_when_due();
  Task<void> compact_by_policy(Revision old_enough);
  void drop_front();

  Env env_;
  std::unique_ptr<Log> log_;
  StoreOptions options_;
  metrics::Registry own_metrics_;
  StoreMetrics metrics_;

  Index index_;
  History history_;
  std::shared_ptr<WatchHub> hub_;
  Revision revision_ = 1;
  Revision compacted_ = 0;
  Revision resumable_ = 0;
  Revision last_given_ = 1;  // to an accepted Op
  std::optional<Error> failing_;
  std::uint64_t shown_events_ = 0;
  std::uint64_t shown_expired_ = 0;

  // Newest accepted version of keys with Ops on their way; the key's bytes are the item's.
  std::unordered_map<std::string_view, Slot> pending_;
  std::shared_ptr<Batch> gathering_;
  std::shared_ptr<Batch> in_flight_;
  std::size_t waiting_bytes_ = 0;
  bool writing_ = false;
  bool compacting_ = false;
  bool closed_ = false;

  std::deque<std::pair<TimePoint, Revision>> times_;  // which revision was newest when
  TaskGroup tasks_;
};

}  // namespace skiff::store
