// A real filesystem that fills up.
#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <cstring>

#include "machine.hpp"
#include "skiff/store/snapshot.hpp"

namespace skiff::store::testing {
namespace {

// A tmpfs of some megabytes; gone with the test.
class SmallDisk {
 public:
  SmallDisk() {
    path_ = directory_.file("small");
    std::filesystem::create_directory(path_);
    if (::mount("tmpfs", path_.c_str(), "tmpfs", MS_NODEV | MS_NOSUID, "size=4m") != 0) {
      SKIP("cannot mount a tmpfs: " << std::strerror(errno));
    }
    mounted_ = true;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Leaves `left` bytes.
  void fill(std::uintmax_t left) {
    const auto space = std::filesystem::space(path_);
    if (space.available > left) {
      std::ofstream(file("ballast"), std::ios::app) << std::string(space.available - left, 'x');
    }
  }
  void make_room() { std::filesystem::remove(file("ballast")); }
  void make_read_only() {
    REQUIRE(::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  }

 private:
  Directory directory_;
  std::string path_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("a full filesystem refuses writes with a sentence and loses nothing") {
  log::set_level(log::Level::off);
  SmallDisk disk;
  Machine machine(disk.file("db"));
  REQUIRE(machine.start().has_value());
  int kept = 0;
  std::string refusal;
  for (int round = 0; round < 3; ++round) {
    disk.fill(300'000);
    for (refusal.clear(); refusal.empty();) {
      const auto put =
          machine.commit(testing::put("/" + std::to_string(kept), std::string(2000, 'x')));
      if (put) {
        ++kept;
      } else {
        refusal = put.error().message;
      }
      REQUIRE(kept < 5000);
    }
    CHECK(has(refusal, "the disk is full; make room"));
    CHECK(machine.store->failing().has_value());
    CHECK(machine.store->get("/0").has_value());
    disk.make_room();
    REQUIRE(machine.commit(put("/after", std::to_string(round))).has_value());
    CHECK_FALSE(machine.store->failing().has_value());
  }
  disk.fill(0);
  const bool closed = GENERATE(false, true);
  if (closed) {
    (void)machine.loop.run(machine.store->close());
  }
  machine.crash();
  disk.make_room();
  REQUIRE(machine.start().has_value());
  for (int i = 0; i < kept; ++i) REQUIRE(machine.store->get("/" + std::to_string(i)).has_value());
  CHECK(machine.store->get("/after").value()->value == "2");
  machine.stop();
  log::set_level(log::Level::info);
}

TEST_CASE("a snapshot on a full filesystem leaves nothing behind") {
  SmallDisk disk;
  Directory directory;
  Machine machine(directory.file());
  REQUIRE(machine.start().has_value());
  REQUIRE(machine.commit(put("/a", std::string(1'000'000, 'x'))).has_value());
  const std::string path = disk.file("snapshot");
  const auto save = [&] {
    return machine.loop.run(save_snapshot(machine.loop.env(), *machine.store, path, {}));
  };
  REQUIRE(save().has_value());
  disk.fill(500'000);
  const auto refused = save();
  REQUIRE_FALSE(refused.has_value());
  CHECK(has(refused.error().message, "the disk is full"));
  CHECK_FALSE(std::filesystem::exists(path + ".part"));
  CHECK(check_snapshot(path).has_value());  // the one before
  machine.stop();
}

TEST_CASE("a read-only directory is refused with a sentence") {
  SmallDisk disk;
  Machine machine(disk.file("db"));
  REQUIRE(machine.start().has_value());
  REQUIRE(machine.commit(put("/a", "1")).has_value());
  machine.stop();
  disk.make_read_only();
  CHECK(has(message_of(machine.start()), "read-only"));
}

}  // namespace skiff::store::testing
