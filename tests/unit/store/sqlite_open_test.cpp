// Files that somebody copied, cut or altered, and places that will not do.
#include <sys/vfs.h>

#include <catch2/catch_test_macros.hpp>

#include "machine.hpp"
#include "sqlite_open.hpp"

namespace skiff::store::testing {
namespace {

namespace fs = std::filesystem;

// What a crash after `writes` commits leaves, in `machine`'s directory.
void crash_after(Machine& machine, int writes) {
  REQUIRE(machine.start().has_value());
  for (int i = 0; i < writes; ++i) {
    REQUIRE(machine.commit(put("/" + std::to_string(i), std::string(900, 'v'))).has_value());
  }
  machine.crash();
}

}  // namespace

TEST_CASE("half of a database is noticed") {
  Directory directory;
  Machine machine(directory.file());
  const std::string path = machine.options.path;
  const std::string wal = path + "-wal";
  crash_after(machine, 100);
  REQUIRE(fs::exists(wal));
  SECTION("without its write-ahead log") {
    fs::remove(wal);
    const std::string message = message_of(machine.start());
    CHECK(has(message, "was copied without " + wal));
    // Nothing was altered: with the file back it is whole.
    CHECK(message_of(machine.start()) == message);
  }
  SECTION("and may be accepted as it is") {
    fs::remove(wal);
    fs::remove(path + "-mark");
    spill(wal, "\n");
    REQUIRE(machine.start().has_value());
    machine.stop();
  }
  SECTION("the write-ahead log alone") {
    fs::remove(path);
    CHECK(has(message_of(machine.start()), "but not " + path));
    CHECK(fs::file_size(wal) > 100'000);
    CHECK_FALSE(fs::exists(path));
  }
  SECTION("an older write-ahead log") {
    const std::string old = slurp(wal);
    REQUIRE(machine.start().has_value());
    machine.stop();
    CHECK_FALSE(fs::exists(wal));  // closed in order
    crash_after(machine, 200);
    spill(wal, old);
    CHECK(has(message_of(machine.start()), "was already on disk"));
  }
}

TEST_CASE(
    "a write-ahead log that was cut or altered is noticed where acknowledged writes are lost") {
  Directory directory;
  Machine machine(directory.file());
  const std::string path = machine.options.path;
  const std::string wal = path + "-wal";
  crash_after(machine, 60);
  std::string bytes = slurp(wal);
  // Behind the last frame there is room for the next appends.
  constexpr std::size_t kHead = 32;
  constexpr std::size_t kFrame = 24 + 4096;
  const std::size_t used = bytes.find_last_not_of('\0') + 1 - kHead;
  bytes.resize(kHead + (used + kFrame - 1) / kFrame * kFrame);
  const std::string mark = slurp(path + "-mark");
  const std::string database = slurp(path);
  REQUIRE(mark.size() == 24);
  const auto put_back = [&] {
    spill(path, database);
    spill(path + "-mark", mark);
  };
  SECTION("cut in a frame") {
    for (const std::size_t cut : {bytes.size() - 1, bytes.size() / 2, std::size_t{33}}) {
      put_back();
      spill(wal, bytes.substr(0, cut));
      INFO("cut to " << cut << " of " << bytes.size());
      CHECK(has(message_of(machine.start()), "was already on disk"));
    }
  }
  SECTION("a flipped bit") {
    for (const std::size_t at : {std::size_t{3}, std::size_t{40}, bytes.size() / 2}) {
      put_back();
      std::string altered = bytes;
      altered[at] = static_cast<char>(altered[at] ^ 4);
      spill(wal, altered);
      INFO("altered at " << at);
      CHECK(has(message_of(machine.start()), "was already on disk"));
    }
  }
  SECTION("a torn frame behind the last acknowledged write is nothing") {
    spill(wal, bytes + bytes.substr(bytes.size() - 3000));
    REQUIRE(machine.start().has_value());
    CHECK(machine.store->get("/59").has_value());
    machine.stop();
  }
  SECTION("and may be accepted") {
    spill(wal, bytes.substr(0, bytes.size() / 2));
    REQUIRE_FALSE(machine.start().has_value());
    fs::remove(path + "-mark");
    REQUIRE(machine.start().has_value());
    CHECK(machine.store->get("/5").has_value());
    CHECK_FALSE(machine.store->get("/59").has_value());
    machine.stop();
  }
  SECTION("a torn mark says nothing") {
    spill(path + "-mark", mark.substr(0, 20) + "abcd");
    REQUIRE(machine.start().has_value());
    machine.stop();
  }
}

TEST_CASE("network filesystems are known by name") {
  CHECK(network_filesystem(0x6969) == "NFS");
  CHECK(network_filesystem(0xFF534D42) == "SMB");
  CHECK(network_filesystem(static_cast<std::int32_t>(0xFE534D42)) == "SMB");
  CHECK(network_filesystem(0x01021997) == "9p");
  CHECK(network_filesystem(0xEF53).empty());      // ext4
  CHECK(network_filesystem(0x01021994).empty());  // tmpfs
  CHECK(network_filesystem_of("/proc/none").empty());
}

TEST_CASE("a filesystem without locks is refused with a sentence") {
  Directory directory;
  Machine machine(directory.file());
  auto disk = std::make_shared<Disk>();
  disk->fail_locks = SQLITE_IOERR_LOCK;
  const auto opened = SqliteFile::open(machine.options, disk);
  REQUIRE_FALSE(opened.has_value());
  CHECK(has(opened.error().message, "choose a data directory on a local disk"));
}

}  // namespace skiff::store::testing
