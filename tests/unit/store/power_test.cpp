// Power that goes at every write of a workload, and writes that fail at every index: what was
// acknowledged is there, whole, and nothing is there that nobody wrote.
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <set>

#include "crash_vfs.hpp"
#include "skiff/base/log.hpp"
#include "sqlite_file.hpp"

namespace skiff::store::testing {
namespace {

struct Version {
  std::string value;
  Revision revision = 0;
  bool operator==(const Version&) const = default;
};
using State = std::map<std::string, Version>;

// Appends, steps and merges in an order that the seed decides, on one disk.
class Workload {
 public:
  Workload(CrashVfs& vfs, std::uint64_t seed) : vfs_(vfs), random_(seed) {
    options_.path = "/crash/db";
    options_.history_bytes = 6000;
  }

  // False when opening failed.
  bool start() {
    auto disk = std::make_shared<Disk>();
    disk->below = vfs_.name();
    auto opened = SqliteFile::open(options_, disk);
    if (!opened) {
      error_ = opened.error().message;
      return false;
    }
    file_ = std::move(*opened);
    auto reader = file_->reader();
    if (!reader) {
      error_ = reader.error().message;
      return false;
    }
    reader_ = std::move(*reader);
    recovered_ = file_->recovered().revision;
    return true;
  }

  void run(int steps) {
    for (int i = 0; i < steps && vfs_.powered(); ++i) {
      const std::uint64_t what = random_.below(10);
      if (what < 6) append();
      if (what == 6) (void)file_->step(WallTime{});
      if (what == 7) (void)reader_->checkpoint();
      if (what == 8) (void)file_->checkpoint();
      if (what == 9 && random_.below(4) == 0) (void)file_->sync();
    }
  }
  void drop() {
    reader_.reset();
    file_.reset();
  }

  // What is there now against what was acknowledged, with or without the one append of which
  // nobody knows.
  void check() {
    INFO(error_);
    State durable;
    for (;;) {
      const auto records = reader_->read();
      INFO((records ? "" : records.error().message));
      REQUIRE(records.has_value());
      if (records->empty()) break;
      for (const Record& r : *records) {
        REQUIRE(written_.contains(r.item->key + "=" + r.item->value));
        if (!r.is_volatile) durable[r.item->key] = {r.item->value, r.item->modified};
      }
    }
    const bool whole = durable == acked_ || (doubt_ && durable == *doubt_);
    if (!whole) show("recovered", durable), show("acknowledged", acked_);
    REQUIRE(whole);
    REQUIRE(recovered_ >= newest_acked_);
  }

  const std::string& error() const { return error_; }

 private:
  static void show(const char* what, const State& state) {
    std::string text;
    for (const auto& [k, v] : state) text += " " + k + "@" + std::to_string(v.revision);
    UNSCOPED_INFO(what << ":" << text);
  }

  Record make(State& state) {
    auto item = std::make_shared<Item>();
    Record record;
    record.is_volatile = random_.below(4) == 0;
    const char* kind = record.is_volatile ? "/lease/" : "/pods/";
    item->key = kind + std::to_string(random_.below(5));
    State& known = record.is_volatile ? volatile_ : state;
    const auto it = known.find(item->key);
    if (it != known.end()) record.previous = it->second.revision;
    record.erase = it != known.end() && random_.below(4) == 0;
    item->modified = item->created = ++next_;
    item->value = std::to_string(next_) + std::string(random_.below(3) * 2500, 'x');
    written_.insert(item->key + "=" + item->value);
    if (record.erase) {
      known.erase(item->key);
    } else {
      known[item->key] = {item->value, next_};
    }
    record.item = std::move(item);
    return record;
  }

  void append() {
    State after = acked_;
    const State volatile_before = volatile_;
    std::vector<Record> records;
    for (std::uint64_t n = 1 + random_.below(3); n > 0; --n) records.push_back(make(after));
    if (file_->append(records, random_.below(5) == 0)) {
      acked_ = std::move(after);
      newest_acked_ = next_;
      doubt_.reset();
    } else {
      volatile_ = volatile_before;
      doubt_ = std::move(after);
    }
  }

  CrashVfs& vfs_;
  SeededRandom random_;
  SqliteOptions options_;
  std::unique_ptr<SqliteFile> file_;
  std::unique_ptr<SqliteReader> reader_;
  State acked_;
  State volatile_;
  std::optional<State> doubt_;
  std::set<std::string> written_;
  Revision next_ = 1;
  Revision newest_acked_ = 0;
  Revision recovered_ = 0;
  std::string error_;
};

constexpr int kSteps = 60;

std::uint64_t operations_of(std::uint64_t seed) {
  CrashVfs vfs;
  Workload work(vfs, seed);
  REQUIRE(work.start());
  work.run(kSteps);
  return vfs.operations;
}

// The workload of `seed` with the power going at operation `at`.
void lose_power(std::uint64_t seed, std::uint64_t at) {
  INFO("seed " << seed << ", power lost at operation " << at);
  CrashVfs vfs;
  SeededRandom fate(seed * 1'000'003 + at);
  vfs.fail_from = at;
  Workload work(vfs, seed);
  if (work.start()) work.run(kSteps);
  work.drop();
  vfs.crash(fate);
  const bool started = work.start();
  INFO(work.error());
  REQUIRE(started);
  work.check();
}

void fail_once(std::uint64_t seed, std::uint64_t at, int failure) {
  INFO("seed " << seed << ", operation " << at << " fails");
  CrashVfs vfs;
  SeededRandom fate(seed * 1'000'003 + at);
  Workload work(vfs, seed);
  vfs.failure = failure;
  vfs.fail_once = at;
  bool started = work.start();
  if (!started) {
    work.drop();
    started = work.start();
  }
  INFO(work.error());
  REQUIRE(started);
  work.run(kSteps);
  work.drop();
  vfs.crash(fate);
  started = work.start();
  INFO(work.error());
  REQUIRE(started);
  work.check();
}

}  // namespace

TEST_CASE("power lost at any write loses nothing that was acknowledged") {
  log::set_level(log::Level::off);
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const std::uint64_t all = operations_of(seed);
    REQUIRE(all > 100);
    for (std::uint64_t at = 1; at <= all; ++at) lose_power(seed, at);
  }
  log::set_level(log::Level::info);
}

TEST_CASE("a write or sync that fails at any index costs nothing that was acknowledged") {
  log::set_level(log::Level::off);
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    const std::uint64_t all = operations_of(seed);
    for (std::uint64_t at = 1; at <= all; ++at) {
      fail_once(seed, at, at % 2 == 0 ? SQLITE_IOERR : SQLITE_FULL);
    }
  }
  log::set_level(log::Level::info);
}

}  // namespace skiff::store::testing
