// One simulated world: a loop, virtual time, dice and a trace, all from one seed. Nothing in it
// knows of the real clock, so the same seed gives the same world, bit for bit.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/base/env.hpp"

namespace skiff::sim {

// Questions to a seeded generator.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  bool chance(double p) { return p > 0 && static_cast<double>(random_.next() >> 11U) < p * 0x1p53; }
  std::size_t below(std::size_t bound) { return random_.below(bound); }
  Duration between(Duration low, Duration high) {
    if (high <= low) return low;
    return low + Duration(static_cast<Duration::rep>(
                     random_.below(static_cast<std::uint64_t>((high - low).count()))));
  }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
  std::uint64_t seed() { return random_.next(); }
  Random& random() { return random_; }

 private:
  SeededRandom random_;
};

// What happened in a run, counted for the report.
enum class Count : std::uint8_t {
  writes,       // acknowledged
  refusals,     // verdicts other than success
  unknown,      // writes whose fate the client never learnt
  reads,        // linearizable
  stale_reads,  // of whatever the server had
  events,       // given to watching clients
  watches,      // begun
  expired,      // watches that had to list again
  messages,
  lost,
  duplicated,
  reordered,
  partitions,
  kills,
  pauses,
  clock_faults,
  disk_errors,
  disk_full,
  slow_disks,
  lost_writes,  // unsynced disk writes forgotten at a crash
  compactions,
  snapshots,
  memberships,
  leaders,
  last
};
inline constexpr std::size_t kCounts = static_cast<std::size_t>(Count::last);
std::string_view name_of(Count count);
bool is_fault(Count count);

struct Violation {
  std::string rule;  // a word, e.g. "lost-write"
  std::string text;
  Duration when{};
};

class World {
 public:
  // `trace`: null, or where every line of the trace goes.
  World(std::uint64_t seed, std::function<void(std::string_view)> trace);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  asio::io_context io;
  VirtualClock clock;
  TaskGroup tasks{io.get_executor()};

  // A generator of its own for each purpose: asking one does not shift the others.
  Dice dice(std::string_view purpose) const;
  Duration now() const { return clock.now().time_since_epoch(); }
  Executor executor() { return io.get_executor(); }

  // Calls `f` after `delay`; calls due at one instant keep their order.
  void after(Duration delay, std::function<void()> f);
  Task<void> sleep(Duration d) { return clock.sleep_for(d); }

  // Runs for `d` of virtual time. False when the world never came to rest within an instant.
  bool run_for(Duration d);

  // Forgets what is due and ends every task of this world.
  void end();

  // One line of the trace: goes into the hash, and is printed when somebody looks.
  void note(std::string_view what, int host = 0, std::int64_t a = 0, std::int64_t b = 0,
            std::string_view text = {});
  std::uint64_t hash() const { return hash_; }

  void count(Count c, std::uint64_t n = 1) { counts_[static_cast<std::size_t>(c)] += n; }
  const std::array<std::uint64_t, kCounts>& counts() const { return counts_; }

  // A broken promise. The run goes on, so that one seed may show several; only some are kept.
  void violation(std::string rule, std::string text);
  const std::vector<Violation>& violations() const { return violations_; }
  bool tracing() const { return static_cast<bool>(trace_); }

 private:
  using Due = std::pair<TimePoint, std::uint64_t>;
  Task<void> wake(TimePoint when);
  void arm();

  std::uint64_t seed_;
  std::function<void(std::string_view)> trace_;
  std::uint64_t hash_ = 0xcbf29ce484222325U;
  std::array<std::uint64_t, kCounts> counts_{};
  std::vector<Violation> violations_;
  std::map<Due, std::function<void()>> due_;
  std::uint64_t next_ = 0;
  TimePoint armed_ = TimePoint::max();
};

// Mixes two numbers into one that looks like neither.
std::uint64_t mix(std::uint64_t a, std::uint64_t b);

}  // namespace skiff::sim
