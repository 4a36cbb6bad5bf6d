#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <thread>

#include "skiff/base/clock.hpp"
#include "skiff/base/log.hpp"
#include "skiff/base/metrics.hpp"
#include "skiff/base/random.hpp"

using namespace skiff;

TEST_CASE("times are read and written as RFC 3339") {
  struct Row {
    std::string_view in;
    std::string_view out;  // empty: refused
  };
  const Row rows[] = {
      {"2026-11-23T18:15:48Z", "2026-11-23T18:15:48.000000Z"},
      {"2026-11-23T18:15:48.5Z", "2026-11-23T18:15:48.500000Z"},
      {"2026-11-23T18:15:48.123456789Z", "2026-11-23T18:15:48.123456Z"},
      {"2026-11-23T20:15:48+02:00", "2026-11-23T18:15:48.000000Z"},
      {"1969-12-31T23:59:59.25-00:30", "1970-01-01T00:29:59.250000Z"},
      {"2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"},
      {"2023-02-29T00:00:00Z", ""},
      {"2026-11-23 18:15:48Z", ""},
      {"2026-11-23T18:15:48", ""},
      {"2026-11-23T18:15:48.Z", ""},
      {"2026-11-23T24:00:00Z", ""},
      {"2026-11-23T18:15:48Zx", ""},
      {"", ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.in);
    const auto t = parse_time(row.in);
    CHECK(t.has_value() == !row.out.empty());
    if (t) CHECK(format_micro_time(*t) == row.out);
  }
  CHECK(format_time(parse_time("2026-11-23T18:15:48.999Z").value()) == "2026-11-23T18:15:48Z");
}

TEST_CASE("a seed replays, and generated names keep to their alphabet") {
  SeededRandom a(42);
  SeededRandom b(42);
  CHECK(a.uuid() == b.uuid());
  const std::string suffix = a.name_suffix(1000);
  CHECK(suffix.find_first_not_of("bcdfghjklmnpqrstvwxz2456789") == std::string::npos);
  CHECK(std::set<char>(suffix.begin(), suffix.end()).size() == 27);
  const std::string uuid = SystemRandom().uuid();
  CHECK(uuid.size() == 36);
  CHECK(uuid[14] == '4');
}

TEST_CASE("what the system's randomness gave goes to one holder") {
  SystemRandom random;
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.uuid());
  std::array<std::string, 2> elsewhere;
  std::thread([&] { elsewhere[0] = random.uuid(); }).join();
  // The child of a fork has the same memory.
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string uuid = random.uuid();
    (void)!::write(ends[1], uuid.data(), uuid.size());
    ::_exit(0);
  }
  std::array<char, 36> told{};
  REQUIRE(::read(ends[0], told.data(), told.size()) == 36);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  elsewhere[1] = std::string(told.data(), told.size());
  seen.insert(elsewhere.begin(), elsewhere.end());
  for (int i = 0; i < 100; ++i) seen.insert(random.uuid());
  CHECK(seen.size() == 1102);
}

TEST_CASE("errors keep their code when annotated") {
  const Error e = annotate(errno_error(ENOENT, "open x"), "start");
  CHECK(e.code == Code::not_found);
  CHECK(e.message == "start: open x: No such file or directory");
}

TEST_CASE("metrics render as Prometheus text") {
  metrics::Registry registry;
  registry.counter("requests_total", "Requests.", {"code"}, {"200"}).add(3);
  registry.gauge("depth", "Queue depth.").set(1.5);
  auto& h = registry.histogram("latency_seconds", "Latency.", {0.1, 1});
  h.observe(0.05);
  h.observe(0.1);
  h.observe(5);
  CHECK(registry.render() ==
        "# HELP depth Queue depth.\n# TYPE depth gauge\ndepth 1.5\n"
        "# HELP latency_seconds Latency.\n# TYPE latency_seconds histogram\n"
        "latency_seconds_bucket{le=\"0.1\"} 2\nlatency_seconds_bucket{le=\"1\"} 2\n"
        "latency_seconds_bucket{le=\"+Inf\"} 3\nlatency_seconds_sum 5.15\n"
        "latency_seconds_count 3\n"
        "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
        "requests_total{code=\"200\"} 3\n");
}

TEST_CASE("log lines quote what needs quoting") {
  std::vector<std::string> lines;
  VirtualClock clock;
  log::set_clock(&clock);
  log::set_sink([&](std::string_view line) { lines.emplace_back(line); });
  log::info("kubelet", "pod started", {{"pod", "default/web"}, {"why", "a \"b\"\nc"}, {"n", 3}});
  log::debug("kubelet", "not shown");
  log::set_sink(nullptr);
  log::set_clock(nullptr);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] ==
        "2026-01-01T00:00:00.000000Z INFO  kubelet: pod started pod=default/web "
        "why=\"a \\\"b\\\"\\nc\" n=3");
}
