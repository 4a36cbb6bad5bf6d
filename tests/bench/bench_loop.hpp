// What the parts of bench_store share: a loop that waits for one task, time, records.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/base/clock.hpp"
#include "skiff/base/env.hpp"
#include "skiff/base/task.hpp"
#include "skiff/store/log.hpp"

namespace skiff::bench {

inline RealClock wall_clock;

inline double seconds_since(TimePoint start) {
  return std::chrono::duration<double>(wall_clock.now() - start).count();
}

struct Loop {
  asio::io_context io;
  metrics::Registry metrics;
  TaskGroup tasks{io.get_executor()};

  Env env() {
    Env e;
    e.executor = io.get_executor();
    e.clock = &wall_clock;
    e.metrics = &metrics;
    return e;
  }
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* out) {
    *out = co_await std::move(task);
  }
  // Until everything that was started has ended.
  void run() {
    io.restart();
    io.run();
  }
  template <class T>
  T run(Task<T> task) {
    std::optional<T> out;
    tasks.spawn("bench", keep(std::move(task), &out));
    run();
    return std::move(*out);
  }
};

}  // namespace skiff::bench
