#include <fmt/format.h>

#include <cstdio>

#include "commands.hpp"
#include "options.hpp"
#include "skiff/cli/flags.hpp"
#include "skiff/client/http_client.hpp"
#include "skiff/linux/check.hpp"
#include "skiff/network/network.hpp"
#include "skiff/proxy/proxy.hpp"
#include "skiff/store/log.hpp"

namespace skiff::app {
namespace {

sys::Finding finding(const char* what, const Result<void>& result, const char* lost) {
  sys::Finding f;
  f.what = what;
  f.ok = result.has_value();
  f.detail = result ? "works" : result.error().message;
  if (!result) f.advice = lost;
  return f;
}

std::string human(std::uint64_t bytes) {
  const auto n = static_cast<double>(bytes);
  if (n < 1e6) return fmt::format("{:.1f} kB", n / 1e3);
  return n < 1e9 ? fmt::format("{:.1f} MB", n / 1e6) : fmt::format("{:.1f} GB", n / 1e9);
}

// What the server of this data directory says of itself; empty when none runs.
Task<void> read_metrics(Env env, std::string data_dir, std::string* out) {
  auto access = co_await client::load_kubeconfig(env, data_dir + "/kubeconfig", "");
  if (!access) co_return;
  client::HttpClient client(env, std::move(*access));
  http::ClientRequest request;
  request.url = "/metrics";
  request.timeout = 5s;
  auto answer = co_await client.request(std::move(request));
  if (answer && answer->status == 200) *out = std::move(answer->body);
}

void print_writes(const std::string& data_dir) {
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking(1);
  asio::io_context io(1);
  const Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  std::string text;
  asio::co_spawn(io, read_metrics(env, data_dir, &text), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  if (text.empty()) {
    std::printf("\nNo server runs on %s: what it writes is not known.\n", data_dir.c_str());
    return;
  }
  constexpr std::size_t kShown = 8;
  const store::WriteSummary writes = store::summarize_writes(text, clock.wall());
  std::printf("\nThe server has written %s to its database; at this rate %s a day.\n",
              human(writes.bytes).c_str(), human(writes.per_day).c_str());
  std::uint64_t rest = 0;
  for (std::size_t i = 0; i < writes.records.size(); ++i) {
    const auto& [what, bytes] = writes.records[i];
    if (i < kShown) std::printf("  %-40s %s\n", what.c_str(), human(bytes).c_str());
    if (i >= kShown) rest += bytes;
  }
  if (rest > 0) std::printf("  %-40s %s\n", "all else", human(rest).c_str());
}

}  // namespace

int check_main(std::vector<std::string> args) {
  std::string data_dir = default_data_dir();
  bool help = false;
  cli::Flags flags;
  flags.add("data-dir", &data_dir, "DIR", "of the server whose writes are shown", 'd');
  flags.add("help", &help, "", "show this", 'h');
  const auto rest = flags.parse(args);
  if (!rest || !rest->empty()) {
    std::fprintf(stderr, "skiff check: %s\n",
                 rest ? "takes no arguments" : rest.error().message.c_str());
    return 1;
  }
  if (help) {
    std::printf("usage: skiff check     what this machine can do, and what a server writes\n\n%s",
                flags.help().c_str());
    return 0;
  }
  std::vector<sys::Finding> findings = sys::check_host();
  findings.push_back(
      finding("pod network", network::check(), "only pods with hostNetwork will run"));
  findings.push_back(
      finding("services", proxy::check(), "cluster IPs and node ports will not answer"));
  findings.push_back(sys::check_firewall());
  std::size_t missing = 0;
  for (const sys::Finding& f : findings) {
    std::printf("%-5s %s: %s\n", f.ok ? "ok" : "MISS", f.what.c_str(), f.detail.c_str());
    if (!f.ok) {
      ++missing;
      std::printf("      %s\n", f.advice.c_str());
    }
  }
  if (missing == 0) {
    std::printf("\nThis machine can do everything skiff needs.\n");
  } else {
    std::printf("\n%zu of %zu things are missing; what that costs stands beside each.\n", missing,
                findings.size());
  }
  print_writes(data_dir);
  return missing == 0 ? 0 : 1;
}

}  // namespace skiff::app
