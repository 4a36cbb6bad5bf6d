// What the store costs: durable commits against a bare fsync loop and against etcd in the same
// directory, compaction, restart, an idle hour, large ranges, watch fan-out, memory.
//   bench_store [DIRECTORY [OBJECTS [PART]]]    (the temporary directory, 1000000, all of it;
//   parts: commits, etcd alone, idle, restart, past, compact, fanout, memory)
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench_loop.hpp"
#include "compaction_pause.hpp"
#include "etcd_load.hpp"
#include "skiff/store/store.hpp"

namespace {

using namespace skiff;         // NOLINT: a program of one file
using namespace skiff::store;  // NOLINT

using bench::seconds_since;
using bench::wall_clock;

struct Bench : bench::Loop {
  std::unique_ptr<Store> open(std::unique_ptr<Log> log, StoreOptions options = {}) {
    auto store = run(Store::open(env(), std::move(log), options));
    if (!store) {
      std::fprintf(stderr, "%s\n", store.error().message.c_str());
      std::exit(1);
    }
    return std::move(*store);
  }
  void close(std::unique_ptr<Store> store) { (void)run(store->close()); }
};

Op put(std::string key, std::size_t size) {
  Op op;
  op.key = std::move(key);
  op.value.assign(size, 'x');
  op.revision_slot = static_cast<std::uint32_t>(size / 2);
  return op;
}

double resident_mb() {
  std::ifstream in("/proc/self/statm");
  long total = 0;
  long resident = 0;
  in >> total >> resident;
  return static_cast<double>(resident * ::sysconf(_SC_PAGESIZE)) / 1e6;
}

// In a process of its own, so that none finds another's memory, or its pages on their way to the
// disk.
template <class F>
void apart(F part) {
  ::sync();
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    part();
    std::fflush(stdout);
    std::_Exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
}

double bare_fsyncs(const std::string& directory) {
  const std::string path = directory + "/bare";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0600);
  const std::string block(600, 'x');
  const TimePoint start = wall_clock.now();
  int n = 0;
  for (; seconds_since(start) < 1.0; ++n) {
    if (::write(fd, block.data(), block.size()) < 0 || ::fdatasync(fd) < 0) std::exit(1);
  }
  const double rate = n / seconds_since(start);
  ::close(fd);
  std::filesystem::remove(path);
  return rate;
}

struct Writers {
  Store* store;
  TimePoint start;
  double seconds;
  std::uint64_t done = 0;
  std::vector<double> latencies;
};

Task<void> writer(Writers* all, int number) {
  for (int i = 0; seconds_since(all->start) < all->seconds; ++i) {
    const TimePoint before = wall_clock.now();
    std::vector<Op> batch;
    batch.push_back(
        put("/registry/configmaps/" + std::to_string(number) + "/" + std::to_string(i), 500));
    const auto verdicts = co_await all->store->commit(std::move(batch));
    if (!verdicts[0]) std::exit(1);
    ++all->done;
    all->latencies.push_back(seconds_since(before));
  }
}

std::vector<Op> one_op(int number, std::size_t size, bool is_volatile) {
  std::vector<Op> batch;
  batch.push_back(put((is_volatile ? "/leases/" : "/pods/") + std::to_string(number), size));
  batch.back().is_volatile = is_volatile;
  return batch;
}

// Commits a second of `count` writers.
double commits(const std::string& path, int count, double bare) {
  Bench bench;
  auto log = open_sqlite_log(bench.env(), {.path = path});
  if (!log) std::exit(1);
  auto store = bench.open(std::move(*log));
  Writers writers{store.get(), wall_clock.now(), 3.0, 0, {}};
  for (int i = 0; i < count; ++i) bench.tasks.spawn("writer", writer(&writers, i));
  bench.run();
  const double rate = static_cast<double>(writers.done) / seconds_since(writers.start);
  auto& l = writers.latencies;
  std::sort(l.begin(), l.end());
  std::printf(
      "commits, %4d writers          %9.0f /s   %6.2f x bare   p50 %6.2f ms  p99 %6.2f ms\n", count,
      rate, rate / bare, l[l.size() / 2] * 1e3, l[l.size() * 99 / 100] * 1e3);
  bench.close(std::move(store));
  return rate;
}

// How far the store is from the disk alone and from etcd, with turns taken so that all see the same
// disk.
void durable_commits(const std::string& directory) {
  const auto etcd = EtcdPeer::start(directory);
  for (const int count : {1, 64, 1000}) {
    std::vector<double> ratios;
    for (int turn = 0; turn < 3; ++turn) {
      const double bare = bare_fsyncs(directory);
      std::printf("bare write+fdatasync           %9.0f /s\n", bare);
      const std::string path =
          directory + "/db-" + std::to_string(count) + "-" + std::to_string(turn);
      const double rate = commits(path, count, bare);
      if (etcd) ratios.push_back(rate / etcd->puts(count));
    }
    if (ratios.empty()) continue;
    std::sort(ratios.begin(), ratios.end());
    std::printf("ratio to etcd, %4d writers    %9.1f      (%.1f to %.1f)\n", count, ratios[1],
                ratios.front(), ratios.back());
  }
}

void fill(Bench& bench, Store& store, int objects, std::size_t size);

void restart_time(const std::string& directory, int objects) {
  const std::string path = directory + "/restart";
  apart([&] {
    Bench bench;
    StoreOptions small;
    small.history_bytes = 1U << 20U;
    SqliteOptions options;
    options.path = path;
    options.durability = Durability::relaxed;
    auto store = bench.open(std::move(*open_sqlite_log(bench.env(), options)), small);
    fill(bench, *store, objects, 1000);
    bench.close(std::move(store));
  });
  for (int i = 0; i < 2; ++i) {
    Bench bench;
    const double before = resident_mb();
    const TimePoint start = wall_clock.now();
    auto store = bench.open(std::move(*open_sqlite_log(bench.env(), {.path = path})));
    const double took = seconds_since(start);
    std::printf("restart, %7zu objects of 1 KB %7.2f s  %5.0f MB resident (%.0f before)\n",
                store->range(Range::prefix("")).value().items.size(), took, resident_mb(), before);
    bench.close(std::move(store));
  }
}

// What a client that was connected before a restart may ask for first: the changes since then, and
// the rest of a list. `changes` objects of many have been changed.
void past_after_restart(const std::string& directory, int objects, int changes) {
  SqliteOptions options;
  options.path = directory + "/past";
  options.durability = Durability::relaxed;
  Bench bench;
  auto store = bench.open(std::move(*open_sqlite_log(bench.env(), options)));
  fill(bench, *store, objects, 1000);
  const Revision at = store->revision();
  fill(bench, *store, changes, 1000);
  bench.close(std::move(store));
  auto log = std::move(*open_sqlite_log(bench.env(), options));
  Log* raw = log.get();
  store = bench.open(std::move(log));
  TimePoint start = wall_clock.now();
  WatchOptions since;
  since.after = at;
  auto watch = store->watch(std::move(since));
  if (!watch) std::exit(1);
  int seen = 0;
  while (seen < changes) {
    const auto events = bench.run((*watch)->next());
    if (!events) {
      std::printf("the watch ended: %s\n", events.error().message.c_str());
      break;
    }
    seen += static_cast<int>(events->size());
  }
  std::printf("watch from before a restart    %9.2f s  (%d changes among %d objects)\n",
              seconds_since(start), seen, objects);
  watch->reset();
  start = wall_clock.now();
  auto reader = raw->read_state(Range(), at);
  std::size_t keys = 0;
  for (bool more = true; more;) {
    const auto page = bench.run(reader->next(500));
    if (!page) std::exit(1);
    keys += page->size();
    more = page->size() == 500;
  }
  std::printf("a state from disk, in pages    %9.2f s  (%zu keys, %.0f /s)\n", seconds_since(start),
              keys, static_cast<double>(keys) / seconds_since(start));
  reader.reset();
  bench.close(std::move(store));
}

// An hour of one node's lease, in virtual time.
void idle_hour(const std::string& directory) {
  Bench bench;
  VirtualClock clock;
  Env env = bench.env();
  env.clock = &clock;
  auto log = open_sqlite_log(env, {.path = directory + "/idle"});
  std::optional<Result<std::unique_ptr<Store>>> opened;
  bench.tasks.spawn("open", Bench::keep(Store::open(env, std::move(*log), {}), &opened));
  bench.io.run();
  auto store = std::move(**opened);
  for (int i = 0; i < 500; ++i) (void)bench.run(store->commit(one_op(i, 2000, false)));
  auto& counter = bench.metrics.counter("skiff_store_bytes_written_total", "");
  const double before = counter.value();
  for (int i = 0; i < 360; ++i) {
    bench.io.restart();
    clock.run_for(bench.io, 10s);
    (void)bench.run(store->commit(one_op(0, 500, true)));
  }
  std::printf("idle hour, one lease           %9.1f KB written\n",
              (counter.value() - before) / 1e3);
  bench.close(std::move(store));
}

void fill(Bench& bench, Store& store, int objects, std::size_t size) {
  std::vector<Op> batch;
  for (int i = 0; i < objects; ++i) {
    // Scattered over the key space, as names are.
    const auto scattered = static_cast<unsigned>(i) * 2654435761U % 1'000'000'007U;
    Op op = put("/registry/pods/namespace-" + std::to_string(scattered % 1000) + "/pod-" +
                    std::to_string(scattered),
                size);
    op.attributes = {{"spec.nodeName", "node-" + std::to_string(i % 1000)}};
    batch.push_back(std::move(op));
    if (batch.size() == 1000 || i + 1 == objects) {
      (void)bench.run(store.commit(std::exchange(batch, {})));
    }
  }
}

void memory_and_ranges(int objects) {
  Bench bench;
  auto store = bench.open(make_memory_log());
  const double before = resident_mb();
  TimePoint start = wall_clock.now();
  fill(bench, *store, objects, 1000);
  std::printf("commits without a disk         %9.0f /s\n", objects / seconds_since(start));
  std::printf("%7d objects of 1 KB         %9.0f MB resident\n", objects, resident_mb() - before);
  for (int i = 0; i < 3; ++i) {
    start = wall_clock.now();
    const auto page = store->range(Range::prefix("/registry/pods/"), 100'000).value();
    const double took = seconds_since(start);
    std::printf("range of %6zu keys           %9.2f ms  (%.0f ns a key)\n", page.items.size(),
                took * 1e3, took * 1e9 / static_cast<double>(page.items.size()));
  }
  const auto some = store->range(Range::prefix("/registry/pods/"), 100'000).value();
  start = wall_clock.now();
  std::size_t bytes = 0;
  for (const auto& item : some.items) bytes += store->get(item->key).value()->value.size();
  std::printf("get                            %9.0f /s\n", 1e5 / seconds_since(start));
  start = wall_clock.now();
  (void)bench.run(store->compact(store->revision()));
  std::printf("compaction                     %9.0f revisions/s\n", objects / seconds_since(start));
  bench.close(std::move(store));
}

Task<void> count_events(Watch* watch, std::uint64_t* seen) {
  for (;;) {
    const auto events = co_await watch->next();
    if (!events) co_return;
    *seen += events->size();
  }
}

// `watchers` on one range, or each on an attribute of its own; `events` commits of 20 Ops.
void fan_out(const char* name, int watchers, bool by_attribute, int commits) {
  Bench bench;
  auto store = bench.open(make_memory_log());
  std::vector<std::unique_ptr<Watch>> watches;
  std::uint64_t seen = 0;
  for (int i = 0; i < watchers; ++i) {
    WatchOptions options;
    options.range = Range::prefix("/registry/pods/");
    if (by_attribute) options.attribute = {"spec.nodeName", "node-" + std::to_string(i)};
    watches.push_back(std::move(*store->watch(std::move(options))));
    bench.tasks.spawn("watch", count_events(watches.back().get(), &seen));
  }
  while (bench.io.poll() > 0) {
  }
  const TimePoint start = wall_clock.now();
  for (int c = 0; c < commits; ++c) {
    std::vector<Op> batch;
    for (int i = 0; i < 20; ++i) {
      batch.push_back(put("/registry/pods/" + std::to_string(c) + "/" + std::to_string(i), 1000));
      batch.back().attributes = {
          {"spec.nodeName", "node-" + std::to_string((c * 20 + i) % watchers)}};
    }
    std::optional<std::vector<Result<ItemPtr>>> out;
    bench.tasks.spawn("commit", Bench::keep(store->commit(std::move(batch)), &out));
    bench.io.restart();
    while (bench.io.poll() > 0) {
    }
  }
  const double took = seconds_since(start);
  std::printf("%-30s %9.0f commits/s, %9.0f events/s to %d watches\n", name, commits * 20 / took,
              static_cast<double>(seen) / took, watchers);
  bench.tasks.spawn("close",
                    [](Store* s) -> Task<void> { (void)co_await s->close(); }(store.get()));
  bench.run();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string parent = argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string();
  const int objects = argc > 2 ? std::atoi(argv[2]) : 1'000'000;
  std::string directory = parent + "/skiff-bench-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) {
    std::fprintf(stderr, "cannot make a directory in %s\n", parent.c_str());
    return 1;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string part = argc > 3 ? argv[3] : "";
  const auto run = [&](const char* name, auto measure) {
    if (part.empty() || part == name) apart(measure);
  };
  run("commits", [&] { durable_commits(directory); });
  if (part == "etcd") {
    if (const auto etcd = EtcdPeer::start(directory)) etcd->puts(64);
  }
  run("idle", [&] { idle_hour(directory); });
  run("restart", [&] { restart_time(directory, objects); });
  run("past", [&] { past_after_restart(directory, objects, objects / 20); });
  run("compact", [&] { bench::compaction_pause(directory, objects); });
  std::filesystem::remove_all(directory);
  run("fanout", [] {
    fan_out("fan-out, all to all", 1000, false, 100);
    fan_out("fan-out, by node", 10'000, true, 2000);
  });
  run("memory", [&] { memory_and_ranges(objects); });
  return 0;
}
