#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "machine.hpp"
#include "skiff/base/random.hpp"

namespace skiff::store::testing {
namespace {

namespace fs = std::filesystem;

Op put_volatile(std::string key, std::string value) {
  Op op = put(std::move(key), std::move(value));
  op.is_volatile = true;
  return op;
}

}  // namespace

TEST_CASE("what was committed is there after closing, and after a crash") {
  const bool crash = GENERATE_COPY(false, true);
  Directory directory;
  Machine machine(directory.file());
  REQUIRE(machine.start().has_value());
  Op first = put("/a", std::string("one\0two", 7));
  first.attributes = {{"node", "n1"}, {"empty", ""}, {std::string(300, 'x'), "long"}};
  REQUIRE(machine.commit(first).has_value());
  REQUIRE(machine.commit(put("/b", "1")).has_value());
  REQUIRE(machine.commit(put("/b", "2")).has_value());
  REQUIRE(machine.commit(put("/c", "1")).has_value());
  REQUIRE(machine.commit(erase("/c")).has_value());
  crash ? machine.crash() : machine.stop();
  REQUIRE(machine.start().has_value());
  Store& store = *machine.store;
  CHECK(store.revision() == 6);
  const auto a = store.get("/a").value();
  CHECK(a->value == first.value);
  CHECK(a->attributes == first.attributes);
  CHECK(store.get("/b").value()->created == 3);
  CHECK(store.get("/c").error().code == Code::not_found);
  const auto past = machine.loop.run(store.history(Range::prefix("/"), 3, 6, 0)).value();
  REQUIRE(past.size() == 3);
  CHECK(past[0].item->value == "2");
  CHECK(past[0].previous == 3);
  CHECK(past[2].erase);
  CHECK(machine.commit(put("/d", "1")).value()->modified == 7);
  machine.stop();
}

TEST_CASE("a durable commit waits for the disk, a volatile one does not") {
  Directory directory;
  Machine machine(directory.file());
  SECTION("full") {
    REQUIRE(machine.start().has_value());
    for (int i = 0; i < 5; ++i) {
      const auto before = machine.disk->syncs.load();
      REQUIRE(machine.commit(put("/a", "1")).has_value());
      CHECK(machine.disk->syncs > before);
    }
  }
  SECTION("relaxed") {
    machine.options.durability = Durability::relaxed;
    REQUIRE(machine.start().has_value());
    REQUIRE(machine.commit(put("/a", "1")).has_value());
    const auto before = machine.disk->syncs.load();
    for (int i = 0; i < 5; ++i) REQUIRE(machine.commit(put("/a", "1")).has_value());
    CHECK(machine.disk->syncs == before);
  }
  SECTION("volatile") {
    REQUIRE(machine.start().has_value());
    REQUIRE(machine.commit(put_volatile("/lease", "1")).has_value());
    const auto before = machine.disk->bytes_written.load();
    for (int i = 0; i < 100; ++i) REQUIRE(machine.commit(put_volatile("/lease", "2")).has_value());
    CHECK(machine.disk->bytes_written == before);
  }
  machine.stop();
}

TEST_CASE("an hour of leases and some events writes little") {
  Directory directory;
  Machine machine(directory.file());
  machine.options.volatile_interval = std::chrono::minutes(10);
  REQUIRE(machine.start().has_value());
  for (int i = 0; i < 50; ++i) {
    REQUIRE(machine.commit(put("/pods/" + std::to_string(i), std::string(2000, 'x'))).has_value());
  }
  const auto before = machine.disk->bytes_written.load();
  for (int i = 0; i < 360; ++i) {
    machine.loop.clock.run_for(machine.loop.io(), std::chrono::seconds(10));
    REQUIRE(machine.commit(put_volatile("/lease", std::string(500, 'x'))).has_value());
    if (i % 60 == 0) {
      Op event = put_volatile("/event" + std::to_string(i), std::string(500, 'x'));
      REQUIRE(machine.commit(std::move(event)).has_value());
    }
  }
  const auto written = machine.disk->bytes_written - before;
  INFO(written << " bytes");
  CHECK(written <= 50'000);
  machine.crash();
  REQUIRE(machine.start().has_value());
  CHECK(machine.store->get("/lease").has_value());
  CHECK(machine.store->get("/event0").has_value());
  CHECK(machine.store->get("/pods/1").has_value());
  machine.stop();
}

TEST_CASE(
    "volatile records survive closing; a crash may lose them, but no revision is used again") {
  Directory directory;
  Machine machine(directory.file());
  REQUIRE(machine.start().has_value());
  REQUIRE(machine.commit(put("/a", "1")).has_value());
  REQUIRE(machine.commit(put_volatile("/lease", "1")).has_value());
  REQUIRE(machine.commit(put_volatile("/lease", "2")).has_value());
  SECTION("closed") {
    machine.stop();
    REQUIRE(machine.start().has_value());
    CHECK(machine.store->get("/lease").value()->value == "2");
    CHECK(machine.store->revision() == 4);
    CHECK(machine.store->watch({.range = Range::prefix("/"), .after = 2}).has_value());
  }
  SECTION("crash") {
    machine.crash();
    REQUIRE(machine.start().has_value());
    CHECK(machine.store->get("/a").has_value());
    CHECK(machine.store->get("/lease").error().code == Code::not_found);
    CHECK(machine.store->revision() > 4);
    // Who has seen what is lost must list again.
    CHECK(machine.store->watch({.range = Range::prefix("/"), .after = 4}).error().code ==
          Code::expired);
    CHECK(machine.store->watch({.range = Range::prefix("/"), .after = machine.store->revision()})
              .has_value());
  }
  machine.stop();
}

namespace {

// Random Ops of both sorts on few keys, compactions and flushes; closed cleanly it must come back
// the same, and once all is compacted hold nothing but what is alive.
void random_volatile_run(std::uint64_t seed) {
  SeededRandom random(seed);
  Directory directory;
  Machine machine(directory.file());
  machine.options.volatile_interval = std::chrono::seconds(20);
  machine.options.durability = Durability::relaxed;
  machine.store_options.history = Duration::zero();
  std::map<std::string, std::string> model;
  for (int life = 0; life < 6; ++life) {
    REQUIRE(machine.start().has_value());
    std::map<std::string, std::string> found;
    for (const auto& item : machine.store->range(Range::prefix("/")).value().items) {
      found[item->key] = item->value;
    }
    REQUIRE(found == model);
    for (int step = 0; step < 150; ++step) {
      std::vector<Op> batch;
      for (std::uint64_t n = random.below(4); n > 0; --n) {
        const std::string key = "/" + std::to_string(random.below(6));
        Op op = random.below(3) == 0 ? erase(key) : put(key, random.name_suffix(6));
        op.is_volatile = random.below(3) != 0;
        const bool erases = op.type == Op::Type::erase;
        if (erases && !model.contains(key)) continue;
        if (erases) model.erase(key);
        if (!erases) model[key] = op.value;
        batch.push_back(std::move(op));
      }
      for (const auto& v : machine.loop.run(machine.store->commit(std::move(batch))))
        REQUIRE(v.has_value());
      machine.loop.clock.run_for(machine.loop.io(), std::chrono::seconds(random.below(10)));
      if (random.below(10) == 0) {
        const auto back = static_cast<Revision>(random.below(20));
        const Revision to = std::max<Revision>(machine.store->revision() - back, 0);
        REQUIRE(machine.loop.run(machine.store->compact(to)).has_value());
      }
    }
    machine.stop();
  }
  // Compacting to the end leaves one row a key.
  auto file = SqliteFile::open(machine.options, std::make_shared<Disk>()).value();
  file->forget(file->recovered().revision);
  while (file->step(WallTime{}).value() != SqliteFile::Left::nothing) {
  }
  file.reset();
  CHECK(machine.rows().size() == model.size());
}

}  // namespace

TEST_CASE("volatile and durable records of one key stay in order on disk") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    INFO("seed " << seed);
    random_volatile_run(seed);
  }
}

TEST_CASE("a full disk fails writes clearly, and writes work again once there is room") {
  log::set_level(log::Level::off);
  Directory directory;
  Machine machine(directory.file());
  REQUIRE(machine.start().has_value());
  REQUIRE(machine.commit(put("/a", "1")).has_value());
  const bool sync = GENERATE(false, true);
  (sync ? machine.disk->fail_syncs : machine.disk->fail_writes) =
      sync ? SQLITE_IOERR_FSYNC : SQLITE_FULL;
  for (int i = 0; i < 3; ++i) {
    const auto refused = machine.commit(put("/b", std::string(5000, 'x')));
    REQUIRE(!refused);
    CHECK(refused.error().code == Code::unavailable);
    if (!sync) CHECK(has(refused.error().message, "the disk is full"));
    CHECK(machine.store->get("/a").has_value());
    CHECK(machine.store->get("/b").error().code == Code::not_found);
  }
  CHECK(machine.store->failing());
  machine.disk->fail_syncs = machine.disk->fail_writes = SQLITE_OK;
  REQUIRE(machine.commit(put("/c", "1")).has_value());
  CHECK_FALSE(machine.store->failing());
  machine.crash();
  REQUIRE(machine.start().has_value());
  CHECK(machine.store->get("/a").has_value());
  CHECK(machine.store->get("/b").error().code == Code::not_found);
  CHECK(machine.store->get("/c").has_value());
  machine.stop();
  log::set_level(log::Level::info);
}

namespace {

// A hundred keys of 1 KB, again and again.
void overwrite(Machine& machine, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    std::vector<Op> batch;
    for (int i = 0; i < 100; ++i)
      batch.push_back(put("/" + std::to_string(i), std::string(1000, 'x')));
    for (const auto& v : machine.loop.run(machine.store->commit(std::move(batch))))
      REQUIRE(v.has_value());
  }
}

}  // namespace

TEST_CASE("overwriting for long keeps file and memory bounded") {
  Directory directory;
  Machine machine(directory.file());
  machine.store_options.history_bytes = 1U << 20U;
  machine.options.history_bytes = 1U << 20U;
  REQUIRE(machine.start().has_value());
  overwrite(machine, 300);
  CHECK(machine.store->compacted() > 20'000);
  CHECK(fs::file_size(machine.options.path + "-wal") < 9'000'000);
  CHECK(fs::file_size(machine.options.path) < 16'000'000);
  machine.stop();
  CHECK(machine.rows().size() < 9'000);
}

TEST_CASE("space is given back while nothing is written") {
  Directory directory;
  Machine machine(directory.file());
  machine.options.history = Duration::zero();
  machine.options.history_bytes = 0;
  REQUIRE(machine.start().has_value());
  overwrite(machine, 200);
  CHECK(fs::file_size(machine.options.path) > 16'000'000);
  REQUIRE(machine.loop.run(machine.store->compact(machine.store->revision())).has_value());
  for (int wait = 0; wait < 2000 && fs::file_size(machine.options.path) > 8'000'000; ++wait)
    std::this_thread::sleep_for(10ms);
  CHECK(fs::file_size(machine.options.path) <= 8'000'000);
  machine.stop();
}

TEST_CASE("a file that cannot be used is refused with a sentence that says what to do") {
  Directory directory;
  const std::string path = directory.file();
  Machine machine(path);
  const auto make = [&] {
    REQUIRE(machine.start().has_value());
    for (int i = 0; i < 200; ++i) {
      REQUIRE(machine.commit(put("/" + std::to_string(i), std::string(900, 'v'))).has_value());
    }
    machine.stop();
  };
  const auto overwrite = [&](std::streamoff at, const std::string& bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file << bytes;
  };
  SECTION("locked") {
    REQUIRE(machine.start().has_value());
    Machine second(path);
    CHECK(has(message_of(second.start()), "another skiff uses"));
    REQUIRE(machine.commit(put("/a", "1")).has_value());
    machine.stop();
    CHECK(second.start().has_value());
  }
  SECTION("not a database") {
    std::ofstream(path) << std::string(10'000, 'x');
    CHECK(has(message_of(machine.start()), path + " is damaged"));
  }
  SECTION("a flipped byte in a value") {
    make();
    overwrite(20 * 4096 + 2000, "w");
    CHECK(has(message_of(machine.start()), "does not match its checksum"));
  }
  SECTION("a page of nonsense") {
    make();
    overwrite(20 * 4096, std::string(4096, '\x7f'));
    CHECK(has(message_of(machine.start()), path + " is damaged"));
  }
  SECTION("cut short") {
    make();
    fs::resize_file(path, fs::file_size(path) / 2);
    CHECK(has(message_of(machine.start()), path + " is damaged"));
  }
  SECTION("another program's database") {
    make();
    overwrite(68, "abcd");
    CHECK(has(message_of(machine.start()), "is not a skiff database"));
  }
  SECTION("a newer format") {
    make();
    overwrite(60, std::string("\0\0\0\x07", 4));
    CHECK(has(message_of(machine.start()), "newer skiff (format 7"));
  }
  SECTION("no directory") {
    machine.options.path = directory.file("none/db");
    CHECK(has(message_of(machine.start()), "its directory must exist"));
  }
  SECTION("an empty file is a new database") {
    std::ofstream(path).flush();
    REQUIRE(machine.start().has_value());
    machine.stop();
  }
}

}  // namespace skiff::store::testing
