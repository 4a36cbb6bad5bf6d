#include "encryption.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "skiff/api/schema.hpp"
#include "skiff/pki/certificate.hpp"

namespace skiff::app {
namespace {

constexpr Duration kCommandLimit = 30s;

std::string keys_path(const std::string& directory) { return directory + "/encryption.keys"; }
std::string progress_path(const std::string& directory) { return directory + "/encryption.json"; }

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : ",") + w;
  return out;
}

constexpr std::string_view kFileHead =
    "# The keys that the Secrets in state.db are encrypted with: the first encrypts, all decrypt.\n"
    "# Whoever has this file and the database can read them. Keep a copy with your backups.\n";

Result<void> write_keys(const std::string& directory, const pki::SealKeys& keys) {
  return pki::write_private_file(keys_path(directory), std::string(kFileHead) + keys.to_text());
}

Result<pki::SealKeys> parse_keys(const Result<std::string>& text, const std::string& where) {
  if (!text) return annotate(text.error(), "encryption keys");
  auto keys = pki::SealKeys::parse(*text);
  if (!keys) return annotate(keys.error(), "encryption keys of " + where);
  return keys;
}

}  // namespace

KeySealer::KeySealer(Random& random, std::vector<std::string> prefixes, pki::SealKeys keys)
    : random_(random),
      prefixes_(std::move(prefixes)),
      keys_(std::make_shared<const pki::SealKeys>(std::move(keys))) {}

bool KeySealer::covers(std::string_view key) const {
  return std::any_of(prefixes_.begin(), prefixes_.end(),
                     [&](const std::string& p) { return key.starts_with(p); });
}

std::string KeySealer::seal(std::string_view key, std::string_view value) const {
  return keys()->seal(random_, key, value);
}

Result<std::string> KeySealer::open(std::string_view key, std::string_view sealed) const {
  return keys()->open(key, sealed);
}

void KeySealer::set_keys(pki::SealKeys keys) {
  keys_.store(std::make_shared<const pki::SealKeys>(std::move(keys)));
}

Result<std::vector<std::string>> encryption_prefixes(const std::vector<std::string>& kinds) {
  std::vector<std::string> out;
  for (const std::string& kind : kinds) {
    if (kind == "none" && kinds.size() == 1) break;
    const std::size_t dot = kind.find('.');
    const std::string plural = kind.substr(0, dot);
    const std::string group = dot == std::string::npos ? "" : kind.substr(dot + 1);
    const auto all = api::resources();
    const auto found = std::find_if(all.begin(), all.end(), [&](const api::Resource& r) {
      return r.plural == plural && r.group == group;
    });
    const bool is_volatile = plural == "leases" || plural == "events";
    if (found == all.end() || is_volatile) {
      return Error{Code::bad_request,
                   "--encrypt " + kind + ": " +
                       (is_volatile ? "Leases and Events are not encrypted"
                                    : "no such kind: want plural names such as secrets or "
                                      "configmaps, with their group: deployments.apps")};
    }
    out.push_back("/" + (group.empty() ? "core" : group) + "/" + plural + "/");
  }
  return out;
}

Result<std::unique_ptr<Encryption>> Encryption::open(Env env, const ServerOptions& options) {
  const std::string directory = options.data_dir + "/pki";
  SKIFF_TRY(auto prefixes, encryption_prefixes(options.encrypt));
  SKIFF_TRY(Progress progress, read_progress(progress_path(directory)));
  const bool from_file = !options.encryption_keys.empty();
  const bool from_command = !options.encryption_keys_command.empty();
  const auto make = [&](Source source, pki::SealKeys keys) {
    auto sealer = std::make_shared<KeySealer>(*env.random, std::move(prefixes), std::move(keys));
    return std::unique_ptr<Encryption>(
        new Encryption(env, options, source, std::move(sealer), std::move(progress)));
  };
  if (from_file) {
    SKIFF_TRY(auto keys,
              parse_keys(pki::read_file(options.encryption_keys), options.encryption_keys));
    return make(Source::file, std::move(keys));
  }
  if (from_command) {
    const std::string& command = options.encryption_keys_command;
    SKIFF_TRY(auto keys, parse_keys(output_of(command, kCommandLimit), "\"" + command + "\""));
    return make(Source::command, std::move(keys));
  }
  const std::string path = keys_path(directory);
  const Result<std::string> kept = pki::read_file(path);
  if (kept || kept.error().code != Code::not_found) {
    SKIFF_TRY(auto keys, parse_keys(kept, path));
    return make(Source::made, std::move(keys));
  }
  if (!progress.sealed_with.empty()) {
    return Error{Code::not_found,
                 "the encryption keys are missing: this server's data is encrypted with the key " +
                     progress.sealed_with + ", which was in " + path +
                     " or given by --encryption-keys; put it back"};
  }
  const pki::SealKeys fresh = pki::SealKeys::generate(*env.random);
  SKIFF_CHECK(write_keys(directory, fresh));
  return make(Source::made, fresh);
}

Result<void> Encryption::adopt(const ServerOptions& options, const std::string& keys_text) {
  SKIFF_TRY(const auto keys, pki::SealKeys::parse(keys_text));
  return write_keys(options.data_dir + "/pki", keys);
}

Encryption::Encryption(Env env, const ServerOptions& options, Source source,
                       std::shared_ptr<KeySealer> sealer, Progress progress)
    : env_(env),
      directory_(options.data_dir + "/pki"),
      kinds_(joined(options.encrypt)),
      origin_(source == Source::file      ? options.encryption_keys
              : source == Source::command ? options.encryption_keys_command
                                          : keys_path(directory_)),
      source_(source),
      sealer_(std::move(sealer)),
      progress_(std::move(progress)) {}

Result<Encryption::Progress> Encryption::read_progress(const std::string& path) {
  const Result<std::string> text = pki::read_file(path);
  if (!text && text.error().code == Code::not_found) return Progress();
  if (!text) return text.error();
  const auto document = api::parse_json(*text);
  // Only says what need not be done again.
  if (!document) return Progress();
  Progress p;
  p.sealed_with = (*document)["sealedWith"].as_string();
  p.kinds = (*document)["kinds"].as_string();
  p.revision = (*document)["revision"].as_int();
  return p;
}

Result<void> Encryption::write_progress() const {
  const api::Value document = api::Value::object({{"sealedWith", progress_.sealed_with},
                                                  {"kinds", progress_.kinds},
                                                  {"revision", progress_.revision}});
  return pki::write_private_file(progress_path(directory_), api::to_json(document) + "\n");
}

std::string Encryption::own_keys() const {
  return source_ == Source::made ? sealer_->keys()->to_text() : "";
}

Task<Result<void>> Encryption::reload() {
  const Source source = source_;
  const std::string origin = origin_;
  const auto read = [&]() -> Result<pki::SealKeys> {
    if (source == Source::command) return parse_keys(output_of(origin, kCommandLimit), origin);
    return parse_keys(pki::read_file(origin), origin);
  };
  SKIFF_CO_TRY(pki::SealKeys fresh, co_await env_.blocking->run(read));
  const std::vector<std::string> had = sealer_->keys()->ids();
  const std::vector<std::string> has = fresh.ids();
  const auto lacks = [&](const std::string& id) {
    return !id.empty() && std::find(has.begin(), has.end(), id) == has.end();
  };
  // What objects, or until all are rewritten also what they were sealed with before, must stay.
  const std::string needed = lacks(had.front()) ? had.front() : progress_.sealed_with;
  if (lacks(needed)) {
    co_return Error{Code::conflict, "the key " + needed + " is missing in " + origin +
                                        ", and values are still encrypted with it: keep it below "
                                        "the new one until skiff encryption status lets it go"};
  }
  sealer_->set_keys(std::move(fresh));
  log::info("app", "encryption keys read again", {{"encrypts", has.front()}});
  kick();
  co_return Result<void>();
}

Task<Result<void>> Encryption::add_key(std::string key, bool seal) {
  if (source_ != Source::made) {
    co_return Error{Code::conflict,
                    "the encryption keys come from " + origin_ +
                        ": put the new key there, above the others, on every server, and run "
                        "skiff encryption reload"};
  }
  SKIFF_CO_TRY(const auto more, pki::SealKeys::parse(key));
  const pki::SealKeys keys = sealer_->keys()->with(more, seal);
  const std::string directory = directory_;
  const auto write = [&] { return write_keys(directory, keys); };
  SKIFF_CO_CHECK(co_await env_.blocking->run(write));
  sealer_->set_keys(keys);
  log::info("app", seal ? "a new key encrypts" : "a new key was added",
            {{"key", more.ids().front()}});
  kick();
  co_return Result<void>();
}

api::Value Encryption::status() const {
  const std::vector<std::string> ids = sealer_->keys()->ids();
  api::Value keys = api::Value::array();
  for (const std::string& id : ids) keys.push_back(id);
  static constexpr std::string_view kSources[] = {"file", "command", "generated"};
  api::Value out = api::Value::object({{"source", kSources[static_cast<int>(source_)]},
                                       {"from", origin_},
                                       {"kinds", kinds_},
                                       {"encrypting", ids.front()},
                                       {"rewritten", done_},
                                       {"total", total_},
                                       {"done", !due()}});
  out.set("keys", std::move(keys));
  const bool free = !due() && store_ && store_->compacted() >= progress_.revision;
  out.set("oldKeysNeeded", ids.size() > 1 && !free);
  return out;
}

Result<std::string> output_of(const std::string& command, Duration limit) {
  constexpr std::size_t kMost = 1U << 20U;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  // A group of its own, so that what the shell has started ends with it.
  posix_spawnattr_t group;
  ::posix_spawnattr_init(&group);
  ::posix_spawnattr_setflags(&group, POSIX_SPAWN_SETPGROUP);
  std::string words[] = {"sh", "-c", command};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, "/bin/sh", &actions, &group, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&group);
  ::close(ends[1]);
  const std::string what = "\"" + command + "\"";
  if (error != 0) {
    ::close(ends[0]);
    return errno_error(error, "cannot run " + what);
  }
  std::string out;
  RealClock clock;
  const TimePoint end = clock.now() + limit;
  std::string trouble;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - clock.now()).count();
    pollfd wait{ends[0], POLLIN, 0};
    if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) == 0) trouble = " takes too long";
    if (out.size() > kMost) trouble = " prints too much to be keys";
    if (!trouble.empty()) break;
    char buffer[4096];
    const ssize_t n = ::read(ends[0], buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    out.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  if (!trouble.empty()) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (trouble.empty() && status != 0) trouble = " failed";
  if (!trouble.empty()) return Error{Code::unavailable, what + trouble};
  return out;
}

}  // namespace skiff::app
