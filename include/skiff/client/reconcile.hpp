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
// handed out again after done().
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

struct Outcome {
  // Highest revision this reconcile wrote: the loop does not look at the key again before
  // `caches_reached` says its caches have seen it. Replaces upstream's expectations.
  std::int64_t wrote = 0;
  std::optional<Duration> again_after;
};

class Reconciler {
 public:
  virtual ~Reconciler() = default;
  virtual std::string_view name() const = 0;
  // Handlers on informers that put keys on the queue; called once before start.
  virtual void watch(WorkQueue& queue) = 0;
  virtual Task<Result<Outcome>> reconcile(api::NamespacedName key) = 0;
  // Whether every cache this reconciler plans from has seen `revision`.
  virtual bool reached(std::int64_t revision) const = 0;
};

struct LoopOptions {
  std::size_t workers = 4;  // keys in progress at once
};

// Spawns the loop's tasks in `group`; ends when the group is cancelled. `reconciler` outlives the
// group.
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
