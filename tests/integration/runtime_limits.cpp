#include <ctime>

#include "runtime_fixture.hpp"

using namespace skiff;
using namespace skiff::runtime;
using namespace std::chrono_literals;
using test::RuntimeFixture;

TEST_CASE("memory beyond the limit is OOMKilled") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  // tail holds the whole endless line.
  auto c = f.command({"/bin/tail", "-n", "1", "/dev/zero"});
  c.resources.memory_limit_bytes = 32 << 20;
  std::string id = f.start(pod, c);
  auto status = f.wait_exit(id);
  CHECK(status.exit_code == 137);
  CHECK(status.reason == "OOMKilled");
  // A killed child counts too, though the container itself ends well.
  auto parent = f.shell("tail -n 1 /dev/zero; true");
  parent.resources.memory_limit_bytes = 32 << 20;
  id = f.start(pod, parent);
  CHECK(f.wait_exit(id).reason == "OOMKilled");
}

TEST_CASE("CPU beyond the quota waits") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("while true; do :; done");
  c.resources.cpu_quota_us = 20'000;  // a fifth of a core
  c.resources.cpu_period_us = 100'000;
  c.resources.cpu_shares = 204;
  std::string id = f.start(pod, c);
  auto usage = [&] {
    auto all = f.must(f.runtime().container_stats(pod));
    REQUIRE(all.size() == 1);
    CHECK(all[0].container_id == id);
    return all[0].usage;
  };
  auto rest = [&](Duration d) {
    auto sleep = [](Clock* clock, Duration t) -> Task<int> {
      co_await clock->sleep_for(t);
      co_return 0;
    };
    f.run(sleep(f.env().clock, d));
  };
  rest(300ms);
  auto before = usage();
  rest(1s);
  auto after = usage();
  double cores = static_cast<double>(after.cpu_nanoseconds - before.cpu_nanoseconds) /
                 static_cast<double>((after.at - before.at) / 1ns);
  CHECK(cores > 0.1);
  CHECK(cores < 0.3);
  CHECK(after.memory_usage > 0);
  CHECK(after.memory_working_set <= after.memory_usage);
  CHECK(after.processes >= 1);
  auto pod_usage = f.must(f.runtime().sandbox_stats(pod));
  CHECK(pod_usage.cpu_nanoseconds >= after.cpu_nanoseconds);
}

TEST_CASE("processes beyond the limit are refused") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo unreachable");
  c.resources.pids_limit = 5;
  std::string id = f.start(pod, c);
  f.wait_exit(id);
  CHECK(f.output(id).find("unreachable") == std::string::npos);
}

TEST_CASE("limits change while the container runs, and are remembered") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.command({"/bin/sleep", "1000"});
  c.resources.memory_limit_bytes = 64 << 20;
  std::string id = f.start(pod, c);
  auto limit = [&] { return f.must(f.runtime().container_stats(pod))[0].usage.memory_limit; };
  CHECK(limit() == 64U << 20U);
  for (std::int64_t bytes : {128 << 20, 48 << 20}) {
    auto resources = f.runtime().container_status(id)->config.resources;
    resources.memory_limit_bytes = bytes;
    f.must(f.runtime().update_container_resources(id, resources));
    CHECK(limit() == static_cast<std::uint64_t>(bytes));
  }
  f.restart();
  CHECK(f.runtime().container_status(id)->config.resources.memory_limit_bytes == 48 << 20);
}
