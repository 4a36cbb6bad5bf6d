// What a simulated machine has: a clock that may be wrong, and a disk that may be slow, full or
// failing. Both go on through the deaths of the processes on it.
#pragma once

#include <memory>
#include <string>

#include "world.hpp"

namespace skiff::sim {

// Local time: the world's, at another rate, from another beginning. A paused host's tasks sleep on.
class HostClock final : public Clock {
 public:
  explicit HostClock(World& world);

  TimePoint now() const noexcept override;
  WallTime wall() const noexcept override;
  Task<void> sleep_until(TimePoint when) override;

  void set_rate(double rate);  // seconds here in a second of the world
  void jump_wall(Duration d) { wall_skew_ += d; }
  void pause() { paused_ = true; }
  void resume();
  bool paused() const { return paused_; }

 private:
  World& world_;
  double rate_ = 1;
  TimePoint anchor_world_{};
  TimePoint anchor_local_{};
  Duration wall_skew_{};
  bool paused_ = false;
  Signal resumed_;
};

// A process: everything it started ends up nowhere once it is dead.
struct Life {
  bool alive = true;
};
using LifePtr = std::shared_ptr<Life>;

class Disk {
 public:
  Disk(World& world, HostClock& clock, int host)
      : world_(world),
        clock_(clock),
        host_(host),
        dice_(world.dice("disk" + std::to_string(host))) {}
  // Takes the time that writing and syncing take; fails as the disk does.
  Task<Result<void>> write(LifePtr life, bool sync);
  Task<Result<void>> read(LifePtr life);

  struct Manners {
    Duration low = std::chrono::microseconds(100);
    Duration high = std::chrono::milliseconds(4);
    double error = 0;  // chance of an I/O error a write
    double read_error = 0;
    bool full = false;
  };
  Manners manners;
  Dice& dice() { return dice_; }
  World& world() { return world_; }
  HostClock& clock() { return clock_; }
  int host() const { return host_; }

 private:
  World& world_;
  HostClock& clock_;
  int host_;
  Dice dice_;
};

}  // namespace skiff::sim
