// A directory that goes with the test, and a store on a database file in it.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fixture.hpp"
#include "sqlite_file.hpp"
#include "sqlite_log.hpp"

namespace skiff::store::testing {

class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "skiff-store-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name = "db") const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Can be closed, or dropped as a crash would, and opened again.
class Machine {
 public:
  explicit Machine(std::string path) {
    options.path = std::move(path);
    loop.threads = true;
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine() { crash(); }

  Result<void> start() {
    disk = std::make_shared<Disk>();
    SKIFF_TRY(auto opened, open_sqlite_log_on(loop.env(), options, disk));
    log = opened.get();
    SKIFF_TRY(store, loop.run(Store::open(loop.env(), std::move(opened), store_options)));
    return {};
  }
  void stop() {
    REQUIRE(loop.run(store->close()).has_value());
    store.reset();
  }
  void crash() { store.reset(); }
  Result<ItemPtr> commit(Op op) { return loop.run(store->commit(ops(std::move(op))))[0]; }
  std::vector<Record> rows() const {
    auto file = SqliteFile::open(options, std::make_shared<Disk>()).value();
    auto reader = file->reader().value();
    std::vector<Record> all;
    for (;;) {
      auto some = reader->read().value();
      if (some.empty()) return all;
      all.insert(all.end(), some.begin(), some.end());
    }
  }

  Loop loop;
  SqliteOptions options;
  StoreOptions store_options;
  std::shared_ptr<Disk> disk;
  Log* log = nullptr;  // the store's
  std::unique_ptr<Store> store;
};

inline std::string message_of(const Result<void>& outcome) {
  return outcome ? "" : outcome.error().message;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Not secret at all, but reversible and bound to a key of one letter.
class ToySealer final : public Sealer {
 public:
  explicit ToySealer(char secret) : secret_(secret) {}
  bool covers(std::string_view key) const override { return key.starts_with("/secrets/"); }
  std::string seal(std::string_view, std::string_view value) const override {
    std::string out(1, secret_);
    for (const char c : value) out += static_cast<char>(c ^ secret_);
    return out;
  }
  Result<std::string> open(std::string_view, std::string_view sealed) const override {
    if (sealed.empty() || sealed[0] != secret_) {
      return Error{Code::not_found, "no key opens it"};
    }
    std::string out;
    for (const char c : sealed.substr(1)) out += static_cast<char>(c ^ secret_);
    return out;
  }

 private:
  char secret_;
};

}  // namespace skiff::store::testing
