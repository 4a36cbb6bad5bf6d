// Atomic volumes and logs, on a real file system.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "logs.hpp"
#include "node_api.hpp"
#include "support/loop.hpp"
#include "volumes.hpp"

using namespace skiff;
using namespace skiff::kubelet;
namespace fs = std::filesystem;

namespace {

struct Directory {
  Directory() {
    std::string name = (fs::temp_directory_path() / "skiff-kubelet-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Directory() { fs::remove_all(path); }
  fs::path path;
};

std::string read(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const fs::path& path, const std::string& text, bool append = false) {
  std::ofstream(path, append ? std::ios::app : std::ios::trunc) << text;
}

struct Reader {
  skiff::test::Loop loop;
  skiff::test::Tasks tasks{loop};
  bool alive = false;
  bool ended = false;
  std::string text;

  void start(const fs::path& path, LogOptions options) {
    tasks.group.spawn("read", run(this, path, std::move(options)));
    loop.run();
  }
  std::string all(const fs::path& path, LogOptions options = {}) {
    text.clear();
    ended = false;
    start(path, std::move(options));
    CHECK(ended);
    return text;
  }
  static Task<bool> take(Reader* self, std::string piece) {
    self->text += piece;
    co_return true;
  }
  static Task<void> run(Reader* self, std::string path, LogOptions options) {
    std::function<bool()> running = [self] { return self->alive; };
    std::function<Task<bool>(std::string)> out = [self](std::string piece) {
      return take(self, std::move(piece));
    };
    const Result<void> done = co_await read_log(self->loop.env, std::move(path), std::move(options),
                                                std::move(running), std::move(out));
    CHECK(done.has_value());
    self->ended = true;
  }
};

constexpr const char* kLog =
    "2026-01-01T00:00:01.5Z stdout F one\n"
    "2026-01-01T00:00:02Z stderr F two\n"
    "2026-01-01T00:00:03Z stdout P thr\n"
    "2026-01-01T00:00:03Z stdout F ee\n"
    "2026-01-01T00:00:04Z stdout F \n";

}  // namespace

TEST_CASE("a volume from the API changes all at once") {
  const Directory d;
  const std::string root = d.path / "v";
  using Files = std::map<std::string, std::pair<std::string, int>>;
  REQUIRE(
      write_atomically(root, Files{{"a", {"1", 0644}}, {"dir/b", {"2", 0600}}}, -1).has_value());
  CHECK(read(d.path / "v/a") == "1");
  CHECK(read(d.path / "v/dir/b") == "2");
  CHECK(fs::read_symlink(d.path / "v/a") == "..data/a");
  CHECK(fs::status(d.path / "v/dir/b").permissions() == fs::perms(0600));
  const fs::path first = fs::read_symlink(d.path / "v/..data");

  // Nothing new: nothing is written.
  REQUIRE(
      write_atomically(root, Files{{"a", {"1", 0644}}, {"dir/b", {"2", 0600}}}, -1).has_value());
  CHECK(fs::read_symlink(d.path / "v/..data") == first);

  // Another value of the same length, a file less, a file more.
  REQUIRE(write_atomically(root, Files{{"a", {"9", 0644}}, {"c", {"", 0644}}}, -1).has_value());
  CHECK(fs::read_symlink(d.path / "v/..data") != first);
  CHECK_FALSE(fs::exists(d.path / "v" / first));
  CHECK(read(d.path / "v/a") == "9");
  CHECK(fs::exists(d.path / "v/c"));
  CHECK_FALSE(fs::exists(fs::symlink_status(d.path / "v/dir")));

  REQUIRE(write_atomically(root, Files{}, -1).has_value());
  CHECK(fs::is_directory(d.path / "v/..data"));
  CHECK_FALSE(fs::exists(fs::symlink_status(d.path / "v/a")));
}

TEST_CASE("reading a container's log") {
  const Directory d;
  const fs::path log = d.path / "0.log";
  write(log, kLog);
  Reader r;
  const auto with = [](auto change) {
    LogOptions options;
    change(options);
    return options;
  };
  CHECK(r.all(log) == "one\ntwo\nthree\n\n");
  CHECK(r.all(log, with([](auto& o) { o.timestamps = true; })) ==
        "2026-01-01T00:00:01.5Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n"
        "2026-01-01T00:00:04Z \n");
  CHECK(r.all(log, with([](auto& o) { o.stream = "Stderr"; })) == "two\n");
  CHECK(r.all(log, with([](auto& o) { o.tail_lines = 1; })) == "\n");
  CHECK(r.all(log, with([](auto& o) { o.tail_lines = 0; })).empty());
  CHECK(r.all(log, with([](auto& o) { o.tail_lines = 100; })) == "one\ntwo\nthree\n\n");
  CHECK(r.all(log, with([](auto& o) { o.limit_bytes = 6; })) == "one\ntw");
  CHECK(r.all(log, with([](auto& o) { o.since = parse_time("2026-01-01T00:00:02Z").value(); })) ==
        "two\nthree\n\n");
  CHECK(r.all(log, with([](auto& o) { o.since = parse_time("2027-01-01T00:00:02Z").value(); }))
            .empty());
  CHECK(r.all(d.path / "none.log").empty());

  write(d.path / "0.log.20260101-000000", "2026-01-01T00:00:00Z stdout F before\n");
  CHECK(r.all(log) == "before\none\ntwo\nthree\n\n");

  CHECK(log_tail(log, 2, 100) == "ee\n\n");
  CHECK(log_tail(log, 100, 5) == "ree\n\n");
  CHECK(log_tail(d.path / "none.log", 5, 5).empty());
}

TEST_CASE("following a log until its container is over") {
  const Directory d;
  const fs::path log = d.path / "0.log";
  Reader r;
  r.alive = true;
  LogOptions options;
  options.follow = true;
  SECTION("one that does not exist yet") {
    r.start(log, options);
    write(log, "2026-01-01T00:00:01Z stdout F one\n");
    r.loop.run(2s);
    CHECK(r.text == "one\n");
  }
  SECTION("one that grows and is rotated") {
    write(log, "2026-01-01T00:00:01Z stdout F one\n");
    r.start(log, options);
    CHECK(r.text == "one\n");
    write(log, "2026-01-01T00:00:02Z stdout F tw", true);
    r.loop.run(2s);
    CHECK(r.text == "one\n");  // no half lines
    write(log, "o\n", true);
    fs::rename(log, d.path / "0.log.20260101-000000");
    write(log, "2026-01-01T00:00:03Z stdout F three\n");
    r.loop.run(2s);
    CHECK(r.text == "one\ntwo\nthree\n");
  }
  CHECK_FALSE(r.ended);
  write(log, "2026-01-01T00:00:04Z stdout F last\n", true);
  r.alive = false;
  r.loop.run(2s);
  CHECK(r.text.ends_with("last\n"));
  CHECK(r.ended);
}

TEST_CASE("who follows a log can be stopped") {
  const Directory d;
  Reader r;
  r.alive = true;
  LogOptions options;
  options.follow = true;
  r.start(d.path / "0.log", options);
  r.tasks.group.cancel();
  r.loop.run();
  CHECK(r.tasks.group.size() == 0);
}

TEST_CASE("what may be asked of a log") {
  const WallTime now = parse_time("2026-01-01T01:00:00Z").value();
  const auto ask = [&](const char* query) {
    return parse_log_options(http::Query::parse(query).value(), now);
  };
  auto options = ask("follow=true&timestamps=true&tailLines=5&limitBytes=9&sinceSeconds=60");
  REQUIRE(options.has_value());
  CHECK(options->follow);
  CHECK(options->timestamps);
  CHECK(options->tail_lines == 5);
  CHECK(options->limit_bytes == 9);
  CHECK(options->since == parse_time("2026-01-01T00:59:00Z").value());
  options = ask("sinceTime=2026-01-01T00:00:00Z");
  REQUIRE(options.has_value());
  CHECK(options->since == parse_time("2026-01-01T00:00:00Z").value());
  for (const char* wrong :
       {"tailLines=-1", "tailLines=x", "limitBytes=0", "sinceSeconds=0", "sinceTime=yesterday"}) {
    INFO(wrong);
    CHECK_FALSE(ask(wrong).has_value());
  }
}
