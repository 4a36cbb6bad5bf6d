// A database of format 1 is brought to format 2 where it lies.
#include <catch2/catch_test_macros.hpp>

#include "machine.hpp"
#include "record_codec.hpp"

namespace skiff::store::testing {
namespace {

void run(sqlite3* db, const std::string& sql) {
  char* why = nullptr;
  const int code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &why);
  INFO((why != nullptr ? why : ""));
  REQUIRE(code == SQLITE_OK);
}

// As the first release wrote it: /a twice, /b made and erased, /c volatile.
void make_format_1(const std::string& path) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  run(db,
      "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;"
      "CREATE TABLE records(revision INTEGER PRIMARY KEY, previous INTEGER NOT NULL,"
      " created INTEGER NOT NULL, flags INTEGER NOT NULL, checksum INTEGER NOT NULL,"
      " key TEXT NOT NULL, attributes BLOB NOT NULL, value BLOB NOT NULL);"
      "CREATE TABLE mark(id INTEGER PRIMARY KEY CHECK(id=1), compacted INTEGER NOT NULL,"
      " ceiling INTEGER NOT NULL, clean INTEGER NOT NULL);"
      "INSERT INTO mark VALUES(1, 1, 9, 1);"
      "PRAGMA application_id=1936419174; PRAGMA user_version=1;");
  const auto row = [&](Revision revision, Revision previous, Revision created, unsigned flags,
                       const std::string& key, const std::string& value) {
    Item item;
    item.key = key;
    item.value = value;
    item.modified = revision;
    item.created = created;
    const auto sum = static_cast<std::int64_t>(checksum(item, previous, flags));
    run(db, "INSERT INTO records VALUES(" + std::to_string(revision) + "," +
                std::to_string(previous) + "," + std::to_string(created) + "," +
                std::to_string(flags) + "," + std::to_string(sum) + ",'" + key + "',x'',CAST('" +
                value + "' AS BLOB))");
  };
  row(2, 0, 2, 0, "/a", "one");
  row(3, 2, 2, 0, "/a", "two");
  row(4, 0, 4, 0, "/b", "b");
  row(5, 4, 4, 1, "/b", "b");
  row(9, 0, 9, 2, "/c", "lease");
  sqlite3_close(db);
}

}  // namespace

TEST_CASE("the checksum of format 1 is what it was") {
  Item item;
  item.key = "/a";
  item.value = "one";
  item.created = item.modified = 2;
  CHECK(checksum(item, 0, 0) == 0x75ac71f32a7d48a4ULL);
}

TEST_CASE("a database of format 1 is upgraded in place") {
  log::set_level(log::Level::off);
  Directory directory;
  make_format_1(directory.file());
  Machine machine(directory.file());
  for (int life = 0; life < 3; ++life) {
    REQUIRE(machine.start().has_value());
    CHECK(machine.store->get("/a").value()->value == "two");
    CHECK(machine.store->get("/b").error().code == Code::not_found);
    CHECK(machine.store->get("/c").value()->value == "lease");
    CHECK(machine.store->revision() >= 9);
    const auto past = machine.loop.run(machine.log->history(Range::prefix("/"), 1, 9, 0)).value();
    REQUIRE(past.size() == 5);
    CHECK(past[0].item->value == "one");
    CHECK(past[0].time == WallTime{});
    CHECK(past[0].author == nullptr);
    CHECK(past[3].erase);
    const auto then = machine.loop.run(machine.log->state(Range::prefix("/"), 4, 0)).value();
    REQUIRE(then.size() == 2);
    CHECK(then[1].item->value == "b");
    if (life == 1) {  // enough for old rows to move
      for (int i = 0; i < 600; ++i) REQUIRE(machine.commit(put("/d", "1")).has_value());
    }
    machine.stop();
  }
  // And the format before cannot read it any more, which it says itself.
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(directory.file().c_str(), &db) == SQLITE_OK);
  Statement version;
  REQUIRE(version.prepare(db, "PRAGMA user_version") == SQLITE_OK);
  REQUIRE(version.step() == SQLITE_ROW);
  CHECK(version.integer(0) == 2);
  version.finalize();
  sqlite3_close(db);
  log::set_level(log::Level::info);
}

}  // namespace skiff::store::testing
