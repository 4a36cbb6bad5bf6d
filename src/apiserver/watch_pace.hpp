// When a thousand watches all get every event, each costs a system call a watch, and requests wait
// for their turn among those. So together they are given a part of the loop: who has just sent
// gathers events for a while before it sends again, the longer the more watches are being sent to.
// A first event after some quiet goes out at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "skiff/base/clock.hpp"

namespace skiff::apiserver {

class WatchPace {
 public:
  // Noted after each write of a watch; `slice` is the watch's own, 0 at first. How long it is to
  // gather from now on.
  Duration sent(TimePoint now, std::uint32_t& slice) {
    if (now - began_ >= kSlice) {
      before_ = now - began_ < 2 * kSlice ? active_ : 0;
      active_ = 0;
      began_ = now;
      ++slice_;
    }
    if (slice != slice_) ++active_;
    slice = slice_;
    const Duration pause = kShare * std::max(active_, before_);
    return pause < kLeast ? Duration::zero() : std::min(pause, kMost);
  }

 private:
  static constexpr Duration kSlice = std::chrono::milliseconds(100);
  // A write costs some 5 us: at most a quarter of the loop goes there.
  static constexpr Duration kShare = std::chrono::microseconds(20);
  static constexpr Duration kLeast = std::chrono::milliseconds(1);  // less is not worth a timer
  static constexpr Duration kMost = std::chrono::milliseconds(100);
  TimePoint began_{};
  std::uint32_t slice_ = 1;
  std::uint32_t active_ = 0;  // watches that have sent in this slice
  std::uint32_t before_ = 0;  // in the one before
};

}  // namespace skiff::apiserver
