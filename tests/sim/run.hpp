// One seed's run, from an empty world to a judged one.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "node.hpp"
#include "world.hpp"

namespace skiff::sim {

struct RunOptions {
  std::uint64_t seed = 1;
  bool shared = false;  // several servers over Raft
  Duration length = std::chrono::seconds(60);
  Plant plant = Plant::none;
  // Kinds of faults that may not happen, for finding out which of them a failure needs.
  std::uint32_t without = 0;
  std::function<void(std::string_view)> trace;
};

// Kinds of faults; each seed draws which of them it has.
enum class Fault : std::uint8_t {
  crash,
  crash_all,
  restart,
  pause,
  partition,
  one_way,
  slow_link,
  loss,
  duplicate,
  reorder,
  damage,
  disk_error,
  disk_full,
  disk_slow,
  clock_rate,
  clock_jump,
  compact,
  transfer,
  member,
  last
};
std::string_view name_of(Fault fault);

struct Outcome {
  std::uint64_t hash = 0;
  Duration virtual_time{};
  std::array<std::uint64_t, kCounts> counts{};
  std::vector<Violation> violations;
};
Outcome run_seed(RunOptions options);

// The fewest kinds of faults and the shortest time with which the seed still breaks the same rule.
RunOptions minimise(RunOptions options, const std::string& rule,
                    const std::function<void(std::string_view)>& tell);

}  // namespace skiff::sim
