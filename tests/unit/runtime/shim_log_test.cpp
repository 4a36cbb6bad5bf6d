#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "shim/log_file.hpp"
#include "shim/log_splitter.hpp"

using namespace skiff::runtime::shim;

namespace {

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t some_time = 1'795'457'748 * second + 42;  // 2026-11-23T18:15:48.000000042Z
const std::string stamp = "2026-11-23T18:15:48.000000042Z";

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("time stamps sort as text") {
  std::string out;
  append_log_time(out, some_time);
  CHECK(out == stamp);
  out.clear();
  append_log_time(out, 0);
  CHECK(out == "1970-01-01T00:00:00.000000000Z");
  CHECK(rotation_suffix(some_time) == "20261123-181548");
}

TEST_CASE("output becomes lines") {
  struct Row {
    std::vector<std::string> chunks;
    std::vector<std::string> lines;  // "TAG CONTENT"
  };
  const std::string full(LogSplitter::max_line, 'x');
  const Row rows[] = {
      {{}, {}},
      {{"a\n"}, {"F a"}},
      {{"a\nb\n"}, {"F a", "F b"}},
      {{"a", "b", "c\n"}, {"F abc"}},
      {{"\n\n"}, {"F ", "F "}},
      {{"rest"}, {"P rest"}},
      {{"a\nrest"}, {"F a", "P rest"}},
      {{"a\r\n"}, {"F a\r"}},
      {{full + "\n"}, {"F " + full}},
      {{full, "\n"}, {"F " + full}},
      {{full + "y\n"}, {"P " + full, "F y"}},
      {{full.substr(1), "xyz\n"}, {"P " + full, "F yz"}},
      {{full + full + "end\n"}, {"P " + full, "P " + full, "F end"}},
      {{std::string("nul\0in", 6) + "\n"}, {std::string("F nul\0in", 8)}},
  };
  for (const auto& row : rows) {
    LogSplitter splitter("stdout");
    std::string out;
    for (const auto& chunk : row.chunks) splitter.feed(chunk, some_time, out);
    splitter.finish(some_time, out);
    splitter.finish(some_time, out);
    std::string want;
    for (const auto& line : row.lines) want += stamp + " stdout " + line + "\n";
    CHECK(out == want);
  }
}

TEST_CASE("log files are rotated, the oldest removed") {
  char name[] = "/tmp/skiff-log-XXXXXX";
  std::string dir = ::mkdtemp(name);
  std::string path = dir + "/0.log";
  {
    LogFile log(path, 10, 3);
    REQUIRE(log.open() == 0);
    log.write("first line\n", some_time);
    CHECK(!std::filesystem::exists(path + ".19700101-000000"));
    CHECK(read_file(path + ".20261123-181548") == "first line\n");
    log.write("second line\n", some_time);  // within the second: no second rotation of that name
    CHECK(read_file(path) == "second line\n");
    log.write("third\n", some_time + second);
    CHECK(read_file(path + ".20261123-181549") == "second line\nthird\n");
    log.write("the fourth line\n", some_time + 2 * second);
    CHECK(!std::filesystem::exists(path + ".20261123-181548"));
    CHECK(std::filesystem::exists(path + ".20261123-181550"));
    log.write("x\n", some_time + 3 * second);
    CHECK(read_file(path) == "x\n");
  }
  {
    LogFile again(path, 1000, 3);
    REQUIRE(again.open() == 0);
    again.write("y\n", some_time);
    CHECK(read_file(path) == "x\ny\n");
    std::filesystem::rename(path, path + ".moved");
    REQUIRE(again.reopen() == 0);
    again.write("z\n", some_time);
    CHECK(read_file(path) == "z\n");
  }
  LogFile nowhere("", 10, 3);
  CHECK(nowhere.open() == 0);
  nowhere.write("lost\n", some_time);
  LogFile missing(dir + "/no/such/0.log", 10, 3);
  CHECK(missing.open() == -ENOENT);
  std::filesystem::remove_all(dir);
}
