// A loop under virtual time with everything a component is given.
#pragma once

#include "skiff/base/env.hpp"

namespace skiff::test {

struct Loop {
  asio::io_context io;
  VirtualClock clock;
  SeededRandom random{1};
  metrics::Registry metrics;
  BlockingPool blocking{0};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};

  // Lets everything ready run, and time pass.
  void run(Duration d = Duration{}) { clock.run_for(io, d); }
};

// Tasks that are stopped and joined when the test ends.
struct Tasks {
  explicit Tasks(Loop& l) : loop(l), group(l.io.get_executor()) {}
  ~Tasks() {
    group.cancel();
    loop.run();
  }
  Loop& loop;
  TaskGroup group;
};

}  // namespace skiff::test
