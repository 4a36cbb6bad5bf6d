// sim: runs seeds.  sim --help
#include <fmt/format.h>

#include <unistd.h>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "run.hpp"
#include "skiff/base/log.hpp"

namespace {

using namespace skiff;       // NOLINT
using namespace skiff::sim;  // NOLINT

constexpr std::string_view kUsage =
    R"(usage: sim [FLAGS]
  --seed N         the first seed (1)
  --seeds N        how many (1)
  --for SECONDS    instead: new seeds for that long, of this machine's time
  --virtual SECS   virtual time with faults, each (60)
  --shared 0|1     servers: one, or several over Raft; without it: seeds alternate
  --plant BUG      with a planted bug: the run fails if no seed finds it
  --trace          print everything that happens
  --twice          run each seed twice: both must be the same
  --minimise       find out how few faults a failing seed needs
  --without MASK   kinds of faults that may not happen
)";

char now_running[64];

// An assertion of the product ends the process: say with which seed.
void on_death(int signal) {
  [[maybe_unused]] const auto n = ::write(2, now_running, std::strlen(now_running));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

struct Flags {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 1;
  std::uint64_t seconds = 0;
  std::uint64_t length = 60;
  int shared = -1;
  Plant plant = Plant::none;
  std::uint32_t without = 0;
  bool trace = false;
  bool twice = false;
  bool minimise = false;
};

bool parse(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--trace" || name == "--twice" || name == "--minimise") {
      (name == "--trace" ? flags.trace : name == "--twice" ? flags.twice : flags.minimise) = true;
      continue;
    }
    if (++i >= argc) return false;
    const std::string_view text = argv[i];
    if (name == "--plant") {
      const auto plant = parse_plant(text);
      if (!plant) return false;
      flags.plant = *plant;
      continue;
    }
    std::uint64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
      return false;
    }
    if (name == "--seed") {
      flags.seed = value;
    } else if (name == "--seeds") {
      flags.seeds = value;
    } else if (name == "--for") {
      flags.seconds = value;
    } else if (name == "--virtual") {
      flags.length = value;
    } else if (name == "--shared") {
      flags.shared = static_cast<int>(value);
    } else if (name == "--without") {
      flags.without = static_cast<std::uint32_t>(value);
    } else {
      return false;
    }
  }
  return true;
}

struct Total {
  std::uint64_t seeds = 0;
  std::uint64_t failed = 0;
  Duration virtual_time{};
  std::array<std::uint64_t, kCounts> counts{};

  void add(const Outcome& o) {
    ++seeds;
    failed += o.violations.empty() ? 0 : 1;
    virtual_time += o.virtual_time;
    for (std::size_t i = 0; i < kCounts; ++i) counts[i] += o.counts[i];
  }
  void print() const {
    std::uint64_t faults = 0;
    for (std::size_t i = 0; i < kCounts; ++i) {
      if (is_fault(static_cast<Count>(i))) faults += counts[i];
    }
    const double hours = std::chrono::duration<double, std::ratio<3600>>(virtual_time).count();
    fmt::print("{} seeds, {} failed, {:.2f} virtual hours, {} faults\n ", seeds, failed, hours,
               faults);
    for (std::size_t i = 0; i < kCounts; ++i) {
      fmt::print(" {} {}{}", counts[i], name_of(static_cast<Count>(i)),
                 i + 1 < kCounts ? "," : "\n");
    }
    std::fflush(stdout);
  }
};

RunOptions options_for(const Flags& flags, std::uint64_t seed) {
  RunOptions options;
  options.seed = seed;
  options.shared = flags.shared < 0 ? seed % 4 != 0 : flags.shared == 1;
  options.length = std::chrono::seconds(flags.length);
  options.plant = flags.plant;
  options.without = flags.without;
  if (flags.trace) {
    options.trace = [](std::string_view line) {
      fmt::print("{}\n", line);
      std::fflush(stdout);
    };
  }
  return options;
}

Outcome run_one(const Flags& flags, std::uint64_t seed) {
  const RunOptions options = options_for(flags, seed);
  std::snprintf(now_running, sizeof now_running, "sim: the process ended in seed %llu\n",
                static_cast<unsigned long long>(seed));
  Outcome outcome = run_seed(options);
  if (flags.twice) {
    const Outcome again = run_seed(options);
    if (again.hash != outcome.hash) {
      outcome.violations.push_back({"replay", "the same seed went another way", {}});
    }
  }
  const bool broken = !outcome.violations.empty();
  if (broken || flags.trace || flags.seeds <= 20) {
    fmt::print("seed {} {} {:016x} {:.1f}s {} writes {} reads\n", seed, broken ? "FAILED" : "ok",
               outcome.hash, std::chrono::duration<double>(outcome.virtual_time).count(),
               outcome.counts[static_cast<std::size_t>(Count::writes)],
               outcome.counts[static_cast<std::size_t>(Count::reads)]);
  }
  for (const Violation& v : outcome.violations) {
    fmt::print("  {} ({:.3f}s): {}\n", v.rule, std::chrono::duration<double>(v.when).count(),
               v.text);
  }
  if (broken && flags.minimise) {
    const RunOptions least = minimise(options, outcome.violations.front().rule,
                                      [](std::string_view line) { fmt::print("  {}\n", line); });
    fmt::print("  again: sim --seed {} --without {} --virtual {:.0f} --shared {}\n", seed,
               least.without, std::chrono::duration<double>(least.length).count(),
               least.shared ? 1 : 0);
  }
  std::fflush(stdout);
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  if (!parse(argc, argv, flags)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  for (const int signal : {SIGABRT, SIGSEGV}) std::signal(signal, on_death);
  log::set_level(log::Level::off);
  const RealClock real;
  const TimePoint begun = real.now();
  Total total;
  TimePoint shown = begun;
  for (std::uint64_t i = 0;; ++i) {
    const bool timed = flags.seconds != 0;
    if (timed ? real.now() - begun > std::chrono::seconds(flags.seconds) : i >= flags.seeds) break;
    total.add(run_one(flags, flags.seed + i));
    if (flags.plant != Plant::none && total.failed != 0) break;  // found
    if (timed && real.now() - shown > 30s) {
      total.print();
      shown = real.now();
    }
  }
  total.print();
  if (flags.plant != Plant::none) return total.failed != 0 ? 0 : 1;
  return total.failed == 0 ? 0 : 1;
}
