// skiff fork: a copy of a cluster's state under a control plane of its own, thrown away at the end.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "commands.hpp"
#include "encryption.hpp"
#include "remote.hpp"
#include "server.hpp"
#include "skiff/cli/flags.hpp"
#include "snapshot.hpp"

namespace skiff::app {
namespace {

namespace fs = std::filesystem;
using api::Value;

constexpr const char* kUsage =
    "usage: skiff fork      a copy of the cluster on another port, to try things out on\n"
    "\n"
    "Controllers and scheduler work on the copy; no container runs: pods that are scheduled are "
    "said\nto run. It ends with Ctrl-C, and nothing of it is kept.\n"
    "\nFlags:\n";
// A line holds one object, and those are bounded.
constexpr std::size_t kLongestLine = 16U << 20U;

struct Asked {
  std::string data_dir = default_data_dir();
  std::string kubeconfig;
  std::int64_t https_port = 7443;
  std::int64_t revision = 0;
  std::string log_level = "warn";
  bool help = false;
};

// What /skiff/v1/state tells.
struct State {
  store::Revision revision = 0;
  std::string service_cidr;
  std::vector<store::Record> records;
  bool whole = false;
};

bool is_volatile(std::string_view key) {
  return key.starts_with("/core/events/") || key.starts_with("/coordination.k8s.io/leases/");
}

Result<void> take_line(const std::string& line, State* state) {
  SKIFF_TRY(const Value doc, api::parse_json(line, {.max_bytes = SIZE_MAX, .max_depth = 1000}));
  if (doc.has("keys")) {
    state->whole = doc["keys"].as_int() == static_cast<std::int64_t>(state->records.size());
    return {};
  }
  if (!doc.has("key")) {
    state->revision = doc["revision"].as_int();
    state->service_cidr = doc["serviceCIDR"].as_string();
    return {};
  }
  auto item = std::make_shared<store::Item>();
  item->key = doc["key"].as_string();
  item->created = doc["created"].as_int();
  item->modified = doc["modified"].as_int();
  const auto attributes = doc["attributes"].items();
  for (std::size_t i = 0; i + 1 < attributes.size(); i += 2) {
    item->attributes.emplace_back(attributes[i].as_string(), attributes[i + 1].as_string());
  }
  // The bytes as they were, not as they would be written anew: they are the line's last member.
  const std::size_t at = line.find(",\"value\":");
  item->value = line.substr(at + 9, line.size() - at - 10);
  store::Record record;
  record.is_volatile = is_volatile(item->key);
  record.item = std::move(item);
  state->records.push_back(std::move(record));
  return {};
}

Task<Result<void>> read_state(Env env, Asked asked, State* state) {
  SKIFF_CO_TRY(const auto client, co_await connect_remote(env, asked.data_dir, asked.kubeconfig));
  http::ClientRequest request;
  request.url = "/skiff/v1/state";
  if (asked.revision > 0) request.url += "?revision=" + std::to_string(asked.revision);
  SKIFF_CO_TRY(const auto stream, co_await client->stream(std::move(request)));
  if (stream->status() != 200) {
    SKIFF_CO_TRY(const std::string text, co_await stream->read_all(1U << 20U));
    co_return client::error_from_answer(stream->status(), text);
  }
  std::string rest;
  for (;;) {
    SKIFF_CO_TRY(const std::string piece, co_await stream->read());
    if (piece.empty()) break;
    rest += piece;
    std::size_t from = 0;
    for (std::size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', from)) {
      SKIFF_CO_CHECK(take_line(rest.substr(from, end - from), state));
      from = end + 1;
    }
    rest.erase(0, from);
    if (rest.size() > kLongestLine) {
      co_return Error{Code::too_large, "the server sent what is no state"};
    }
  }
  if (state->whole) co_return Result<void>();
  co_return Error{Code::unavailable, "the state did not come through whole: try again"};
}

Task<Result<void>> build(Env env, Asked asked, ServerOptions options, State* state,
                         std::string* service_cidr) {
  SKIFF_CO_CHECK(co_await read_state(env, asked, state));
  *service_cidr = state->service_cidr;
  SKIFF_CO_TRY(const auto encryption, Encryption::open(env, options));
  store::SqliteOptions sqlite;
  sqlite.path = options.data_dir + "/state.db";
  sqlite.durability = store::Durability::relaxed;
  sqlite.sealer = encryption->sealer();
  std::vector<store::Record> records = std::move(state->records);
  co_return co_await build_database(env, std::move(sqlite), std::move(records), state->revision);
}

int run_fork(const Asked& asked, const std::string& directory) {
  const std::vector<std::string> flags{"--data-dir",     directory,
                                       "--bind-address", "127.0.0.1",
                                       "--https-port",   std::to_string(asked.https_port),
                                       "--durability",   "relaxed",
                                       "--log-level",    asked.log_level,
                                       "--node-ip",      "127.0.0.1",
                                       "--disable",      "kubelet,network,proxy"};
  auto options = parse_server_options(flags);
  if (!options) {
    std::fprintf(stderr, "skiff fork: %s\n", options.error().message.c_str());
    return 1;
  }
  options->fork = true;
  State state;
  std::string service_cidr;
  const int code = run_command(
      "fork", [&](Env env) { return build(env, asked, *options, &state, &service_cidr); });
  if (code != 0) return code;
  options->service_cidr = service_cidr;
  std::printf(
      "a copy of revision %lld; Ctrl-C ends it\n"
      "  kubectl --kubeconfig %s/kubeconfig get all -A\n",
      static_cast<long long>(state.revision), directory.c_str());
  std::fflush(stdout);
  return run_server(std::move(*options));
}

}  // namespace

int fork_main(std::vector<std::string> args) {
  Asked asked;
  cli::Flags flags;
  flags.add("data-dir", &asked.data_dir, "DIR",
            "directory of the server to copy (default " + default_data_dir() + ")", 'd');
  flags.add("kubeconfig", &asked.kubeconfig, "FILE", "or a kubeconfig that leads to it");
  flags.add("https-port", &asked.https_port, "PORT", "port of the copy (default 7443)");
  flags.add("revision", &asked.revision, "N", "as it was at this revision (default: now)");
  flags.add("log-level", &asked.log_level, "LEVEL", "of the copy (default warn)");
  flags.add("help", &asked.help, "", "show this", 'h');
  const auto words = flags.parse(args);
  if (!words) {
    std::fprintf(stderr, "skiff fork: %s\n", words.error().message.c_str());
    return 1;
  }
  if (asked.help || !words->empty() || asked.revision < 0) {
    std::fputs((kUsage + flags.help()).c_str(), asked.help ? stdout : stderr);
    return asked.help ? 0 : 1;
  }
  std::string directory = (fs::temp_directory_path() / "skiff-fork-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) {
    std::perror("skiff fork: cannot make a directory for the copy");
    return 1;
  }
  const int code = run_fork(asked, directory);
  std::error_code ec;
  fs::remove_all(directory, ec);
  return code;
}

}  // namespace skiff::app
