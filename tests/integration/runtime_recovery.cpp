#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <sstream>

#include "runtime_fixture.hpp"

extern char** environ;  // NOLINT

using namespace skiff;
using namespace skiff::runtime;
using namespace std::chrono_literals;
using test::RuntimeFixture;

TEST_CASE("a restart takes over what runs and learns what ended") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("trap 'exit 3' TERM; while true; do echo tick; sleep 0.05; done");
  c.labels["app"] = "web";
  c.env = {{"A", "b"}};
  std::string running = f.start(pod, c);
  std::string ended = f.start(pod, f.shell("exit 4"));
  f.wait_exit(ended);
  std::string later = f.start(pod, f.shell("sleep 0.3; exit 5"));
  auto only_created = f.must(f.runtime().create_container(pod, f.shell("exit 6")));
  auto before = *f.runtime().container_status(running);
  f.close();
  ::usleep(600'000);  // one ends while nobody looks
  f.open();
  auto after = *f.runtime().container_status(running);
  CHECK(after.state == ContainerState::running);
  CHECK(after.pid == before.pid);
  CHECK(after.started_at == before.started_at);
  CHECK(after.created_at == before.created_at);
  CHECK(after.config.labels == before.config.labels);
  CHECK(after.config.env == before.config.env);
  CHECK(f.runtime().container_status(ended)->exit_code == 4);
  auto unseen = *f.runtime().container_status(later);
  CHECK(unseen.state == ContainerState::exited);
  CHECK(unseen.exit_code == 5);
  CHECK(unseen.reason == "Error");
  CHECK(f.runtime().sandbox_status(pod)->state == SandboxState::ready);
  // Everything goes on as before.
  f.must(f.runtime().start_container(only_created));
  CHECK(f.wait_exit(only_created).exit_code == 6);
  CHECK(f.must(f.runtime().exec_sync(running, {"/bin/echo", "hi"}, 5s)).out == "hi\n");
  f.must(f.runtime().stop_container(running, 5s));
  CHECK(f.runtime().container_status(running)->exit_code == 3);
  f.must(f.runtime().stop_sandbox(pod));
  f.restart();
  CHECK(f.runtime().sandbox_status(pod)->state == SandboxState::not_ready);
  CHECK(f.runtime().container_status(running)->exit_code == 3);
  f.must(f.runtime().remove_sandbox(pod));
  for (const auto& left : f.leftovers()) FAIL_CHECK(left);
}

TEST_CASE("kill -9 of skiff leaves containers running") {
  RuntimeFixture f;
  f.close();
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], 1);
  posix_spawn_file_actions_addclose(&actions, pipe[0]);
  std::string dir = f.dir();
  char* argv[] = {const_cast<char*>("skiff-test"), const_cast<char*>("victim"), dir.data(),
                  nullptr};
  pid_t victim = 0;
  REQUIRE(::posix_spawn(&victim, "/proc/self/exe", &actions, nullptr, argv, environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  std::string line;
  char ch = 0;
  while (::read(pipe[0], &ch, 1) == 1 && ch != '\n') line.push_back(ch);
  ::close(pipe[0]);
  std::istringstream words(line);
  std::string sandbox, container, second;
  words >> sandbox >> container >> second;
  REQUIRE(second.size() == 64);
  ::kill(victim, SIGKILL);
  int status = 0;
  ::waitpid(victim, &status, 0);
  CHECK(WIFSIGNALED(status));
  std::string log = dir + "/logs/main/0.log";
  auto lines = [&] {
    std::string text = test::read_file(log);
    return std::count(text.begin(), text.end(), '\n');
  };
  auto count = lines();
  ::usleep(1'500'000);
  CHECK(lines() > count);  // it went on, and its log with it
  f.open();
  auto now = *f.runtime().container_status(container);
  CHECK(now.state == ContainerState::running);
  CHECK(now.sandbox_id == sandbox);
  CHECK(now.config.labels.at("app") == "victim");
  auto short_lived = *f.runtime().container_status(second);
  CHECK(short_lived.state == ContainerState::exited);
  CHECK(short_lived.exit_code == 42);
  // In order, and nothing missing.
  std::istringstream numbers(f.output(container));
  int expected = 0;
  for (int n = 0; numbers >> n; ++expected) REQUIRE(n == expected);
  f.must(f.runtime().remove_sandbox(sandbox));
  for (const auto& left : f.leftovers()) FAIL_CHECK(left);
}

TEST_CASE("a dead shim takes its pod down, and nothing else") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string other = f.must(f.runtime().run_sandbox(f.sandbox_config("other")));
  // Found by its command line; other runs of this test have their own.
  std::string nap = "sleep " + std::to_string(100'000 + ::getpid());
  std::string id = f.start(pod, f.shell(nap + "; true"));
  std::string bystander = f.start(other, f.shell("sleep 1000"));
  int shim = f.runtime().sandbox_status(pod)->shim_pid;
  SECTION("while skiff looks on") {
    ::kill(shim, SIGKILL);
    f.wait_for([&] { return f.runtime().sandbox_status(pod)->state == SandboxState::not_ready; },
               "the sandbox to be stopped");
  }
  SECTION("while skiff is away") {
    f.close();
    ::kill(shim, SIGKILL);
    ::usleep(100'000);
    f.open();
  }
  auto status = *f.runtime().container_status(id);
  CHECK(status.state == ContainerState::exited);
  CHECK(status.exit_code == 255);
  CHECK(status.reason == "ContainerStatusUnknown");
  CHECK(f.runtime().sandbox_status(pod)->state == SandboxState::not_ready);
  CHECK(test::processes_matching(std::string("sleep\0"
                                             "6666",
                                             10))
            .empty());
  CHECK(f.runtime().container_status(bystander)->state == ContainerState::running);
  f.must(f.runtime().remove_sandbox(pod));
  f.must(f.runtime().remove_sandbox(other));
  for (const auto& left : f.leftovers()) FAIL_CHECK(left);
}

TEST_CASE("what was half-made is removed") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string id = f.start(pod, f.shell("sleep 1000"));
  f.close();
  SECTION("a sandbox that was never ready") {
    std::filesystem::remove(f.state_dir() + "/sandboxes/" + pod + "/ready");
    f.open();
    CHECK(f.runtime().list_sandboxes().empty());
    for (const auto& left : f.leftovers()) FAIL_CHECK(left);
  }
  SECTION("a directory and nothing else") {
    std::filesystem::create_directories(f.state_dir() + "/sandboxes/torn/containers/x");
    f.open();
    CHECK(!test::exists(f.state_dir() + "/sandboxes/torn"));
    CHECK(f.runtime().list_sandboxes().size() == 1);
  }
  SECTION("a container without its record, a layer without container") {
    std::string torn = f.state_dir() + "/sandboxes/" + pod + "/containers/torn";
    std::filesystem::create_directories(torn);
    std::filesystem::create_directories(f.dir() + "/data/containers/nobody/upper");
    f.open();
    CHECK(!test::exists(torn));
    CHECK(!test::exists(f.dir() + "/data/containers/nobody"));
    CHECK(f.runtime().container_status(id)->state == ContainerState::running);
  }
  SECTION("damaged records") {
    ::truncate((f.state_dir() + "/sandboxes/" + pod + "/sandbox.json").c_str(), 10);
    f.open();
    CHECK(f.runtime().list_sandboxes().empty());
    // Its group is swept all the same, though its record named no pod.
    for (const auto& left : f.leftovers()) FAIL_CHECK(left);
  }
}
