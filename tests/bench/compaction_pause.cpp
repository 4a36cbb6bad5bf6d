#include "compaction_pause.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "bench_loop.hpp"
#include "sqlite_log.hpp"
#include "timed_vfs.hpp"

namespace skiff::bench {
namespace {

using namespace skiff::store;  // NOLINT

double ms_between(TimePoint begin, TimePoint end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

// A thread's time on a processor so far, and ready without one (ms; proc_pid_schedstat).
struct Turns {
  double ran = 0;
  double queued = 0;

  static Turns of(pid_t thread) {
    std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/schedstat");
    Turns t;
    in >> t.ran >> t.queued;
    return {t.ran / 1e6, t.queued / 1e6};
  }
  Turns operator-(const Turns& o) const { return {ran - o.ran, queued - o.queued}; }
};

// Of the log: who writes, and who merges and reads beside it.
struct Threads {
  pid_t writer = 0;
  pid_t side = 0;
};
struct AllTurns {
  Turns loop;
  Turns writer;
  Turns side;

  static AllTurns of(const Threads& t) {
    return {Turns::of(::gettid()), Turns::of(t.writer), Turns::of(t.side)};
  }
};

// What one append waited for, in ms.
struct Wait {
  TimePoint begin;
  TimePoint end;
  double sync = 0;    // for its own sync,
  double beside = 0;  // during which the log's other thread was at the disk,
  double more = 0;    // KB, and which found this much that is not of the append
  double others = 0;  // for a processor that another program had

  double all() const { return ms_between(begin, end); }
  // What of the sync may be the log's doing: a disk writes 100 KB a millisecond or more.
  double busy_sync() const { return std::min(sync, beside + more / 100); }
  // Without what the disk or other programs did by themselves, whichever was longer: a thread may
  // be queued inside its sync, so the two may be the same time. The log did this much at most.
  double own() const { return all() - std::max(sync - busy_sync(), others); }
};

// Of `all` ms: queued for longer than the log's own threads ran, so somebody else did. A wait in a
// queue is counted when it ends and may have begun before; but while the two ran they did not wait.
double others_between(const AllTurns& a, const AllTurns& b, double all) {
  const Turns loop = b.loop - a.loop;
  const Turns writer = b.writer - a.writer;
  const Turns side = b.side - a.side;
  const double queued = std::max(0.0, writer.queued - loop.ran - side.ran) +
                        std::max(0.0, loop.queued - writer.ran - side.ran);
  return std::min(queued, std::max(0.0, all - writer.ran - loop.ran));
}

void print_times(const char* what, std::vector<double> ms) {
  if (ms.size() < 3) return;
  std::sort(ms.begin(), ms.end());
  std::printf("%-30s p50 %6.2f ms  p99 %6.2f ms  worst %.2f %.2f %.2f ms  (%zu appends)\n", what,
              ms[ms.size() / 2], ms[ms.size() * 99 / 100], ms.back(), ms[ms.size() - 2],
              ms[ms.size() - 3], ms.size());
}

// What the disk does to whoever waits for it, with nobody else there: the bound of what a log on it
// can promise. The file has its size from the start, so that no sync has to note a new one.
void time_disk(const std::string& directory, double seconds) {
  const std::string path = directory + "/alone";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0600);
  const std::string block(4120, 'x');
  const std::string zeros(16U << 20U, '\0');
  if (::write(fd, zeros.data(), zeros.size()) < 0 || ::fsync(fd) < 0) std::exit(1);
  std::vector<double> took;
  const TimePoint start = wall_clock.now();
  for (off_t at = 0; seconds_since(start) < seconds; at += static_cast<off_t>(block.size())) {
    const TimePoint before = wall_clock.now();
    if (::pwrite(fd, block.data(), block.size(), at) < 0 || ::fdatasync(fd) < 0) std::exit(1);
    took.push_back(ms_between(before, wall_clock.now()));
    std::this_thread::sleep_for(2ms);
  }
  ::close(fd);
  std::filesystem::remove(path);
  print_times("the disk alone", took);
}

double file_mb(const std::string& path) {
  return static_cast<double>(std::filesystem::file_size(path)) / 1e6;
}

Record one_record(Revision revision, const std::string& key, Revision previous, std::size_t size) {
  Record r;
  auto item = std::make_shared<Item>();
  item->key = key;
  item->value.assign(size, 'x');
  item->created = item->modified = revision;
  r.item = std::move(item);
  r.previous = previous;
  r.time = wall_clock.wall();
  return r;
}

// Until the file has given back what it can.
Task<void> compact_log(Log* log, Revision to, std::string path, bool* done) {
  const TimePoint start = wall_clock.now();
  const auto outcome = co_await log->compact(to);
  if (!outcome) std::fprintf(stderr, "%s\n", outcome.error().message.c_str());
  const double compacted = seconds_since(start);
  double mb = 0;
  double given_back = 0;
  for (double now = file_mb(path); now != mb; now = file_mb(path)) {
    mb = now;
    given_back = seconds_since(start);
    co_await wall_clock.sleep_for(1s);
  }
  std::printf("compacting to revision %8lld  %9.1f s, space given back after %.1f s\n",
              static_cast<long long>(to), compacted, given_back);
  *done = true;
}

// One writer, all the time, until `*done` or for so many seconds.
Task<void> time_appends(Log* log, Threads threads, Revision* next, const bool* done, double seconds,
                        std::vector<Wait>* out) {
  const TimePoint start = wall_clock.now();
  Revision previous = 0;
  while (done != nullptr ? !*done : seconds_since(start) < seconds) {
    const AllTurns before = AllTurns::of(threads);
    Wait wait;
    wait.begin = wall_clock.now();
    auto records = std::make_shared<std::vector<Record>>();
    records->push_back(one_record(++*next, "/bench/writer", previous, 500));
    const auto outcome = co_await log->append(std::move(records));
    if (!outcome) std::exit(1);
    previous = *next;
    wait.end = wall_clock.now();
    wait.others = others_between(before, AllTurns::of(threads), wait.all());
    out->push_back(wait);
    co_await wall_clock.sleep_for(2ms);
  }
}

// `revisions` of 10,000 keys; returns the newest.
Revision fill(Loop& loop, Log& log, int revisions) {
  constexpr std::size_t kKeys = 10'000;
  constexpr std::size_t kBatch = 1000;
  std::vector<Revision> newest(kKeys);
  Revision next = 0;
  while (next < revisions) {
    auto records = std::make_shared<std::vector<Record>>();
    while (records->size() < kBatch) {
      const std::size_t k = static_cast<std::size_t>(next) * 7919 % kKeys;
      records->push_back(one_record(++next, "/bench/" + std::to_string(k), newest[k], 300));
      newest[k] = next;
    }
    if (!loop.run(log.append(std::move(records)))) std::exit(1);
  }
  return next;
}

// The writer is the one that syncs most: the other merges.
Threads threads_of(const std::vector<DiskCall>& calls) {
  std::map<pid_t, int> syncs;
  for (const DiskCall& call : calls) {
    if (call.thread != ::gettid()) syncs[call.thread] += call.kind == DiskCall::Kind::sync ? 1 : 0;
  }
  Threads threads;
  for (const auto& [thread, n] : syncs) {
    threads.side = threads.writer;
    threads.writer = thread;
    if (threads.side != 0 && syncs[threads.side] > n) std::swap(threads.side, threads.writer);
  }
  return threads;
}

double overlap(TimePoint begin, TimePoint end, TimePoint from, TimePoint to) {
  return std::max(0.0, ms_between(std::max(begin, from), std::min(end, to)));
}

// Both in the order of time.
void attribute(std::vector<Wait>& waits, const std::vector<DiskCall>& calls, pid_t writer) {
  std::size_t next = 0;
  double unsynced = 0;
  for (Wait& wait : waits) {
    for (; next < calls.size() && calls[next].end < wait.begin; ++next) {
      if (!calls[next].log) continue;
      unsynced += calls[next].bytes / 1e3;
      if (calls[next].kind == DiskCall::Kind::sync) unsynced = 0;
    }
    wait.more = unsynced;
    TimePoint begin = wait.end;  // of its sync
    for (std::size_t i = next; i < calls.size() && calls[i].begin < wait.end; ++i) {
      const DiskCall& call = calls[i];
      if (call.thread != writer || call.kind != DiskCall::Kind::sync || !call.log) continue;
      begin = std::max(call.begin, wait.begin);
      wait.sync = ms_between(begin, std::min(call.end, wait.end));
    }
    // In the order of their ends: one that began early may come late.
    for (std::size_t i = next; i < calls.size() && calls[i].begin < wait.end + 1s; ++i) {
      if (calls[i].thread == writer) continue;
      wait.beside += overlap(calls[i].begin, calls[i].end, begin, wait.end);
    }
  }
}

void print_waits(const char* what, std::vector<Wait> waits, TimePoint start) {
  std::vector<double> all;
  std::vector<double> own;
  for (const Wait& wait : waits) {
    all.push_back(wait.all());
    own.push_back(wait.own());
  }
  print_times(what, all);
  print_times("  the log's part, at most", own);
  std::sort(waits.begin(), waits.end(),
            [](const Wait& a, const Wait& b) { return a.all() > b.all(); });
  waits.resize(std::min<std::size_t>(waits.size(), 3));
  for (const Wait& w : waits) {
    std::printf(
        "  %8.2f ms at %7.0f ms: %.2f its sync (%.2f of that may be the log's doing),"
        " %.2f other programs\n",
        w.all(), ms_between(start, w.begin), w.sync, w.busy_sync(), w.others);
  }
}

}  // namespace

void compaction_pause(const std::string& directory, int revisions) {
  TimedVfs vfs(500'000);
  Loop loop;
  SqliteOptions options;
  options.path = directory + "/compact";
  options.history = Duration::zero();
  options.history_bytes = 0;
  auto disk = std::make_shared<Disk>();
  disk->below = TimedVfs::kName;
  auto log = std::move(*open_sqlite_log_on(loop.env(), options, disk));
  (void)loop.run(log->replay([](Record) {}));
  Revision next = fill(loop, *log, revisions);
  const Threads threads = threads_of(vfs.calls());
  time_disk(directory, 5);

  const auto measure = [&](const char* what, const bool* done) {
    std::vector<Wait> waits;
    vfs.forget();
    const TimePoint start = wall_clock.now();
    loop.tasks.spawn("append", time_appends(log.get(), threads, &next, done, 5, &waits));
    loop.run();
    attribute(waits, vfs.calls(), threads.writer);
    print_waits(what, std::move(waits), start);
  };
  measure("one writer, calm", nullptr);
  const double before = file_mb(options.path);
  bool done = false;
  loop.tasks.spawn("compact", compact_log(log.get(), next, options.path, &done));
  measure("one writer, while compacting", &done);
  std::printf("file                           %9.1f MB, then %.1f MB\n", before,
              file_mb(options.path));
  time_disk(directory, 5);
  (void)loop.run(log->close());
}

}  // namespace skiff::bench
