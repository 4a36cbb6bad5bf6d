// skiff snapshot save|restore|ls.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "commands.hpp"
#include "encryption.hpp"
#include "identity.hpp"
#include "remote.hpp"
#include "skiff/cli/flags.hpp"
#include "snapshot.hpp"

namespace skiff::app {
namespace {

namespace fs = std::filesystem;
using api::Value;
using store::SnapshotInfo;

constexpr const char* kUsage =
    "usage: skiff snapshot save [FILE]     the cluster's state to a file, while it runs or not\n"
    "       skiff snapshot restore FILE    a data directory's state from a file; not while its\n"
    "                                      server runs\n"
    "       skiff snapshot ls [DIR]        the snapshots in a directory, each checked to its end\n"
    "\nFlags:\n";
// How far a server may have gone on after a snapshot, when nobody can tell any more.
constexpr store::Revision kUnknownWay = 1'000'000'000;

struct Asked {
  std::string verb;
  std::string path;
  std::string data_dir = default_data_dir();
  std::string kubeconfig;
  bool force = false;
};

void print_saved(const SnapshotInfo& info, const std::string& path) {
  std::printf("%s: revision %lld, %llu keys, %llu bytes\n", path.c_str(),
              static_cast<long long>(info.revision), static_cast<unsigned long long>(info.keys),
              static_cast<unsigned long long>(info.bytes));
}

Error bad(std::string message) { return {Code::bad_request, std::move(message)}; }

// The file appears under its name only once it is whole and on the disk.
class Download {
 public:
  explicit Download(std::string path) : path_(std::move(path)), part_(path_ + ".part") {}
  ~Download() {
    if (fd_ >= 0) ::close(fd_);
    if (!done_) ::unlink(part_.c_str());
  }
  Download(const Download&) = delete;
  Download& operator=(const Download&) = delete;

  Result<void> open() {
    fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0) return errno_error(errno, "cannot write " + part_);
    return {};
  }
  Result<void> write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_error(errno, "cannot write " + part_);
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }
  Result<SnapshotInfo> finish() {
    if (::fsync(fd_) != 0) return errno_error(errno, "cannot write " + part_);
    SKIFF_TRY(SnapshotInfo info, store::check_snapshot(part_));
    if (::rename(part_.c_str(), path_.c_str()) != 0) return errno_error(errno, path_);
    done_ = true;
    info.path = path_;
    return info;
  }

 private:
  std::string path_;
  std::string part_;
  int fd_ = -1;
  bool done_ = false;
};

Task<Result<SnapshotInfo>> save_online(Env env, Asked asked) {
  SKIFF_CO_TRY(const auto client, co_await connect_remote(env, asked.data_dir, asked.kubeconfig));
  http::ClientRequest request;
  request.url = "/skiff/v1/snapshot";
  request.timeout = 10min;  // until the first byte: the server writes its file first
  SKIFF_CO_TRY(const auto stream, co_await client->stream(std::move(request)));
  if (stream->status() != 200) {
    SKIFF_CO_TRY(const std::string text, co_await stream->read_all(1U << 20U));
    co_return client::error_from_answer(stream->status(), text);
  }
  Download file(asked.path);
  SKIFF_CO_CHECK(file.open());
  for (;;) {
    SKIFF_CO_TRY(const std::string piece, co_await stream->read());
    if (piece.empty()) break;
    SKIFF_CO_CHECK(file.write(piece));
  }
  co_return file.finish();
}

Result<std::string> cluster_of(const std::string& data_dir) {
  SKIFF_TRY(const std::string pem, pki::read_file(data_dir + "/pki/ca.crt"));
  SKIFF_TRY(const auto certificate, pki::Certificate::from_pem(pem));
  return certificate.fingerprint();
}

Result<ServerOptions> options_of(const Asked& asked) {
  const std::vector<std::string> flags{"--data-dir", asked.data_dir};
  return parse_server_options(flags);
}

// No server runs: from its database.
Task<Result<SnapshotInfo>> save_offline(Env env, Asked asked) {
  SKIFF_CO_TRY(const ServerOptions options, options_of(asked));
  SKIFF_CO_TRY(const auto encryption, Encryption::open(env, options));
  store::SqliteOptions sqlite;
  sqlite.path = asked.data_dir + "/state.db";
  sqlite.sealer = encryption->sealer();
  SKIFF_CO_TRY(auto log, store::open_sqlite_log(env, std::move(sqlite)));
  store::StoreOptions store_options;
  SKIFF_CO_TRY(const auto store, co_await store::Store::open(env, std::move(log), store_options));
  store::SnapshotOptions how;
  how.sealer = encryption->sealer();
  if (const auto cluster = cluster_of(asked.data_dir)) how.cluster = *cluster;
  auto saved = co_await store::save_snapshot(env, *store, asked.path, how);
  const Result<void> closed = co_await store->close();
  if (saved && !closed) co_return closed.error();
  co_return saved;
}

Task<Result<void>> save(Env env, Asked asked) {
  if (asked.path.empty()) {
    std::string now = format_time(env.clock->wall());
    std::erase_if(now, [](char c) { return c == ':' || c == '-'; });
    asked.path = "skiff-" + now + ".snapshot";
  }
  Result<SnapshotInfo> saved = co_await save_online(env, asked);
  std::error_code ec;
  const bool local = asked.kubeconfig.empty() && fs::exists(asked.data_dir + "/state.db", ec);
  if (!saved && saved.error().code == Code::unavailable && local) {
    saved = co_await save_offline(env, asked);
  }
  if (!saved) co_return saved.error();
  print_saved(*saved, asked.path);
  co_return Result<void>();
}

// Where the database that is replaced had come to; also whether a server holds it.
Task<Result<store::Revision>> last_revision(Env env, std::string path,
                                            std::shared_ptr<const store::Sealer> sealer) {
  std::error_code ec;
  if (!fs::exists(path, ec)) co_return kUnknownWay;
  store::SqliteOptions sqlite;
  sqlite.path = path;
  sqlite.sealer = std::move(sealer);
  auto log = store::open_sqlite_log(env, std::move(sqlite));
  if (!log) {
    if (log.error().code == Code::conflict || log.error().code == Code::unavailable) {
      co_return annotate(log.error(), "stop the server first");
    }
    std::printf("the present database cannot be read (%s); it is put aside unread\n",
                log.error().message.c_str());
    co_return kUnknownWay;
  }
  std::function<void(store::Record)> nothing = [](const store::Record&) {};
  const auto recovered = co_await (*log)->replay(nothing);
  SKIFF_CO_CHECK(co_await (*log)->close());
  co_return recovered ? recovered->revision : kUnknownWay;
}

Result<void> check_fits(const SnapshotInfo& info, const Asked& asked) {
  std::error_code ec;
  if (fs::exists(asked.data_dir + "/server.json", ec)) {
    return bad(asked.data_dir +
               " belongs to a cluster of several servers, whose log is elsewhere: restore into an "
               "empty data directory with the cluster's pki directory, and let the others join it "
               "anew");
  }
  const auto cluster = cluster_of(asked.data_dir);
  const bool other = cluster && !info.cluster.empty() && *cluster != info.cluster;
  if (other && !asked.force) {
    return bad(asked.path + " is of another cluster than " + asked.data_dir +
               ": --force restores it all the same");
  }
  return {};
}

Task<Result<void>> restore(Env env, Asked asked) {
  if (asked.path.empty()) co_return bad("which file? skiff snapshot restore FILE");
  SKIFF_CO_TRY(const SnapshotInfo info, store::check_snapshot(asked.path));
  SKIFF_CO_CHECK(check_fits(info, asked));
  std::error_code ec;
  fs::create_directories(asked.data_dir, ec);
  if (ec) co_return errno_error(ec.value(), asked.data_dir);
  fs::permissions(asked.data_dir, fs::perms::owner_all, ec);
  SKIFF_CO_TRY(const ServerOptions options, options_of(asked));
  SKIFF_CO_TRY(const auto encryption, Encryption::open(env, options));
  const std::string path = asked.data_dir + "/state.db";
  SKIFF_CO_TRY(const store::Revision last, co_await last_revision(env, path, encryption->sealer()));
  store::SnapshotOptions how;
  how.sealer = encryption->sealer();
  std::vector<store::Record> records;
  std::function<void(store::Record)> each = [&](store::Record r) {
    records.push_back(std::move(r));
  };
  SKIFF_CO_TRY([[maybe_unused]] const SnapshotInfo loaded,
               store::load_snapshot(asked.path, how, each));
  const std::string fresh = path + ".restoring";
  for (const char* part : {"", "-wal", "-shm", "-mark"}) fs::remove(fresh + part, ec);
  store::SqliteOptions sqlite;
  sqlite.path = fresh;
  sqlite.sealer = encryption->sealer();
  const store::Revision above = last == kUnknownWay ? info.revision + kUnknownWay : last;
  SKIFF_CO_CHECK(co_await build_database(env, std::move(sqlite), std::move(records), above));
  std::string kept;
  if (fs::exists(path, ec)) {
    SKIFF_CO_TRY(kept, set_aside(path, env.clock->wall()));
  }
  for (const char* part : {"-mark", "-wal", ""}) {
    if (!fs::exists(fresh + part, ec)) continue;
    fs::rename(fresh + part, path + part, ec);
    if (ec) co_return errno_error(ec.value(), "cannot put " + path + " in place");
  }
  std::printf("restored %s: revision %lld, %llu keys\n", asked.path.c_str(),
              static_cast<long long>(info.revision), static_cast<unsigned long long>(info.keys));
  if (!kept.empty()) std::printf("what was there is kept as %s\n", kept.c_str());
  std::printf("start the server to use it\n");
  co_return Result<void>();
}

void print_list(const Value& items) {
  std::printf("%-44s %-12s %-21s %-8s %-10s %s\n", "FILE", "REVISION", "TIME", "KEYS", "BYTES",
              "WHOLE");
  for (const Value& i : items.items()) {
    if (!i["whole"].as_bool()) {
      std::printf("%-44s %-54s no: %s\n", i["file"].as_string().c_str(), "",
                  i["problem"].as_string().c_str());
      continue;
    }
    std::printf("%-44s %-12lld %-21s %-8lld %-10lld yes\n", i["file"].as_string().c_str(),
                static_cast<long long>(i["revision"].as_int()), i["time"].as_string().c_str(),
                static_cast<long long>(i["keys"].as_int()),
                static_cast<long long>(i["bytes"].as_int()));
  }
}

Task<Result<void>> ls(Env env, Asked asked) {
  if (!asked.path.empty()) {
    SKIFF_CO_TRY(const Value items, describe_snapshots(asked.path));
    print_list(items);
    co_return Result<void>();
  }
  SKIFF_CO_TRY(const auto client, co_await connect_remote(env, asked.data_dir, asked.kubeconfig));
  SKIFF_CO_TRY(const Value report, co_await ask_remote(client.get(), "/skiff/v1/snapshots"));
  const std::int64_t every = report["everySeconds"].as_int();
  std::printf("%s", report["directory"].as_string().c_str());
  if (every > 0) {
    std::printf(": one every %s s, %lld are kept\n", std::to_string(every).c_str(),
                static_cast<long long>(report["keep"].as_int()));
  } else {
    std::printf(": no schedule (skiff server --snapshot-schedule)\n");
  }
  if (const Value* trouble = report.find("trouble")) {
    std::printf("the last one failed: %s\n", trouble->as_string().c_str());
  }
  print_list(report["items"]);
  co_return Result<void>();
}

Task<Result<void>> carry_out(Env env, Asked asked) {
  if (asked.verb == "save") return save(env, std::move(asked));
  if (asked.verb == "restore") return restore(env, std::move(asked));
  return ls(env, std::move(asked));
}

}  // namespace

int snapshot_main(std::vector<std::string> args) {
  Asked asked;
  bool help = false;
  cli::Flags flags;
  flags.add("data-dir", &asked.data_dir, "DIR",
            "the server's directory (default " + default_data_dir() + ")", 'd');
  flags.add("kubeconfig", &asked.kubeconfig, "FILE", "a server elsewhere (save, ls)");
  flags.add("force", &asked.force, "", "restore: also what is of another cluster");
  flags.add("help", &help, "", "show this", 'h');
  auto words = flags.parse(args);
  if (!words) {
    std::fprintf(stderr, "skiff snapshot: %s\n", words.error().message.c_str());
    return 1;
  }
  if (!words->empty()) asked.verb = words->front();
  if (words->size() > 1) asked.path = (*words)[1];
  const bool known = asked.verb == "save" || asked.verb == "restore" || asked.verb == "ls";
  if (help || !known || words->size() > 2) {
    std::fputs((kUsage + flags.help()).c_str(), help ? stdout : stderr);
    return help ? 0 : 1;
  }
  Asked copy = asked;
  return run_command("snapshot " + asked.verb, [copy](Env env) { return carry_out(env, copy); });
}

}  // namespace skiff::app
