#include <catch2/catch_test_macros.hpp>

#include "made.hpp"
#include "skiff/base/clock.hpp"
#include "status.hpp"
#include "status_writer.hpp"
#include "support/fake_client.hpp"
#include "support/loop.hpp"

using namespace skiff;
using namespace skiff::kubelet;
using made::yaml;

namespace {

StatusInput input(const std::string& words, bool sandbox = true) {
  StatusInput in;
  in.observed = made::seen(words, sandbox);
  in.host_ip = "192.0.2.1";
  in.pod_ip = "10.42.0.5";
  in.now = parse_time("2026-01-02T03:04:05Z").value();
  return in;
}

std::string condition(const Value& status, const std::string& type) {
  for (const Value& c : status["conditions"].items()) {
    if (c["type"].as_string() == type)
      return c["status"].as_string() +
             (c["reason"].is_string() ? " " + c["reason"].as_string() : "");
  }
  return "absent";
}

const std::string kTwo = "containers: [{name: a}, {name: b}]";
const std::string kInit = "containers: [{name: a}], initContainers: [{name: i}]";

}  // namespace

TEST_CASE("phase and conditions") {
  struct Row {
    const char* what;
    std::string spec;
    const char* seen;
    const char* phase;
    const char* initialized;
    const char* ready;
  };
  const Row rows[] = {
      {"nothing made", "{" + kTwo + "}", "", "Pending", "True", "False ContainersNotReady"},
      {"one runs", "{" + kTwo + "}", "a=run", "Pending", "True", "False ContainersNotReady"},
      {"both run", "{" + kTwo + "}", "a=run b=run", "Running", "True", "True"},
      {"one is not ready", "{" + kTwo + "}", "a=run b=unready", "Running", "True",
       "False ContainersNotReady"},
      {"one ended, under Always", "{" + kTwo + "}", "a=run b=1", "Running", "True",
       "False ContainersNotReady"},
      {"both ended, under Always", "{" + kTwo + "}", "a=0 b=0", "Running", "True",
       "False ContainersNotReady"},
      {"both succeeded, under Never", "{restartPolicy: Never, " + kTwo + "}", "a=0 b=0",
       "Succeeded", "True PodCompleted", "False PodCompleted"},
      {"one failed, under Never", "{restartPolicy: Never, " + kTwo + "}", "a=0 b=1", "Failed",
       "True", "False PodFailed"},
      {"one failed, under OnFailure", "{restartPolicy: OnFailure, " + kTwo + "}", "a=0 b=1",
       "Running", "True", "False ContainersNotReady"},
      {"an init container runs", "{" + kInit + "}", "i=run", "Pending",
       "False ContainersNotInitialized", "False ContainersNotReady"},
      {"an init container failed, to be run again", "{" + kInit + "}", "i=1", "Pending",
       "False ContainersNotInitialized", "False ContainersNotReady"},
      {"an init container failed for good", "{restartPolicy: Never, " + kInit + "}", "i=1",
       "Failed", "False ContainersNotInitialized", "False PodFailed"},
      {"initialized", "{" + kInit + "}", "i=0 a=run", "Running", "True", "True"},
      {"an unready sidecar",
       "{containers: [{name: a}], initContainers: [{name: s, restartPolicy: Always}]}",
       "s=unready a=run", "Running", "True", "False ContainersNotReady"},
      {"a readiness gate", "{containers: [{name: a}], readinessGates: [{conditionType: x/y}]}",
       "a=run", "Running", "True", "False ReadinessGatesNotReady"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const Value status = make_status(made::pod(row.spec), input(row.seen));
    CHECK(status["phase"].as_string() == row.phase);
    CHECK(condition(status, "Initialized") == row.initialized);
    CHECK(condition(status, "Ready") == row.ready);
  }
}

TEST_CASE("a pod that is deleted ends in a phase that says how") {
  struct Row {
    const char* spec;
    const char* seen;
    const char* phase;
  };
  const Row rows[] = {
      {"{containers: [{name: a}]}", "a=0", "Succeeded"},
      {"{containers: [{name: a}]}", "a=137", "Failed"},
      {"{containers: [{name: a}]}", "", "Failed"},
      {"{containers: [{name: a}], initContainers: [{name: i}]}", "i=137", "Failed"},
      {"{restartPolicy: OnFailure, containers: [{name: a}]}", "a=1", "Failed"},
  };
  for (const Row& row : rows) {
    INFO(row.spec << " " << row.seen);
    StatusInput in = input(row.seen);
    in.ended = true;
    CHECK(make_status(made::pod(row.spec), in)["phase"].as_string() == row.phase);
  }
}

TEST_CASE("how a container's state is shown") {
  const auto pod = made::pod("{containers: [{name: a, image: demo}]}");
  const auto of = [&](const StatusInput& in) {
    return Value(make_status(pod, in)["containerStatuses"][std::size_t{0}]);
  };
  SECTION("not made yet") {
    CHECK(of(input(""))["state"]["waiting"]["reason"].as_string() == "ContainerCreating");
  }
  SECTION("waiting for init containers") {
    const auto behind = made::pod("{containers: [{name: a}], initContainers: [{name: i}]}");
    const Value s = make_status(behind, input("i=run"));
    CHECK(s["containerStatuses"][std::size_t{0}]["state"]["waiting"]["reason"].as_string() ==
          "PodInitializing");
  }
  SECTION("without its image") {
    StatusInput in = input("");
    in.waiting["a"] = {"ErrImagePull", "no such host"};
    const Value s = of(in);
    CHECK(s["state"]["waiting"] == yaml("{reason: ErrImagePull, message: no such host}"));
    CHECK(s["lastState"].empty());
    CHECK_FALSE(s.has("containerID"));
  }
  SECTION("running") {
    StatusInput in = input("a=run");
    in.observed.containers["a"].started_at = in.now;
    const Value s = of(in);
    CHECK(s["state"]["running"]["startedAt"].as_string() == "2026-01-02T03:04:05Z");
    CHECK(s["ready"].as_bool());
    CHECK(s["started"].as_bool());
    CHECK(s["containerID"].as_string() == "skiff://id-a");
  }
  SECTION("ended and about to run again at once") {
    const Value s = of(input("a=1"));
    CHECK(s["state"]["terminated"]["exitCode"].as_int() == 1);
    CHECK(s["state"]["terminated"]["reason"].as_string() == "Error");
    CHECK_FALSE(s["ready"].as_bool());
  }
  SECTION("backing off") {
    StatusInput in = input("a=1");
    in.waiting["a"] = {"CrashLoopBackOff", "back-off 10s"};
    in.restarts["a"] = 3;
    in.termination_messages["id-a"] = "out of luck";
    const Value s = of(in);
    CHECK(s["state"]["waiting"]["reason"].as_string() == "CrashLoopBackOff");
    CHECK(s["lastState"]["terminated"]["exitCode"].as_int() == 1);
    CHECK(s["lastState"]["terminated"]["message"].as_string() == "out of luck");
    CHECK(s["restartCount"].as_int() == 3);
    in.ended = true;  // then it is how it ended that counts
    CHECK(of(in)["state"].has("terminated"));
  }
  SECTION("running after it failed") {
    StatusInput in = input("a=run");
    in.previous["a"] = made::ended("a", 137, "before");
    in.previous["a"].signal = 9;
    in.previous["a"].reason = "OOMKilled";
    const Value s = of(in);
    CHECK(s["state"].has("running"));
    CHECK(s["lastState"]["terminated"]["reason"].as_string() == "OOMKilled");
    CHECK(s["lastState"]["terminated"]["signal"].as_int() == 9);
    CHECK(s["lastState"]["terminated"]["containerID"].as_string() == "skiff://before");
  }
}

TEST_CASE("a condition keeps the time of its last transition") {
  auto pod = made::pod("{containers: [{name: a}]}");
  pod.set("status",
          yaml("{startTime: '2026-01-01T00:00:00Z', conditions: ["
               "{type: Ready, status: 'True', lastTransitionTime: '2026-01-01T00:00:01Z'},"
               "{type: Initialized, status: 'False', reason: x, "
               "lastTransitionTime: '2026-01-01T00:00:01Z'}]}"));
  const Value status = make_status(pod, input("a=run"));
  CHECK(status["startTime"].as_string() == "2026-01-01T00:00:00Z");
  for (const Value& c : status["conditions"].items()) {
    const bool kept = c["type"].as_string() == "Ready";
    CHECK(c["lastTransitionTime"].as_string() ==
          (kept ? "2026-01-01T00:00:01Z" : "2026-01-02T03:04:05Z"));
    // A patch has to take away a reason that no longer holds.
    if (c["type"].as_string() == "Initialized") CHECK((c.has("reason") && c["reason"].is_null()));
  }
}

TEST_CASE("addresses") {
  Value status = make_status(made::pod("{containers: [{name: a}]}"), input("a=run"));
  CHECK(status["podIP"].as_string() == "10.42.0.5");
  CHECK(status["podIPs"] == yaml("[{ip: 10.42.0.5}]"));
  CHECK(status["hostIP"].as_string() == "192.0.2.1");
  status = make_status(made::pod("{hostNetwork: true, containers: [{name: a}]}"), input("a=run"));
  CHECK(status["podIP"].as_string() == "192.0.2.1");
}

TEST_CASE("what a status already says") {
  struct Row {
    const char* shown;
    const char* wanted;
    bool covered;
  };
  const Row rows[] = {
      {"{phase: Running}", "{phase: Running}", true},
      {"{phase: Running, qosClass: x}", "{phase: Running}", true},
      {"{phase: Running}", "{phase: Failed}", false},
      {"{}", "{phase: Failed}", false},
      {"{}", "{restartCount: 0, ready: false, message: ''}", true},
      {"{reason: x}", "{reason: null}", false},
      {"{}", "{reason: null}", true},
      {"{}", "{lastState: {}}", true},
      {"{c: [{type: A, status: 'True'}, {type: B}]}", "{c: [{type: A, status: 'True'}]}", true},
      {"{c: [{type: B}]}", "{c: [{type: A}]}", false},
      {"{c: [{name: a}]}", "{c: [{name: a}, {name: b}]}", false},
      {"{c: [{name: a}, {name: b}]}", "{c: [{name: a}]}", false},
  };
  for (const Row& row : rows) {
    INFO(row.shown << " " << row.wanted);
    CHECK(covers(yaml(row.shown), yaml(row.wanted)) == row.covered);
  }
}

TEST_CASE("statuses are written together, once, and again when somebody else changes them") {
  const client::Ref pods = client::resources::kPods;
  skiff::test::Loop loop;
  skiff::test::FakeClient api(loop.env);
  StatusWriter writer(loop.env, api);
  skiff::test::Tasks tasks(loop);
  tasks.group.spawn("writer", writer.run());
  for (const char* name : {"p", "q"}) {
    auto pod = made::pod("{nodeName: n}");
    pod.member("metadata").set("name", name);
    pod.member("metadata").set("uid", std::string("uid-") + name);
    REQUIRE(api.create_now(pods.at("default", name), pod).has_value());
  }
  const auto find = [&](const char* name) { return api.find(pods.at("default", name)); };
  const Value wanted = yaml("{phase: Running}");
  const auto before = find("p");
  writer.set(find("p"), wanted);
  writer.set(find("q"), wanted);
  loop.run(1s);
  CHECK(api.batches == 1);
  CHECK((*find("p"))["status"]["phase"].as_string() == "Running");

  writer.set(find("p"), wanted);
  writer.set(before, wanted);  // an old view of the pod: the write is on its way to us
  loop.run(1s);
  CHECK(api.batches == 1);

  auto meddled = find("p")->root();
  meddled.member("status").set("phase", "Pending");
  REQUIRE(api.update_now(pods.at("default", "p").sub("status"), meddled).has_value());
  writer.set(find("p"), wanted);
  loop.run(1s);
  CHECK((*find("p"))["status"]["phase"].as_string() == "Running");

  // A write that fails is tried again.
  bool broken = true;
  api.refuse = [&](std::string_view, const client::Ref&) -> std::optional<Error> {
    if (broken) return Error{Code::unavailable, "later"};
    return std::nullopt;
  };
  writer.set(find("q"), yaml("{phase: Failed}"));
  loop.run(10ms);
  CHECK((*find("q"))["status"]["phase"].as_string() == "Running");
  broken = false;
  loop.run(2s);
  CHECK((*find("q"))["status"]["phase"].as_string() == "Failed");
}
