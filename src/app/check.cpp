#include <cstdio>

#include "commands.hpp"
#include "skiff/linux/check.hpp"
#include "skiff/network/network.hpp"
#include "skiff/proxy/proxy.hpp"

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

}  // namespace

int check_main(std::vector<std::string> args) {
  if (!args.empty()) {
    std::fprintf(stderr, "skiff check: takes no arguments\n");
    return 1;
  }
  std::vector<sys::Finding> findings = sys::check_host();
  findings.push_back(
      finding("pod network", network::check(), "only pods with hostNetwork will run"));
  findings.push_back(
      finding("services", proxy::check(), "cluster IPs and node ports will not answer"));
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
  return missing == 0 ? 0 : 1;
}

}  // namespace skiff::app
