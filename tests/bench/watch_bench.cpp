// What watching costs inside the store: events to many watchers, memory of idle ones, and what a
// thousand writers on one append cost in time and allocations.
//   bench_watch
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "skiff/base/clock.hpp"
#include "skiff/base/env.hpp"
#include "skiff/store/store.hpp"

namespace {
std::size_t allocations = 0;
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using namespace skiff;         // NOLINT: a program of one file
using namespace skiff::store;  // NOLINT

RealClock wall_clock;

struct Bench {
  asio::io_context io;
  metrics::Registry metrics;
  TaskGroup tasks{io.get_executor()};
  std::unique_ptr<Store> store;

  Bench() {
    Env env;
    env.executor = io.get_executor();
    env.clock = &wall_clock;
    env.metrics = &metrics;
    tasks.spawn("open", open(env));
    settle();
  }
  // Before the watches go: their readers wait in them.
  void end() {
    tasks.spawn("close", close());
    settle();
  }
  Task<void> open(Env env) {
    auto log = make_memory_log();
    auto opened = co_await Store::open(env, std::move(log), StoreOptions{});
    store = std::move(*opened);
  }
  Task<void> close() { (void)co_await store->close(); }
  void settle() {
    io.restart();
    while (io.poll() > 0) {
    }
  }
};

double seconds_since(TimePoint start) {
  return std::chrono::duration<double>(wall_clock.now() - start).count();
}

Op put(std::string key, std::string node) {
  Op op;
  op.key = std::move(key);
  op.value.assign(1000, 'x');
  if (!node.empty()) op.attributes = {{"spec.nodeName", std::move(node)}};
  return op;
}

Task<void> count_events(Watch* watch, std::uint64_t* seen) {
  for (;;) {
    const auto events = co_await watch->next();
    if (!events) co_return;
    *seen += events->size();
  }
}

Task<void> commit(Store* store, std::vector<Op> ops) {
  const auto verdicts = co_await store->commit(std::move(ops));
  if (!verdicts[0]) std::exit(1);
}

void fan_out(int watchers, int commits, int batch_size) {
  Bench bench;
  std::vector<std::unique_ptr<Watch>> watches;
  std::uint64_t seen = 0;
  for (int i = 0; i < watchers; ++i) {
    watches.push_back(std::move(*bench.store->watch({.range = Range::prefix("/registry/pods/")})));
    bench.tasks.spawn("watch", count_events(watches.back().get(), &seen));
  }
  bench.settle();
  const std::size_t before = allocations;
  const TimePoint start = wall_clock.now();
  for (int c = 0; c < commits; ++c) {
    std::vector<Op> batch;
    for (int i = 0; i < batch_size; ++i) {
      batch.push_back(put("/registry/pods/" + std::to_string(i), ""));
    }
    bench.tasks.spawn("commit", commit(bench.store.get(), std::move(batch)));
    bench.settle();
  }
  const double took = seconds_since(start);
  std::printf("%5d watchers, %3d events a batch  %10.0f events/s  %5.2f allocations an event\n",
              watchers, batch_size, static_cast<double>(seen) / took,
              static_cast<double>(allocations - before) / static_cast<double>(seen));
  bench.end();
}

void idle(const char* what, int watchers, bool attribute) {
  Bench bench;
  std::vector<std::unique_ptr<Watch>> watches;
  watches.reserve(static_cast<std::size_t>(watchers));
  std::uint64_t seen = 0;
  const std::size_t before = ::mallinfo2().uordblks;
  for (int i = 0; i < watchers; ++i) {
    WatchOptions options;
    options.range = Range::prefix("/registry/pods/");
    if (attribute) options.attribute = {"spec.nodeName", "node-" + std::to_string(i)};
    watches.push_back(std::move(*bench.store->watch(std::move(options))));
    bench.tasks.spawn("watch", count_events(watches.back().get(), &seen));
  }
  bench.settle();
  std::printf("%5d idle watchers, %-16s %8zu bytes each, their waiting coroutine included\n",
              watchers, what,
              (::mallinfo2().uordblks - before) / static_cast<std::size_t>(watchers));
  bench.end();
}

void writers(int count) {
  Bench bench;
  double best = 1e9;
  std::size_t used = 0;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < count; ++i) {
      std::vector<Op> one;
      one.push_back(put("/registry/pods/" + std::to_string(i), ""));
      bench.tasks.spawn("writer", commit(bench.store.get(), std::move(one)));
    }
    const std::size_t before = allocations;
    const TimePoint start = wall_clock.now();
    bench.settle();
    best = std::min(best, seconds_since(start));
    used = allocations - before;
  }
  std::printf("%5d writers, one append           %10.2f us a write, %5.1f allocations a write\n",
              count, best * 1e6 / count, static_cast<double>(used) / count);
  bench.end();
}

}  // namespace

int main() {
  for (const int batch : {1, 20, 200}) fan_out(1000, 4000 / batch, batch);
  fan_out(10, 20'000, 1);
  fan_out(10'000, 100, 1);
  idle("one range", 10'000, false);
  idle("a node each", 10'000, true);
  for (const int n : {1, 64, 1000}) writers(n);
  return 0;
}
