#include "host.hpp"

namespace skiff::sim {
namespace {

// Longer than any run: nobody wakes from it.
constexpr Duration kForever = std::chrono::hours(10'000);

Error dead_error() { return {Code::unavailable, "the process was killed"}; }

}  // namespace

HostClock::HostClock(World& world)
    : world_(world), anchor_world_(world.clock.now()), resumed_(world.executor()) {}

TimePoint HostClock::now() const noexcept {
  const auto passed = static_cast<double>((world_.clock.now() - anchor_world_).count());
  return anchor_local_ + Duration(static_cast<Duration::rep>(passed * rate_));
}

WallTime HostClock::wall() const noexcept {
  return world_.clock.wall() + std::chrono::duration_cast<std::chrono::microseconds>(wall_skew_);
}

Task<void> HostClock::sleep_until(TimePoint when) {
  bool slept = false;
  for (;;) {
    const TimePoint local = now();
    if (slept && local >= when) co_return;
    Duration left = when > local ? (when - local > kForever ? kForever : when - local) : Duration{};
    left = Duration(static_cast<Duration::rep>(static_cast<double>(left.count()) / rate_) + 1);
    co_await world_.clock.sleep_until(world_.clock.now() + left);
    while (paused_) co_await resumed_.wait();
    slept = true;
  }
}

void HostClock::set_rate(double rate) {
  anchor_local_ = now();
  anchor_world_ = world_.clock.now();
  rate_ = rate;
}

void HostClock::resume() {
  paused_ = false;
  resumed_.notify_all();
}

Task<Result<void>> Disk::write(LifePtr life, bool sync) {
  if (!life->alive) co_return dead_error();
  const bool fails = dice_.chance(manners.error);
  const Duration time = sync ? dice_.between(manners.low, manners.high) : manners.low / 4;
  co_await clock_.sleep_for(time);
  if (!life->alive) co_return dead_error();
  if (manners.full) {
    world_.count(Count::disk_full);
    co_return Error{Code::unavailable, "no space left on the device"};
  }
  if (fails) {
    world_.count(Count::disk_errors);
    co_return Error{Code::unavailable, "input/output error"};
  }
  co_return Result<void>();
}

Task<Result<void>> Disk::read(LifePtr life) {
  if (!life->alive) co_return dead_error();
  const bool fails = dice_.chance(manners.read_error);
  co_await clock_.sleep_for(dice_.between(manners.low, manners.high));
  if (!life->alive) co_return dead_error();
  if (fails) {
    world_.count(Count::disk_errors);
    co_return Error{Code::unavailable, "input/output error"};
  }
  co_return Result<void>();
}

}  // namespace skiff::sim
