#include "watch_pace.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

namespace skiff::apiserver {
namespace {

using std::chrono::milliseconds;

// What the last of `watches` is told when each sends once, all at `now`.
Duration all_send(WatchPace& pace, std::vector<std::uint32_t>& slices, TimePoint now) {
  Duration pause{};
  for (std::uint32_t& slice : slices) pause = pace.sent(now, slice);
  return pause;
}

}  // namespace

TEST_CASE("the more watches are sent to, the longer they gather") {
  struct Row {
    std::size_t watches;
    Duration pause;
  };
  const Row rows[] = {{1, {}},
                      {49, {}},
                      {50, milliseconds(1)},
                      {1000, milliseconds(20)},
                      {5000, milliseconds(100)},
                      {100'000, milliseconds(100)}};
  for (const Row& row : rows) {
    INFO(row.watches);
    WatchPace pace;
    std::vector<std::uint32_t> slices(row.watches);
    TimePoint now{std::chrono::seconds(5)};
    CHECK(all_send(pace, slices, now) == row.pause);
    // Who sends again is not another watch.
    CHECK(all_send(pace, slices, now + milliseconds(30)) == row.pause);
  }
}

TEST_CASE("a crowd is remembered for a while and then forgotten") {
  WatchPace pace;
  std::vector<std::uint32_t> crowd(1000);
  std::uint32_t one = 0;
  const TimePoint now{std::chrono::seconds(5)};
  CHECK(all_send(pace, crowd, now) == milliseconds(20));
  CHECK(pace.sent(now + milliseconds(110), one) == milliseconds(20));
  CHECK(pace.sent(now + milliseconds(220), one) == Duration::zero());
  CHECK(all_send(pace, crowd, now + milliseconds(430)) == milliseconds(20));
  CHECK(pace.sent(now + std::chrono::hours(1), one) == Duration::zero());
}

}  // namespace skiff::apiserver
