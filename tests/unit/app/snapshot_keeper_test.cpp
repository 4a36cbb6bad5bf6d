// Scheduled snapshots under virtual time, and databases made of records.
#include <boost/asio/io_context.hpp>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "snapshot.hpp"

namespace skiff::app {
namespace {

namespace fs = std::filesystem;
using store::SnapshotInfo;

class Bench {
 public:
  Bench() : env{io.get_executor(), &clock, &random, &metrics, &blocking} {
    directory = fs::temp_directory_path() / ("skiff-keeper-" + random.uuid());
    fs::create_directories(directory);
  }
  ~Bench() {
    group.cancel();
    run(group.join());
    if (store) run(close(store.get()));
    fs::remove_all(directory);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  template <class T>
  T run(Task<T> task) {
    std::optional<T> out;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr error, T value) {
      if (error) std::rethrow_exception(error);
      out.emplace(std::move(value));
    });
    while (!out) step();
    return std::move(*out);
  }
  void run(Task<void> task) {
    bool done = false;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
      done = true;
    });
    while (!done) step();
  }
  void step() {
    io.restart();
    if (io.poll_one() == 0 && !clock.advance_to_next()) io.run_one_for(10ms);
  }
  void advance(Duration d) { clock.run_for(io, d); }

  void open(std::unique_ptr<store::Log> log) {
    store::StoreOptions options;
    store = std::move(run(store::Store::open(env, std::move(log), options)).value());
  }
  store::Revision put(std::string key) {
    store::Op op;
    op.key = std::move(key);
    op.value = "{}";
    std::vector<store::Op> ops;
    ops.push_back(std::move(op));
    return run(store->commit(std::move(ops))).front().value()->modified;
  }
  KeeperOptions options(Duration every, std::size_t keep) {
    KeeperOptions o;
    o.directory = directory.string() + "/kept";
    o.every = every;
    o.keep = keep;
    return o;
  }
  SnapshotKeeper::Save saving() {
    return [this](std::string path) -> Task<Result<SnapshotInfo>> {
      if (failing) return refuse();
      store::SnapshotOptions how;
      return store::save_snapshot(env, *store, std::move(path), how);
    };
  }
  std::vector<std::string> kept() { return kept_snapshots(directory.string() + "/kept"); }

  asio::io_context io;
  VirtualClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{0};
  Env env;
  TaskGroup group{io.get_executor()};
  fs::path directory;
  std::unique_ptr<store::Store> store;
  bool failing = false;

 private:
  static Task<void> close(store::Store* s) { co_await s->close(); }
  static Task<Result<SnapshotInfo>> refuse() {
    co_return Error{Code::unavailable, "the disk is full"};
  }
};

TEST_CASE("snapshots come on schedule, and old ones go after new ones") {
  Bench b;
  b.open(store::make_memory_log());
  b.put("/a");
  SnapshotKeeper keeper(b.env, b.options(1h, 2), b.saving(), [&] { return b.store->revision(); });
  b.group.spawn("keeper", keeper.run());
  b.advance(1min);
  REQUIRE(b.kept().size() == 1);
  const std::string first = b.kept().front();
  b.advance(3h);
  CHECK(b.kept().size() == 1);  // nothing changed
  b.put("/b");
  b.advance(1h);
  CHECK(b.kept().size() == 2);
  b.put("/c");
  b.failing = true;
  b.advance(1h);
  CHECK(b.kept().size() == 2);
  CHECK(b.kept().front() == first);  // nothing goes before something new is there
  const auto report = b.run(keeper.report()).value();
  CHECK(report["trouble"].as_string() == "the disk is full");
  CHECK(report["items"].size() == 2);
  b.failing = false;
  b.advance(15min);  // sooner than the schedule
  CHECK(b.kept().size() == 2);
  CHECK(b.kept().front() != first);
}

TEST_CASE("a restart goes on with the schedule") {
  Bench b;
  b.open(store::make_memory_log());
  b.put("/a");
  {
    SnapshotKeeper before(b.env, b.options(6h, 5), b.saving(), [&] { return b.store->revision(); });
    REQUIRE(b.run(before.take(false)).has_value());
  }
  b.advance(5h);
  b.put("/b");
  SnapshotKeeper after(b.env, b.options(6h, 5), b.saving(), [&] { return b.store->revision(); });
  b.group.spawn("keeper", after.run());
  b.advance(30min);
  CHECK(b.kept().size() == 1);
  b.advance(40min);
  CHECK(b.kept().size() == 2);
}

TEST_CASE("foreign files are left alone") {
  Bench b;
  b.open(store::make_memory_log());
  b.put("/a");
  const std::string dir = b.directory.string() + "/kept";
  fs::create_directories(dir);
  for (const char* name : {"mine.snapshot", "skiff-notes.txt", "skiff-2026-r1.snapshot"}) {
    std::ofstream(dir + "/" + name) << "x";
  }
  SnapshotKeeper keeper(b.env, b.options(0s, 1), b.saving(), [&] { return b.store->revision(); });
  for (int i = 0; i < 3; ++i) {
    b.advance(1min);
    REQUIRE(b.run(keeper.take(false)).has_value());
  }
  CHECK(b.kept().size() == 1);
  for (const char* name : {"mine.snapshot", "skiff-notes.txt", "skiff-2026-r1.snapshot"}) {
    CHECK(fs::exists(dir + "/" + name));
  }
}

TEST_CASE("a database made of records goes on above what was known") {
  Bench b;
  std::vector<store::Record> records;
  for (const store::Revision at : {7, 3, 5}) {
    auto item = std::make_shared<store::Item>();
    item->key = "/k" + std::to_string(at);
    item->value = "{\"v\":" + std::to_string(at) + "}";
    item->created = item->modified = at;
    store::Record r;
    r.item = std::move(item);
    records.push_back(std::move(r));
  }
  store::SqliteOptions sqlite;
  sqlite.path = b.directory.string() + "/state.db";
  std::vector<store::Record> copy = records;
  REQUIRE(b.run(build_database(b.env, sqlite, std::move(copy), 1000)).has_value());
  b.open(std::move(store::open_sqlite_log(b.env, sqlite).value()));
  CHECK(b.store->revision() > 1000);
  for (const store::Record& r : records) {
    const auto found = b.store->get(r.item->key);
    REQUIRE(found.has_value());
    CHECK((*found)->value == r.item->value);
    CHECK((*found)->modified == r.item->modified);
  }
  CHECK(b.store->range(store::Range{})->items.size() == 3);
  // Whoever knew the other history has to list again.
  store::WatchOptions watch;
  watch.after = 1000;
  CHECK_FALSE(b.store->watch(watch).has_value());
  CHECK(b.put("/new") > 1000);
}

TEST_CASE("a replaced database is kept") {
  Bench b;
  const std::string path = b.directory.string() + "/state.db";
  std::ofstream(path) << "x";
  std::ofstream(path + "-wal") << "y";
  const auto name = set_aside(path, b.clock.wall());
  REQUIRE(name.has_value());
  CHECK(fs::exists(*name));
  CHECK(fs::exists(*name + "-wal"));
  CHECK_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace skiff::app
