// The reconcile loop: keys in, one reconcile at a time per key, retries with back-off.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/client/informer.hpp"

namespace skiff::client {

// Deduplicating, delayed, rate-limited queue of keys. A key being processed that is added again is
// handed out again after done(). Bounded by the number of distinct keys. Whoever waits in get()
// also keeps the time for delayed keys, so an idle queue owns one timer at most, and none when
// nothing is delayed.
class WorkQueue {
 public:
  WorkQueue(Env env, std::string name);
  ~WorkQueue();
  void add(api::NamespacedName key);
  void add_after(api::NamespacedName key, Duration delay);
  void add_rate_limited(api::NamespacedName key);  // 5 ms doubling to 1000 s, as upstream
  void forget(const api::NamespacedName& key);     // resets the back-off
  Task<std::optional<api::NamespacedName>> get();  // empty once shut down
  void done(const api::NamespacedName& key);
  void shut_down();
  std::size_t size() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// What a reconcile wrote and when it wants to look again. The loop does not hand the key out again
// before the caches named here show the writes, so a reconcile never plans from a past that lacks
// its own work. This takes the place of upstream's expectations.
class Outcome {
 public:
  std::optional<Duration> again_after;
  // What went wrong after some writes had succeeded: the key is tried again with back-off, but not
  // before those writes are visible (which returning the Error instead of an Outcome would lose).
  std::optional<Error> retry;

  // `written` is what create, update or patch returned; `cache` the informer that will show it (one
  // whose selectors leave it out would hold the key back for 30 s).
  void wrote(const Informer& cache, const api::Object& written);
  // `removed` as it was before it was deleted: waits until `cache` shows it deleting, gone or
  // replaced by one of another UID.
  void removed(const Informer& cache, const api::Object& removed);
  // Whether every cache shows every write.
  bool settled() const;
  bool empty() const noexcept { return writes_.empty(); }
  // Calls `visit` for every cache waited for (perhaps repeatedly).
  void for_each_cache(const std::function<void(const Informer&)>& visit) const;

 private:
  struct Written {
    const Informer* cache;
    std::int64_t revision;    // reached(revision); 0 for a removal
    api::NamespacedName key;  // removals only
    std::string uid;
  };
  std::vector<Written> writes_;
};

class Reconciler {
 public:
  virtual ~Reconciler() = default;
  virtual std::string_view name() const = 0;
  // Handlers on informers that put keys on the queue; called once before start.
  virtual void watch(WorkQueue& queue) = 0;
  virtual Task<Result<Outcome>> reconcile(api::NamespacedName key) = 0;
};

struct LoopOptions {
  std::size_t workers = 4;  // keys in progress at once
};

// Calls reconciler.watch() at once, then spawns the loop's tasks in `group`: they wait until every
// informer of `informers` has synced and end when the group is cancelled. `reconciler` and
// `informers` outlive the group. A failed reconcile is tried again with the queue's back-off.
void run_reconciler(Env env, TaskGroup& group, Reconciler& reconciler, InformerFactory& informers,
                    LoopOptions options = {});

// metadata.resourceVersion as a number; 0 when absent.
std::int64_t revision_of(const api::Object& object);

// Records Kubernetes Events (core/v1 Event) about objects: correlated and counted like upstream's
// recorder (same event within 10 minutes bumps count), spam-limited, written in batches, lost
// rather than waited for.
class EventRecorder {
 public:
  EventRecorder(Env env, Client& client, std::string component, std::string host = "");
  ~EventRecorder();
  void start(TaskGroup& group);
  void event(const api::Object& about, std::string_view type, std::string_view reason,
             std::string message, std::string_view field_path = "");
  void event(const Value& about, std::string_view type, std::string_view reason,
             std::string message, std::string_view field_path = "");

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace skiff::client
