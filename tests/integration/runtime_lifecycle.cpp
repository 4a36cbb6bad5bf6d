#include <sys/stat.h>

#include <catch2/generators/catch_generators.hpp>
#include <csignal>

#include "runtime_fixture.hpp"

using namespace skiff;
using namespace skiff::runtime;
using namespace std::chrono_literals;
using test::RuntimeFixture;

TEST_CASE("a container runs to its end and tells how") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  struct Row {
    const char* script;
    int code;
    int signal;
    const char* reason;
  };
  const Row rows[] = {{"exit 0", 0, 0, "Completed"},
                      {"exit 3", 3, 0, "Error"},
                      {"echo out; echo err >&2; exit 255", 255, 0, "Error"}};
  for (const auto& row : rows) {
    std::string id = f.start(pod, f.shell(row.script));
    auto status = f.wait_exit(id);
    CHECK(status.exit_code == row.code);
    CHECK(status.signal == row.signal);
    CHECK(status.reason == row.reason);
    REQUIRE(status.started_at);
    REQUIRE(status.finished_at);
    CHECK(*status.started_at <= *status.finished_at);
    CHECK(status.created_at <= *status.started_at);
  }
  // The first process of a PID namespace dies of no signal from within but SIGKILL from outside.
  std::string id = f.start(pod, f.command({"/bin/sleep", "1000"}));
  auto running = *f.runtime().container_status(id);
  REQUIRE(running.pid > 0);
  ::kill(running.pid, SIGKILL);
  auto status = f.wait_exit(id);
  CHECK(status.exit_code == 137);
  CHECK(status.signal == SIGKILL);
  CHECK(status.reason == "Error");
}

TEST_CASE("stopping sends the signal, then waits, then kills") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  // Signals before the trap is set are lost on a namespace's first process.
  auto ready = [&f](const std::string& id) {
    f.wait_for([&] { return f.output(id).starts_with("ready"); }, "the trap");
  };
  SECTION("one that obeys") {
    std::string id = f.start(
        pod, f.shell("trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.05; done"));
    ready(id);
    f.must(f.runtime().stop_container(id, 10s));
    auto status = *f.runtime().container_status(id);
    CHECK(status.state == ContainerState::exited);
    CHECK(status.exit_code == 7);
    CHECK(f.output(id) == "ready\nbye\n");
  }
  SECTION("one that does not") {
    std::string id =
        f.start(pod, f.shell("trap '' TERM; echo ready; while true; do sleep 0.05; done"));
    ready(id);
    auto before = f.env().clock->now();
    f.must(f.runtime().stop_container(id, 500ms));
    auto took = f.env().clock->now() - before;
    CHECK(took >= 500ms);
    CHECK(took < 3s);
    CHECK(f.runtime().container_status(id)->exit_code == 137);
  }
  SECTION("with a signal of its own") {
    auto config = f.shell("trap 'exit 9' USR1; echo ready; while true; do sleep 0.05; done");
    config.stop_signal = "SIGUSR1";
    std::string id = f.start(pod, config);
    ready(id);
    f.must(f.runtime().stop_container(id, 10s));
    CHECK(f.runtime().container_status(id)->exit_code == 9);
  }
  SECTION("what does not run") {
    f.must(f.runtime().stop_container("unknown", 1s));
    std::string id = f.start(pod, f.command({"/bin/true"}));
    f.wait_exit(id);
    f.must(f.runtime().stop_container(id, 1s));
  }
}

TEST_CASE("what cannot be executed is said in upstream's words") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  struct Row {
    std::vector<std::string> command;
    const char* message;
  };
  const Row rows[] = {
      {{"nosuch"}, "exec: \"nosuch\": executable file not found in $PATH"},
      {{"/bin/nosuch"}, "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory"},
      {{"/etc"}, "exec: \"/etc\": is a directory"},
      {{"/etc/passwd"}, "exec: \"/etc/passwd\": permission denied"},
  };
  for (const auto& row : rows) {
    auto config = f.command(row.command);
    config.log_path = "x/0.log";
    std::string id = f.must(f.runtime().create_container(pod, config));
    auto started = f.run(f.runtime().start_container(id));
    REQUIRE(!started);
    CHECK(started.error().message == std::string("failed to start container: ") + row.message);
    auto status = *f.runtime().container_status(id);
    CHECK(status.state == ContainerState::exited);
    CHECK(status.exit_code == 128);
    CHECK(status.reason == "StartError");
    CHECK(status.message == row.message);
    CHECK(!status.started_at);
  }
  auto none = f.command({});
  auto created = f.run(f.runtime().create_container(pod, none));
  REQUIRE(!created);
  CHECK(created.error().message.starts_with("no command specified"));
}

TEST_CASE("calls in the wrong state are refused, or do nothing") {
  RuntimeFixture f;
  auto unknown = f.run(f.runtime().create_container("nope", f.command({"/bin/true"})));
  REQUIRE(!unknown);
  CHECK(unknown.error().code == Code::not_found);
  f.must(f.runtime().stop_sandbox("nope"));
  f.must(f.runtime().remove_sandbox("nope"));
  f.must(f.runtime().remove_container("nope"));
  std::string pod = f.sandbox();
  std::string id = f.start(pod, f.command({"/bin/true"}));
  auto again = f.run(f.runtime().start_container(id));
  REQUIRE(!again);
  CHECK(again.error().code == Code::conflict);
  f.must(f.runtime().stop_sandbox(pod));
  f.must(f.runtime().stop_sandbox(pod));
  CHECK(f.runtime().sandbox_status(pod)->state == SandboxState::not_ready);
  auto late = f.run(f.runtime().create_container(pod, f.command({"/bin/true"})));
  REQUIRE(!late);
  CHECK(late.error().code == Code::conflict);
  auto bad = f.sandbox_config();
  bad.sysctls["kernel.panic"] = "1";
  CHECK(!f.run(f.runtime().run_sandbox(bad)));
  bad = f.sandbox_config();
  bad.runtime_handler = "kata";
  auto handler = f.run(f.runtime().run_sandbox(bad));
  REQUIRE(!handler);
  CHECK(handler.error().code == Code::not_found);
}

TEST_CASE("removing a pod leaves nothing behind") {
  RuntimeFixture f;
  auto config = f.sandbox_config();
  config.share_process_namespace = GENERATE(false, true);
  std::string pod = f.must(f.runtime().run_sandbox(config));
  f.start(pod, f.shell("sleep 1000 & sleep 1000"));
  f.start(pod, f.command({"/bin/true"}));
  auto created = f.command({"/bin/true"});
  f.must(f.runtime().create_container(pod, created));
  CHECK(!f.leftovers().empty());
  f.must(f.runtime().remove_sandbox(pod));
  for (const auto& left : f.leftovers()) FAIL_CHECK(left);
  CHECK(f.runtime().list_containers().empty());
  CHECK(f.runtime().list_sandboxes().empty());
}

TEST_CASE("every change is announced") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string id = f.start(pod, f.command({"/bin/true"}));
  f.wait_exit(id);
  f.must(f.runtime().remove_container(id));
  f.must(f.runtime().remove_sandbox(pod));
  using Type = RuntimeEvent::Type;
  std::vector<Type> seen;
  do {
    auto event = f.run(f.runtime().next_event());
    REQUIRE(event);
    CHECK(event->pod_uid == "pod-uid");
    seen.push_back(event->type);
  } while (seen.back() != Type::sandbox_removed);
  CHECK(seen.front() == Type::sandbox_started);
  for (auto wanted : {Type::container_created, Type::container_exited, Type::container_removed,
                      Type::sandbox_stopped}) {
    CHECK(std::count(seen.begin(), seen.end(), wanted) == 1);
  }
}
