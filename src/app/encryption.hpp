// Encryption at rest: where the keys come from, what they cover, and how they are replaced while
// the server runs.
//
// A new key first stands beside the others, then seals. From then on every covered object is
// written once more, unchanged, by the normal road, which seals it anew on every server's disk.
// What was overwritten stays readable with the older key for as long as history keeps it; after
// that the older key can go (keys made here go by themselves). How far that has come is kept in
// DATA_DIR/pki/encryption.json, so that a restart resumes it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "options.hpp"
#include "skiff/api/value.hpp"
#include "skiff/base/env.hpp"
#include "skiff/pki/seal.hpp"
#include "skiff/store/store.hpp"

namespace skiff::app {

// The store's view of the keys. Thread-safe; the keys can be exchanged while it is used.
class KeySealer final : public store::Sealer {
 public:
  // `prefixes`: of the keys that are covered. `random` is thread-safe and outlives this.
  KeySealer(Random& random, std::vector<std::string> prefixes, pki::SealKeys keys);

  bool covers(std::string_view key) const override;
  std::string seal(std::string_view key, std::string_view value) const override;
  Result<std::string> open(std::string_view key, std::string_view sealed) const override;

  std::shared_ptr<const pki::SealKeys> keys() const { return keys_.load(); }
  void set_keys(pki::SealKeys keys);
  const std::vector<std::string>& prefixes() const noexcept { return prefixes_; }

 private:
  Random& random_;
  std::vector<std::string> prefixes_;
  std::atomic<std::shared_ptr<const pki::SealKeys>> keys_;
};

// "secrets" to "/core/secrets/", the prefix of the keys they are stored under; a group may follow
// ("deployments.apps"). Fails for what is no stored kind, and for Leases and Events.
Result<std::vector<std::string>> encryption_prefixes(const std::vector<std::string>& kinds);

// Runs `command` in a shell and returns what it prints; fails when that takes over `limit`, is over
// a mebibyte, or the command fails. Blocks.
Result<std::string> output_of(const std::string& command, Duration limit);

class Encryption {
 public:
  // Reads the keys, or makes them in a data directory that has none yet. `env.random` must be
  // thread-safe. Blocks. Fails with one line for the user.
  static Result<std::unique_ptr<Encryption>> open(Env env, const ServerOptions& options);
  // Writes keys that another server handed over: the data directory of one that joins.
  static Result<void> adopt(const ServerOptions& options, const std::string& keys_text);

  std::shared_ptr<const store::Sealer> sealer() const { return sealer_; }
  // The keys' text when they were made here, for servers that join; "" when they were given.
  std::string own_keys() const;

  // Begins to look after the objects of `store`, which outlives `group`. `old_free`: whether
  // nothing outside the store's history (a replicated log's entries) needs older keys.
  void start(TaskGroup& group, store::Store& store, std::function<bool()> old_free);

  // Reads file or command again. conflict: a key that is still needed is missing there.
  Task<Result<void>> reload();
  // Keys made here only: puts `key` beside the others, or (seal) before them.
  Task<Result<void>> add_key(std::string key, bool seal);
  // For `skiff encryption status`.
  api::Value status() const;

 private:
  enum class Source : std::uint8_t { file, command, made };
  struct Progress {
    std::string sealed_with;       // every covered object is, on this disk
    std::string kinds;             // that was covered then
    store::Revision revision = 0;  // when that was done
  };
  Encryption(Env env, const ServerOptions& options, Source source,
             std::shared_ptr<KeySealer> sealer, Progress progress);
  static Result<Progress> read_progress(const std::string& path);
  Result<void> write_progress() const;
  bool due() const;
  void kick();
  Task<void> rewrite();
  Task<bool> rewrite_page(std::string prefix, std::string* from);
  Task<void> retire();

  Env env_;
  std::string directory_;
  std::string kinds_;   // as given, joined by commas
  std::string origin_;  // file or command
  Source source_;
  std::shared_ptr<KeySealer> sealer_;
  Progress progress_;
  TaskGroup* group_ = nullptr;
  store::Store* store_ = nullptr;
  std::function<bool()> old_free_;
  bool rewriting_ = false;
  bool again_ = false;
  bool retiring_ = false;
  std::size_t done_ = 0;
  std::size_t total_ = 0;
};

// The same object once more, so that it is sealed anew: an Op that changes nothing but the
// revision, and only if nobody else writes it meanwhile.
store::Op touch(const store::Item& item);

}  // namespace skiff::app
