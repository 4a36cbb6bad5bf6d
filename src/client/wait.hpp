// Waiting for a change or for a moment, whichever comes first.
#pragma once

#include "skiff/base/clock.hpp"

namespace skiff::client {

// A counter that can be waited for: no change between looking and waiting is lost.
class Changes {
 public:
  explicit Changes(Executor executor) : signal_(std::move(executor)) {}

  std::uint64_t count() const noexcept { return count_; }
  void notify() {
    ++count_;
    signal_.notify_all();
  }
  // Returns once count() differs from `seen`.
  Task<void> wait(std::uint64_t seen) {
    while (count_ == seen) co_await signal_.wait();
  }
  // The same, or when `clock` reaches `when`.
  Task<void> wait_until(std::uint64_t seen, Clock* clock, TimePoint when);

 private:
  Signal signal_;
  std::uint64_t count_ = 0;
};

}  // namespace skiff::client
