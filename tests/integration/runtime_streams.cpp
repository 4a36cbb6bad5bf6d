#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <regex>

#include "runtime_fixture.hpp"

using namespace skiff;
using namespace skiff::runtime;
using namespace std::chrono_literals;
using test::RuntimeFixture;

namespace {

// Reads until `wanted` has come or the stream has ended, at most 5 s.
std::string read_until(RuntimeFixture& f, int fd, const std::string& wanted) {
  std::string text;
  f.wait_for(
      [&] {
        char buffer[4096];
        ssize_t n = ::read(fd, buffer, sizeof buffer);
        if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
        return n == 0 || text.find(wanted) != std::string::npos;
      },
      ("\"" + wanted + "\" in: " + text).c_str());
  return text;
}

}  // namespace

TEST_CASE("logs are in the CRI format") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string id = f.start(pod, f.shell("echo one; echo two >&2; echo -n rest"));
  f.wait_exit(id);
  std::string text = f.log(id);
  std::regex out(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout F one\n)");
  std::regex err(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stderr F two\n)");
  std::regex rest(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout P rest\n)");
  CHECK(std::regex_search(text, out));
  CHECK(std::regex_search(text, err));
  CHECK(std::regex_search(text, rest));
}

TEST_CASE("logs are rotated by size") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("for i in 1 2 3 4 5; do seq 1 3000; sleep 1.1; done");
  c.log_max_bytes = 100'000;
  c.log_max_files = 3;
  std::string id = f.start(pod, c);
  f.wait_exit(id);
  std::filesystem::path log = f.runtime().container_status(id)->log_path;
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(log.parent_path())) {
    CHECK(entry.path().filename().string().starts_with("0.log"));
    ++files;
  }
  CHECK(files == 3);
}

TEST_CASE("a log that was moved away is opened anew") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string id = f.start(pod, f.shell("while true; do echo tick; sleep 0.05; done"));
  std::string path = f.runtime().container_status(id)->log_path;
  f.wait_for([&] { return !f.log(id).empty(); }, "output");
  std::filesystem::rename(path, path + ".old");
  f.must(f.runtime().reopen_log(id));
  f.wait_for([&] { return f.log(id).find("tick") != std::string::npos; }, "output after reopening");
}

TEST_CASE("exec_sync brings back output and exit code") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("touch /marker; while true; do sleep 0.05; done");
  c.env = {{"GREETING", "hello"}};
  std::string id = f.start(pod, c);
  f.wait_for(
      [&] {
        auto r = f.run(f.runtime().exec_sync(id, {"/bin/ls", "/marker"}, 5s));
        return r && r->exit_code == 0;
      },
      "the container's file");
  auto r = f.must(
      f.runtime().exec_sync(id, {"/bin/sh", "-c", "echo $GREETING; echo oops >&2; exit 5"}, 5s));
  CHECK(r.exit_code == 5);
  CHECK(r.out == "hello\n");
  CHECK(r.err == "oops\n");
  r = f.must(f.runtime().exec_sync(
      id, {"/bin/sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/self/status"}, 5s));
  CHECK(r.out.starts_with("/bin/sh -c touch /marker"));
  CHECK(r.out.find("CapEff:\t00000000a80425fb") != std::string::npos);
  CHECK(r.out.find("Seccomp:\t2") != std::string::npos);

  auto missing = f.run(f.runtime().exec_sync(id, {"nosuch"}, 5s));
  REQUIRE(!missing);
  CHECK(missing.error().message.find("executable file not found in $PATH") != std::string::npos);
  auto before = f.env().clock->now();
  auto slow = f.run(f.runtime().exec_sync(id, {"/bin/sleep", "1000"}, 300ms));
  REQUIRE(!slow);
  CHECK(slow.error().code == Code::timeout);
  CHECK(f.env().clock->now() - before < 3s);
  f.wait_for(
      [&] {
        auto ps = f.run(f.runtime().exec_sync(id, {"/bin/ps", "-o", "args"}, 5s));
        return ps && ps->out.find("sleep 1000") == std::string::npos;
      },
      "the process that took too long to be gone");
  // A child that keeps the output open does not hold the caller up.
  r = f.must(f.runtime().exec_sync(id, {"/bin/sh", "-c", "sleep 100 & echo done"}, 5s));
  CHECK(r.out == "done\n");
  // Much output.
  r = f.must(f.runtime().exec_sync(id, {"/bin/sh", "-c", "seq 1 200000"}, 20s));
  CHECK(r.out.size() == 1288895);
  f.must(f.runtime().stop_container(id, 0s));
  auto late = f.run(f.runtime().exec_sync(id, {"/bin/true"}, 5s));
  REQUIRE(!late);
  CHECK(late.error().code == Code::conflict);
}

TEST_CASE("exec streams both ways") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string id = f.start(pod, f.command({"/bin/sleep", "1000"}));
  SECTION("over pipes") {
    auto s = f.must(f.runtime().exec(id, {{"/bin/cat"}, false, true}));
    int in = s->take_stdin();
    int out = s->take_stdout();
    REQUIRE(::write(in, "ping\n", 5) == 5);
    CHECK(read_until(f, out, "ping\n") == "ping\n");
    ::close(in);
    CHECK(f.must(s->wait()) == 0);
    ::close(out);
    CHECK(s->resize({80, 24}).has_error());
  }
  SECTION("over a terminal") {
    auto s = f.must(f.runtime().exec(id, {{"/bin/sh"}, true, true}));
    int in = s->take_stdin();
    int out = s->take_stdout();
    CHECK(s->take_stderr() == -1);
    REQUIRE(s->resize({132, 43}).has_value());
    REQUIRE(::write(in, "stty size; exit 6\n", 18) == 18);
    CHECK(read_until(f, out, "43 132").find("43 132") != std::string::npos);
    CHECK(f.must(s->wait()) == 6);
    ::close(in);
    ::close(out);
  }
  SECTION("let go of, it ends") {
    auto s = f.must(f.runtime().exec(id, {{"/bin/sleep", "5555"}, false, false}));
    s.reset();
    f.wait_for(
        [&] {
          auto ps = f.run(f.runtime().exec_sync(id, {"/bin/ps", "-o", "args"}, 5s));
          return ps && ps->out.find("sleep 5555") == std::string::npos;
        },
        "the abandoned process to be gone");
  }
}

TEST_CASE("attach follows a container's own stdio") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("while read line; do echo got $line; echo err $line >&2; done; exit 4");
  c.stdin_open = true;
  c.stdin_once = true;
  std::string id = f.start(pod, c);
  auto s = f.must(f.runtime().attach(id));
  int in = s->take_stdin();
  int out = s->take_stdout();
  int err = s->take_stderr();
  REQUIRE(::write(in, "one\n", 4) == 4);
  CHECK(read_until(f, out, "got one\n") == "got one\n");
  CHECK(read_until(f, err, "err one\n") == "err one\n");
  ::close(in);
  CHECK(f.must(s->wait()) == 4);
  CHECK(read_until(f, out, "never").empty());
  ::close(out);
  ::close(err);
  CHECK(f.output(id).find("got one\n") != std::string::npos);
}

TEST_CASE("dial reaches the pod's loopback") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto refused = f.run(f.runtime().dial(pod, 9));
  REQUIRE(!refused);
  CHECK(refused.error().message.find("Connection refused") != std::string::npos);
  f.start(pod, f.shell("while true; do echo welcome | nc -l -p 8080; done"));
  int fd = -1;
  f.wait_for(
      [&] {
        auto r = f.run(f.runtime().dial(pod, 8080));
        if (r) fd = *r;
        return fd >= 0;
      },
      "the listener");
  CHECK(read_until(f, fd, "welcome").starts_with("welcome"));
  ::close(fd);
}
