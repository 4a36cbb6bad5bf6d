// Time is passed in: nothing outside base reads the system's clocks. VirtualClock lets a whole
// control plane run under made-up time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>

#include "skiff/base/task.hpp"

namespace skiff {

using namespace std::chrono_literals;  // NOLINT: durations are part of the vocabulary

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;  // monotonic
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic time, for measuring and waiting.
  virtual TimePoint now() const noexcept = 0;
  // Calendar time (UTC), for timestamps in objects, certificates and logs. May jump.
  virtual WallTime wall() const noexcept = 0;
  // Returns at or after `when`. Throws operation_aborted when the task is cancelled.
  virtual Task<void> sleep_until(TimePoint when) = 0;

  Task<void> sleep_for(Duration d) { return sleep_until(now() + d); }
};

class RealClock final : public Clock {
 public:
  TimePoint now() const noexcept override;
  WallTime wall() const noexcept override;
  Task<void> sleep_until(TimePoint when) override;
};

// Time that only moves when told to. Sleepers due at one instant wake in the order they went to
// sleep.
class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(WallTime start = WallTime{std::chrono::seconds{1'767'225'600}});
  TimePoint now() const noexcept override { return now_; }
  WallTime wall() const noexcept override;
  Task<void> sleep_until(TimePoint when) override;

  // Moves to the earliest sleeper and wakes it; false when nobody sleeps.
  bool advance_to_next();
  // Runs `io` until nothing is ready, moving time on whenever it would wait, until `end`.
  void run_until(asio::io_context& io, TimePoint end);
  void run_for(asio::io_context& io, Duration d) { run_until(io, now_ + d); }
  // Calendar time jumps by `d`; monotonic time does not.
  void jump_wall(Duration d) { skew_ += d; }

 private:
  TimePoint now_{};
  WallTime start_;
  Duration skew_{};
  std::uint64_t next_ = 0;
  std::map<std::pair<TimePoint, std::uint64_t>, asio::steady_timer*> sleepers_;
};

// Gives up on `task` after `limit`: Code::timeout with `what` in the message.
template <class T>
Task<Result<T>> with_timeout(Clock& clock, Duration limit, std::string what, Task<Result<T>> task);

// RFC 3339 in UTC. Seconds: metav1.Time ("2026-11-23T18:15:48Z"); micros: metav1.MicroTime.
std::string format_time(WallTime t);
std::string format_micro_time(WallTime t);
// Accepts what metav1.Time and MicroTime accept (RFC 3339 with optional fraction and offset).
Result<WallTime> parse_time(std::string_view text);

}  // namespace skiff

#include "skiff/base/with_timeout.ipp"
