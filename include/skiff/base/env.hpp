// What every component is given instead of globals. Copied freely; the pointees outlive all
// components.
#pragma once

#include "skiff/base/clock.hpp"
#include "skiff/base/metrics.hpp"
#include "skiff/base/random.hpp"
#include "skiff/base/task.hpp"

namespace skiff {

struct Env {
  Executor executor;  // the loop: one thread runs everything spawned on it
  Clock* clock = nullptr;
  Random* random = nullptr;
  metrics::Registry* metrics = nullptr;
  BlockingPool* blocking = nullptr;
};

}  // namespace skiff
