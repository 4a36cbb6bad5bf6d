#include "image_layer.hpp"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "image_digest.hpp"
#include "image_extract.hpp"
#include "image_fixture.hpp"

using namespace skiff;
using namespace skiff::runtime;
namespace fs = std::filesystem;

namespace {

Result<UnpackedLayer> unpack(const std::string& bytes, const fs::path& to,
                             UnpackLimits limits = {}) {
  std::size_t at = 0;
  const ByteSource source = [&]() -> Result<std::span<const char>> {
    const std::size_t n = std::min<std::size_t>(1000, bytes.size() - at);
    at += n;
    return std::span<const char>(bytes.data() + at - n, n);
  };
  return unpack_layer(source, to.string(), limits);
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct stat lstat_of(const fs::path& path) {
  struct stat s {};
  ::lstat(path.c_str(), &s);
  return s;
}

}  // namespace

TEST_CASE("paths of strangers") {
  struct Case {
    std::string path, clean;
  };
  for (const auto& c : {Case{"a/b", "a/b"},
                        {"./a//b/", "a/b"},
                        {"/etc/passwd", "etc/passwd"},
                        {"a/../b", "b"},
                        {"", ""},
                        {"./", ""},
                        {"/", ""}}) {
    CAPTURE(c.path);
    CHECK(*clean_path(c.path) == c.clean);
  }
  for (const auto& bad : {std::string("../a"), std::string("a/../../b"), std::string(".."),
                          std::string("a\0b", 3), std::string(5000, 'a'), std::string(300, 'x')}) {
    CAPTURE(bad);
    CHECK(clean_path(bad).error().code == Code::invalid);
  }
}

TEST_CASE("a layer is unpacked with its digests, plain or packed") {
  const std::vector<Entry> entries{{"bin", 'd', "", 0755},
                                   {"bin/tool", 'f', "#!", 04755},
                                   {"bin/link", 'l', "/bin/tool"},
                                   {"bin/twin", 'h', "bin/tool"},
                                   {"données/é", 'f', "é"},
                                   {"fifo", 'p', ""},
                                   {"null", 'c', ""}};
  const std::string tar = tar_of(entries), packed = tar_of(entries, true);
  for (const auto* bytes : {&tar, &packed}) {
    const Scratch to;
    const auto layer = unpack(*bytes, to.path);
    REQUIRE(layer.has_value());
    CHECK(layer->packed == sha256_hex(*bytes));
    if (bytes == &tar) CHECK(layer->diff_id == sha256_hex(tar));
    CHECK(layer->size == 2 + std::string("é").size());
    CHECK(text_of(to.path / "bin/tool") == "#!");
    CHECK((lstat_of(to.path / "bin/tool").st_mode & 07777) == 04755);
    CHECK(lstat_of(to.path / "bin/tool").st_mtime == 1'000'000'000);
    CHECK(lstat_of(to.path / "bin").st_mtime == 1'000'000'000);
    CHECK(fs::read_symlink(to.path / "bin/link") == "/bin/tool");
    CHECK(lstat_of(to.path / "bin/twin").st_ino == lstat_of(to.path / "bin/tool").st_ino);
    CHECK(text_of(to.path / "données/é") == "é");
    CHECK(S_ISFIFO(lstat_of(to.path / "fifo").st_mode));
    CHECK_FALSE(fs::exists(to.path / "null"));  // devices are the runtime's
  }
}

TEST_CASE("nothing leaves the layer") {
  const Scratch outside;
  const std::string out = outside.path.string();
  struct Case {
    const char* what;
    std::vector<Entry> entries;
    bool refused;
  };
  const std::vector<Case> cases{
      {"climbing", {{"../evil", 'f', "x"}}, true},
      {"absolute link as parent", {{"d", 'l', out}, {"d/evil", 'f', "x"}}, false},
      {"relative link as parent",
       {{"d", 'l', "../../../../../.." + out}, {"d/evil", 'f', "x"}},
       false},
      {"link replaced by directory",
       {{"d", 'l', out}, {"d", 'd', ""}, {"d/evil", 'f', "x"}},
       false},
      {"file over a link", {{"evil", 'l', out + "/evil"}, {"evil", 'f', "x"}}, false},
      {"hard link outside", {{"twin", 'h', "../../../../../../etc/passwd"}}, true},
      {"hard link through a link", {{"d", 'l', "/etc"}, {"twin", 'h', "d/passwd"}}, true},
      {"whiteout climbing", {{".wh...", 'f', ""}}, true},
      {"root is a file", {{"/", 'f', "x"}}, false},
      {"loop of links", {{"a", 'l', "b"}, {"b", 'l', "a"}, {"a/evil", 'f', "x"}}, true},
  };
  for (const auto& c : cases) {
    CAPTURE(c.what);
    const Scratch to;
    const auto layer = unpack(tar_of(c.entries), to.path);
    if (c.refused) CHECK_FALSE(layer.has_value());
    CHECK_FALSE(fs::exists(outside.path / "evil"));
    CHECK(fs::is_empty(outside.path));
  }
  CHECK(fs::exists("/etc/passwd"));
}

TEST_CASE("whiteouts take overlayfs's form") {
  if (::geteuid() != 0) SKIP("needs root: trusted xattrs");
  const Scratch to;
  const auto layer = unpack(tar_of({{"a/.wh.gone", 'f', ""},
                                    {"b/.wh..wh..opq", 'f', ""},
                                    {"b/kept", 'f', "x"},
                                    {"c/.wh.back", 'f', ""},
                                    {"c/back", 'd', "", 0755},
                                    {"d/.wh..wh.plnk", 'f', ""}}),
                            to.path);
  REQUIRE(layer.has_value());
  const auto gone = lstat_of(to.path / "a/gone");
  CHECK(S_ISCHR(gone.st_mode));
  CHECK(gone.st_rdev == 0);
  char value[4] = {};
  CHECK(::getxattr((to.path / "b").c_str(), "trusted.overlay.opaque", value, sizeof value) == 1);
  CHECK(value[0] == 'y');
  CHECK(fs::exists(to.path / "b/kept"));
  // Removed and made anew in one layer: what was below stays hidden.
  CHECK(fs::is_directory(to.path / "c/back"));
  CHECK(::getxattr((to.path / "c/back").c_str(), "trusted.overlay.opaque", value, sizeof value) ==
        1);
  CHECK_FALSE(fs::exists(to.path / "d/.wh..wh.plnk"));
}

TEST_CASE("what comes later replaces what came before") {
  const Scratch to;
  const auto layer = unpack(tar_of({{"x", 'd', "", 0755},
                                    {"x/y", 'f', "1"},
                                    {"x", 'f', "file"},
                                    {"z", 'f', "1"},
                                    {"z", 'd', "", 0750},
                                    {"z/w", 'f', "2"}}),
                            to.path);
  REQUIRE(layer.has_value());
  CHECK(text_of(to.path / "x") == "file");
  CHECK(text_of(to.path / "z/w") == "2");
  CHECK((lstat_of(to.path / "z").st_mode & 07777) == 0750);
}

TEST_CASE("limits") {
  const std::string big(3'000'000, 'a');
  struct Case {
    const char* what;
    std::string bytes;
    UnpackLimits limits;
  };
  UnpackLimits small, few;
  small.layer_bytes = 1'000'000;
  few.layer_entries = 2;
  for (const auto& c : {
           Case{"bytes", tar_of({{"a", 'f', big}}), small},
           Case{"packed bytes", tar_of({{"a", 'f', big}}, true), small},
           Case{"entries", tar_of({{"a"}, {"b"}, {"c"}}), few},
       }) {
    CAPTURE(c.what);
    const Scratch to;
    CHECK(unpack(c.bytes, to.path, c.limits).error().code == Code::too_large);
  }
}

TEST_CASE("damaged layers are refused") {
  const std::string good = tar_of({{"a", 'f', std::string(5000, 'x')}}, true);
  for (const auto& bytes : {good.substr(0, good.size() / 2),
                            std::string("not a tar at all, nor anything "
                                        "else that could be one"),
                            std::string(2000, '\x7f')}) {
    const Scratch to;
    CHECK_FALSE(unpack(bytes, to.path).has_value());
  }
  const Scratch to;
  const auto empty = unpack("", to.path);
  REQUIRE(empty.has_value());
  CHECK(empty->diff_id == sha256_hex(""));
}
