#include <set>

#include "skiff/client/reconcile.hpp"
#include "wait.hpp"

namespace skiff::client {
namespace {

constexpr Duration kFirstDelay = 5ms;
constexpr Duration kLongestDelay = 1000s;

// The names upstream's workqueue exports, so that existing dashboards read them.
struct Metrics {
  metrics::Gauge* depth = nullptr;
  metrics::Counter* adds = nullptr;
  metrics::Counter* retries = nullptr;
  metrics::Histogram* wait = nullptr;
  metrics::Histogram* work = nullptr;

  Metrics(metrics::Registry* registry, const std::string& name) {
    if (registry == nullptr) return;
    const std::vector<std::string> labels{"name"};
    const std::vector<double> bounds{1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10};
    depth = &registry->gauge("workqueue_depth", "Keys waiting to be handed out.", labels, {name});
    adds = &registry->counter("workqueue_adds_total", "Keys added.", labels, {name});
    retries =
        &registry->counter("workqueue_retries_total", "Keys added with back-off.", labels, {name});
    wait = &registry->histogram("workqueue_queue_duration_seconds",
                                "How long keys wait before they are handed out.", bounds, labels,
                                {name});
    work = &registry->histogram("workqueue_work_duration_seconds",
                                "How long the work on a key takes.", bounds, labels, {name});
  }
};

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

struct WorkQueue::State {
  State(Env e, const std::string& name) : env(e), metrics(e.metrics, name), changed(e.executor) {}

  using Key = api::NamespacedName;
  struct Waiting {
    Key key;
    TimePoint since;
  };

  Env env;
  Metrics metrics;
  Changes changed;
  std::deque<Waiting> ready;
  std::set<Key> dirty;                      // to be handed out, now or after done()
  std::map<Key, TimePoint> processing;      // handed out, since when
  std::map<Key, TimePoint> delayed;         // earliest wish per key
  std::set<std::pair<TimePoint, Key>> due;  // the same by time
  std::map<Key, unsigned> failures;
  bool timekeeper = false;  // somebody in get() sleeps until the first of `due`
  bool shut_down = false;

  void add(Key key) {
    if (shut_down || !dirty.insert(key).second) return;
    if (metrics.adds != nullptr) metrics.adds->add();
    if (processing.contains(key)) return;
    push(std::move(key));
  }
  void push(Key key) {
    ready.push_back({std::move(key), env.clock->now()});
    if (metrics.depth != nullptr) metrics.depth->set(static_cast<double>(ready.size()));
    changed.notify();
  }
  void add_at(const Key& key, TimePoint when) {
    if (shut_down) return;
    const auto it = delayed.find(key);
    if (it != delayed.end()) {
      if (it->second <= when) return;
      due.erase({it->second, key});
    }
    delayed[key] = when;
    due.emplace(when, key);
    if (due.begin()->second == key) changed.notify();  // the timekeeper must wake earlier
  }
  void promote_due() {
    const TimePoint now = env.clock->now();
    while (!due.empty() && due.begin()->first <= now) {
      Key key = due.begin()->second;
      due.erase(due.begin());
      delayed.erase(key);
      add(std::move(key));
    }
  }
  Key take() {
    Waiting first = std::move(ready.front());
    ready.pop_front();
    const TimePoint now = env.clock->now();
    if (metrics.depth != nullptr) {
      metrics.depth->set(static_cast<double>(ready.size()));
      metrics.wait->observe(seconds(now - first.since));
    }
    dirty.erase(first.key);
    processing.emplace(first.key, now);
    return std::move(first.key);
  }
};

WorkQueue::WorkQueue(Env env, std::string name) : state_(std::make_shared<State>(env, name)) {}
WorkQueue::~WorkQueue() { shut_down(); }

void WorkQueue::add(api::NamespacedName key) { state_->add(std::move(key)); }

void WorkQueue::add_after(api::NamespacedName key, Duration delay) {
  if (delay <= Duration{}) return add(std::move(key));
  state_->add_at(key, state_->env.clock->now() + delay);
}

void WorkQueue::add_rate_limited(api::NamespacedName key) {
  const unsigned failures = state_->failures[key]++;
  const Duration delay = failures < 18 ? kFirstDelay * (1L << failures) : kLongestDelay;
  if (state_->metrics.retries != nullptr) state_->metrics.retries->add();
  add_after(std::move(key), std::min(delay, kLongestDelay));
}

void WorkQueue::forget(const api::NamespacedName& key) { state_->failures.erase(key); }

Task<std::optional<api::NamespacedName>> WorkQueue::get() {
  const std::shared_ptr<State> state = state_;  // the queue may die while somebody waits
  for (;;) {
    state->promote_due();
    if (!state->ready.empty()) {
      std::optional<api::NamespacedName> key = state->take();
      // Another waiter takes over the watch on the clock.
      if (!state->due.empty() && !state->timekeeper) state->changed.notify();
      co_return key;
    }
    if (state->shut_down) co_return std::nullopt;
    const std::uint64_t seen = state->changed.count();
    if (state->due.empty() || state->timekeeper) {
      co_await state->changed.wait(seen);
      continue;
    }
    state->timekeeper = true;
    struct Guard {
      State* state;
      ~Guard() { state->timekeeper = false; }
    };
    {
      const Guard guard{state.get()};
      co_await state->changed.wait_until(seen, state->env.clock, state->due.begin()->first);
    }
  }
}

void WorkQueue::done(const api::NamespacedName& key) {
  const auto it = state_->processing.find(key);
  if (it == state_->processing.end()) return;
  if (state_->metrics.work != nullptr) {
    state_->metrics.work->observe(seconds(state_->env.clock->now() - it->second));
  }
  state_->processing.erase(it);
  if (state_->dirty.contains(key)) state_->push(key);
}

void WorkQueue::shut_down() {
  if (std::exchange(state_->shut_down, true)) return;
  state_->due.clear();
  state_->delayed.clear();
  state_->changed.notify();
}

std::size_t WorkQueue::size() const noexcept { return state_->ready.size(); }

}  // namespace skiff::client
