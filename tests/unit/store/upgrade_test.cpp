// Databases of older formats are brought to the present one where they lie.
#include <catch2/catch_test_macros.hpp>

#include "crash_vfs.hpp"
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

void dated_row(sqlite3* db, const std::string& table, const std::string& first, Revision revision,
               Revision previous, Revision created, unsigned flags, const std::string& key,
               const std::string& value) {
  Item item;
  item.key = key;
  item.value = value;
  item.modified = revision;
  item.created = created;
  const std::int64_t time = revision * 1'000'000;
  const auto sum =
      static_cast<std::int64_t>(checksum(item, value, previous, flags, time, "kim/kubectl"));
  run(db, "INSERT INTO " + table + " VALUES(" + first + std::to_string(revision) + "," +
              std::to_string(previous) + "," + std::to_string(created) + "," +
              std::to_string(flags) + "," + std::to_string(sum) + ",'" + key + "',x'',CAST('" +
              value + "' AS BLOB)," + std::to_string(time) + ",'kim/kubectl')");
}

// As the second format had it: /key-0 to /key-9 written again and again, /b made and erased; what
// was superseded up to revision 2002 lies in `history`, a row to each version.
void make_format_2(const std::string& path) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  run(db,
      "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;"
      "CREATE TABLE records(revision INTEGER PRIMARY KEY, previous INTEGER NOT NULL,"
      " created INTEGER NOT NULL, flags INTEGER NOT NULL, checksum INTEGER NOT NULL,"
      " key TEXT NOT NULL, attributes BLOB NOT NULL, value BLOB NOT NULL,"
      " time INTEGER NOT NULL, author TEXT NOT NULL);"
      "CREATE TABLE history(ended INTEGER PRIMARY KEY, until INTEGER NOT NULL,"
      " revision INTEGER NOT NULL, previous INTEGER NOT NULL, created INTEGER NOT NULL,"
      " flags INTEGER NOT NULL, checksum INTEGER NOT NULL, key TEXT NOT NULL,"
      " attributes BLOB NOT NULL, value BLOB NOT NULL, time INTEGER NOT NULL, author TEXT NOT "
      "NULL);"
      "CREATE INDEX history_by_key ON history(key, revision);"
      "CREATE TABLE mark(id INTEGER PRIMARY KEY CHECK(id=1), compacted INTEGER NOT NULL,"
      " ceiling INTEGER NOT NULL, clean INTEGER NOT NULL, moved INTEGER NOT NULL,"
      " history_bytes INTEGER NOT NULL, open INTEGER NOT NULL);"
      "INSERT INTO mark VALUES(1, 0, 2013, 1, 2002, 123456, 0);"
      "PRAGMA application_id=1936419174; PRAGMA user_version=2; BEGIN;");
  const auto ended = [](Revision by, bool erase) {
    return std::to_string(2 * by + (erase ? 1 : 0)) + "," + std::to_string(by * 1'000'000) + ",";
  };
  const std::string filler(400, 'v');
  dated_row(db, "history", ended(2, false), 1, 0, 1, 8, "/b", "b");
  dated_row(db, "history", ended(2, true), 2, 1, 1, 9, "/b", "b");
  for (Revision r = 3; r <= 2012; ++r) {
    const std::string key = "/key-" + std::to_string(r % 10);
    const Revision previous = r < 13 ? 0 : r - 10;
    const Revision created = 3 + (r - 3) % 10;
    const std::string value = std::to_string(r) + filler;
    if (r + 10 <= 2002) {
      dated_row(db, "history", ended(r + 10, false), r, previous, created, 8, key, value);
    } else {
      dated_row(db, "records", "", r, previous, created, 8, key, value);
    }
  }
  run(db, "COMMIT");
  sqlite3_close(db);
}

std::int64_t ask(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  Statement statement;
  REQUIRE(statement.prepare(db, sql) == SQLITE_OK);
  REQUIRE(statement.step() == SQLITE_ROW);
  const std::int64_t answer = statement.integer(0);
  statement.finalize();
  sqlite3_close(db);
  return answer;
}

void check_past_of_format_2(Machine& machine) {
  CHECK(machine.store->get("/b").error().code == Code::not_found);
  CHECK(machine.store->get("/key-3").value()->value.substr(0, 5) == "2003v");
  const auto all = machine.loop.run(machine.log->history({}, 0, 2012, 0)).value();
  REQUIRE(all.size() == 2012);
  for (std::size_t i = 0; i < all.size(); ++i) {
    REQUIRE(all[i].item->modified == static_cast<Revision>(i) + 1);
    REQUIRE(all[i].time == WallTime{std::chrono::seconds(i + 1)});
    REQUIRE(*all[i].author == "kim/kubectl");
  }
  CHECK(all[1].erase);
  const auto one = machine.loop.run(machine.log->history(Range::prefix("/key-7"), 100, 130, 0));
  REQUIRE(one.value().size() == 3);
  CHECK(one.value()[0].item->modified == 107);
  CHECK(one.value()[0].previous == 97);
  const auto then = machine.loop.run(machine.log->state(Range::prefix("/key-"), 1000, 0)).value();
  REQUIRE(then.size() == 10);
  for (const Record& r : then) {
    CHECK(r.item->modified > 990);
    CHECK(r.item->modified <= 1000);
  }
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
  // And the formats before cannot read it any more, which they say themselves.
  CHECK(ask(directory.file(), "PRAGMA user_version") == 3);
  log::set_level(log::Level::info);
}

TEST_CASE("a database of format 2 is upgraded in place, its history included") {
  log::set_level(log::Level::off);
  Directory directory;
  make_format_2(directory.file());
  Machine machine(directory.file());
  machine.options.history = Duration::zero();
  for (int life = 0; life < 3; ++life) {
    REQUIRE(machine.start().has_value());
    check_past_of_format_2(machine);
    machine.stop();
  }
  CHECK(ask(directory.file(), "PRAGMA user_version") == 3);
  CHECK(ask(directory.file(), "SELECT count(*) FROM sqlite_master WHERE name LIKE '%format_2'") ==
        0);
  CHECK(ask(directory.file(), "SELECT count(*) FROM history") > 2);
  CHECK(ask(directory.file(), "SELECT history_bytes-(SELECT sum(bytes) FROM history) FROM mark") ==
        0);
  log::set_level(log::Level::info);
}

TEST_CASE("an upgrade from format 2 goes on where the power went") {
  log::set_level(log::Level::off);
  Directory directory;
  make_format_2(directory.file());
  const std::string before = slurp(directory.file());
  SeededRandom random(7);
  std::uint64_t whole = 0;  // operations of an upgrade that nothing stops
  for (const double part : {1.0, 0.02, 0.2, 0.4, 0.7, 0.9}) {
    const auto cut = static_cast<std::uint64_t>(part * static_cast<double>(whole));
    INFO("power cut at operation " << cut << " of " << whole);
    CrashVfs vfs;
    auto file = std::make_shared<CrashVfs::File>();
    file->now = file->durable = before;
    vfs.files["/crash/db"] = file;
    vfs.fail_from = cut;
    SqliteOptions options;
    options.path = "/crash/db";
    const auto open = [&] {
      auto disk = std::make_shared<Disk>();
      disk->below = vfs.name();
      return SqliteFile::open(options, disk);
    };
    const bool stopped = !open();
    CHECK(stopped == (whole != 0));
    whole = std::max(whole, vfs.operations);
    vfs.crash(random);
    auto opened = open();
    REQUIRE(opened.has_value());
    REQUIRE((*opened)->close().has_value());
    opened->reset();
    spill(directory.file(), file->now);
    Machine machine(directory.file());
    machine.options.history = Duration::zero();
    REQUIRE(machine.start().has_value());
    check_past_of_format_2(machine);
    machine.stop();
  }
  log::set_level(log::Level::info);
}

}  // namespace skiff::store::testing
