// Waiting times that double, with jitter, so that many who failed together do not return together.
#pragma once

#include "skiff/base/env.hpp"

namespace skiff::client {

class Backoff {
 public:
  Backoff(Env env, Duration first, Duration limit) : env_(env), first_(first), limit_(limit) {}

  // The next delay: between the plain value and twice it, never beyond the limit.
  Duration next() {
    const Duration plain = delay_ == Duration{} ? first_ : delay_;
    delay_ = std::min(plain * 2, limit_);
    const auto bound = static_cast<std::uint64_t>(plain.count());
    const Duration jitter{static_cast<Duration::rep>(env_.random->below(bound + 1))};
    return std::min(plain + jitter, limit_);
  }
  void reset() { delay_ = Duration{}; }

 private:
  Env env_;
  Duration first_;
  Duration limit_;
  Duration delay_{};
};

}  // namespace skiff::client
