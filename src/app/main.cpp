// The one program: which part of it runs is the first argument, or the name it was called by.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "commands.hpp"
#include "demo.hpp"
#include "options.hpp"
#include "server.hpp"
#include "skiff/cli/history.hpp"
#include "skiff/cli/kubectl.hpp"
#include "skiff/runtime/shim.hpp"

namespace {

constexpr const char* kUsage =
    "skiff: Kubernetes as one small program\n"
    "\n"
    "  skiff server     run a cluster: control plane and a node\n"
    "  skiff agent      run a further node\n"
    "  skiff kubectl    get, apply, delete, logs, describe, scale, rollout (also when called as "
    "kubectl)\n"
    "  skiff image      import, pull, list and remove container images\n"
    "  skiff status     the cluster's servers: roles, lag, health\n"
    "  skiff token      a token that lets another server join\n"
    "  skiff encryption keys of what is encrypted on disk: show, change\n"
    "  skiff history    who changed what, and when\n"
    "  skiff undo       back to what an object or a namespace was\n"
    "  skiff snapshot   save, restore and list copies of the cluster's state\n"
    "  skiff fork       a copy of the cluster on another port, to try things out on\n"
    "  skiff check      what this machine can and cannot do\n"
    "  skiff demo       the program inside the image skiff/demo\n"
    "  skiff version    this program's version\n"
    "\n"
    "Every command explains itself with --help.\n";

int server(const std::vector<std::string>& args) {
  auto options = skiff::app::parse_server_options(args);
  if (!options) {
    std::fprintf(stderr, "skiff: %s\n", options.error().message.c_str());
    return 1;
  }
  if (options->help) {
    std::fputs(skiff::app::server_help().c_str(), stdout);
    return 0;
  }
  return skiff::app::run_server(std::move(*options));
}

}  // namespace

int main(int argc, char** argv) {
  // First of all, and with nothing touched: what a shim touches stays in memory as long as its pod.
  if (argc > 1 && std::strcmp(argv[1], "shim") == 0) {
    return skiff::runtime::shim_main(argc - 1, argv + 1);
  }
  std::vector<std::string> args(argv + 1, argv + argc);
  const std::string called = argc > 0 ? argv[0] : "skiff";
  if (called.substr(called.rfind('/') + 1) == "kubectl") return skiff::cli::kubectl_main(args);
  const std::string command = args.empty() ? "" : args.front();
  if (!args.empty()) args.erase(args.begin());
  if (command == "server" && !args.empty() && args.front() == "remove") {
    args.erase(args.begin());
    return skiff::app::server_remove_main(args);
  }
  if (command == "server") return server(args);
  if (command == "status") return skiff::app::status_main(args);
  if (command == "token") return skiff::app::token_main(args);
  if (command == "encryption") return skiff::app::encryption_main(args);
  if (command == "history") return skiff::cli::history_main(args);
  if (command == "undo") return skiff::cli::undo_main(args);
  if (command == "snapshot") return skiff::app::snapshot_main(args);
  if (command == "fork") return skiff::app::fork_main(args);
  if (command == "kubectl") return skiff::cli::kubectl_main(args);
  if (command == "image") return skiff::app::image_main(args);
  if (command == "check") return skiff::app::check_main(args);
  if (command == "demo") return skiff::app::demo_main(args);
  if (command == "version" || command == "--version") {
    std::printf("skiff %s\n", skiff::app::kubernetes_version().c_str());
    return 0;
  }
  if (command == "agent") {
    std::fprintf(
        stderr,
        "skiff: this version runs one machine: skiff server is its control plane and its node; "
        "further nodes come with a later one\n");
    return 1;
  }
  const bool asked = command == "help" || command == "--help" || command == "-h";
  if (!asked && !command.empty()) {
    std::fprintf(stderr, "skiff: unknown command \"%s\"\n\n", command.c_str());
  }
  std::fputs(kUsage, asked ? stdout : stderr);
  return asked ? 0 : 1;
}
