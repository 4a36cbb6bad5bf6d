#include "world.hpp"

#include <cstdio>

namespace skiff::sim {
namespace {

// Handlers that may run without time moving on: more is two tasks that keep waking each other.
constexpr std::size_t kRestless = 3'000'000;
constexpr std::size_t kViolations = 20;

constexpr std::string_view kNames[kCounts] = {
    "writes",     "refusals",    "unknown",     "reads",        "stale reads", "events",
    "watches",    "expired",     "messages",    "lost",         "duplicated",  "reordered",
    "partitions", "kills",       "pauses",      "clock faults", "disk errors", "disk full",
    "slow disks", "lost writes", "compactions", "snapshots",    "memberships", "leaders",
};

}  // namespace

std::string_view name_of(Count count) { return kNames[static_cast<std::size_t>(count)]; }

bool is_fault(Count count) {
  return (count >= Count::lost && count <= Count::lost_writes) || count == Count::memberships;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9E3779B97F4A7C15U + b + 0x632BE59BD9B4E019U;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

World::World(std::uint64_t seed, std::function<void(std::string_view)> trace)
    : seed_(seed), trace_(std::move(trace)) {}

Dice World::dice(std::string_view purpose) const {
  std::uint64_t h = seed_;
  for (const char c : purpose) h = mix(h, static_cast<unsigned char>(c));
  return Dice(h);
}

void World::after(Duration delay, std::function<void()> f) {
  due_.emplace(Due(clock.now() + std::max(delay, Duration{}), next_++), std::move(f));
  arm();
}

void World::arm() {
  if (due_.empty() || due_.begin()->first.first >= armed_) return;
  armed_ = due_.begin()->first.first;
  tasks.spawn("alarm", wake(armed_));
}

Task<void> World::wake(TimePoint when) {
  co_await clock.sleep_until(when);
  if (armed_ == when) armed_ = TimePoint::max();
  while (!due_.empty() && due_.begin()->first.first <= clock.now()) {
    const auto f = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    f();
  }
  arm();
}

bool World::run_for(Duration d) {
  bool over = false;
  after(d, [&over] { over = true; });
  while (!over) {
    io.restart();
    std::size_t n = 0;
    while (io.poll_one() > 0) {
      if (++n < kRestless) continue;
      violation("restless", "the loop never comes to rest: tasks keep waking each other");
      return false;
    }
    if (!over && !clock.advance_to_next()) break;
  }
  return true;
}

void World::end() {
  due_.clear();
  tasks.cancel();
  io.restart();
  while (io.poll() > 0) {
  }
}

void World::note(std::string_view what, int host, std::int64_t a, std::int64_t b,
                 std::string_view text) {
  const auto add = [this](std::uint64_t v) { hash_ = (hash_ ^ v) * 0x100000001b3U; };
  add(static_cast<std::uint64_t>(now().count()));
  for (const char c : what) add(static_cast<unsigned char>(c));
  add(static_cast<std::uint64_t>(host));
  add(static_cast<std::uint64_t>(a));
  add(static_cast<std::uint64_t>(b));
  for (const char c : text) add(static_cast<unsigned char>(c));
  if (!trace_) return;
  char head[160];
  const double s = static_cast<double>(now().count()) / 1e9;
  std::snprintf(head, sizeof head, "%12.6f  %3d  %-18.*s %8lld %8lld  ", s, host,
                static_cast<int>(what.size()), what.data(), static_cast<long long>(a),
                static_cast<long long>(b));
  trace_(std::string(head) + std::string(text));
}

void World::violation(std::string rule, std::string text) {
  note("VIOLATION", 0, 0, 0, rule + ": " + text);
  if (violations_.size() < kViolations) {
    violations_.push_back({std::move(rule), std::move(text), now()});
  }
}

}  // namespace skiff::sim
