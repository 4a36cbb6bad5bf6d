// A pod's life under virtual time: everything is real but the runtime and the API server.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "fake_runtime.hpp"
#include "made.hpp"
#include "pod_worker.hpp"
#include "support/fake_client.hpp"
#include "support/loop.hpp"

using namespace skiff;
using namespace skiff::kubelet;
using client::resources::kPods;
using made::yaml;
namespace fs = std::filesystem;

namespace {

const client::Ref kPod = kPods.at("default", "web");

struct Directory {
  Directory() {
    std::string name = (fs::temp_directory_path() / "skiff-worker-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Directory() { fs::remove_all(path); }
  std::string path;
};

runtime::ImageOptions image_options(const std::string& root) {
  runtime::ImageOptions options;
  options.root = root + "/images";
  return options;
}

Options kubelet_options(const std::string& root) {
  Options options;
  options.node_name = "n1";
  options.node_ip = "192.0.2.1";
  options.root_dir = root + "/kubelet";
  options.memory_dir = root + "/memory";
  options.log_dir = root + "/logs";
  return options;
}

// A node that runs one pod on the host's network.
struct Node {
  skiff::test::Loop loop;
  Directory directory;
  skiff::test::FakeClient api{loop.env};
  made::FakeRuntime runtime{loop.env};
  runtime::ImageStore images{loop.env, image_options(directory.path)};
  Options options = kubelet_options(directory.path);
  ObjectWatches objects{loop.env, api};
  Volumes volumes{loop.env, api, objects, options.root_dir, options.memory_dir};
  client::EventRecorder events{loop.env, api, "kubelet", "n1"};
  ImagePuller puller{loop.env, images, objects, events, ""};
  StatusWriter statuses{loop.env, api};
  http::Client probes{loop.env};
  client::Informer services{loop.env, api, client::resources::kServices};
  client::Informer pods{loop.env, api, kPods};
  std::map<std::string, std::string> allocatable;
  Context context{loop.env, api,      runtime, nullptr, options,  objects,    volumes,
                  puller,   statuses, events,  probes,  services, allocatable};
  std::unique_ptr<PodWorker> worker;
  bool ended = false;
  skiff::test::Tasks tasks{loop};

  explicit Node(const std::string& spec, const std::string& status = "{}") {
    const std::string program = directory.path + "/program";
    std::ofstream(program) << "not to be run";
    images.register_builtin("demo:1", program, {});
    tasks.group.spawn("open images", open(&images));
    loop.run();
    Value pod = made::pod(spec);
    pod.member("spec").set("hostNetwork", true);
    pod.member("spec").set("nodeName", "n1");
    if (!pod["spec"].has("terminationGracePeriodSeconds"))
      pod.member("spec").set("terminationGracePeriodSeconds", 30);
    pod.set("status", yaml(status));
    REQUIRE(api.create_now(kPod, std::move(pod)).has_value());
    events.start(tasks.group);
    tasks.group.spawn("statuses", statuses.run());
    worker = std::make_unique<PodWorker>(context, api.find(kPod));
    pods.add_handler([this](const ObjectPtr&, const ObjectPtr& now) {
      if (!ended) worker->update(now);
    });
    pods.start(tasks.group);
  }
  ~Node() {
    tasks.group.cancel();
    loop.run();
    tasks.group.spawn("stop watches", objects.stop());
    loop.run();
  }
  void start() {
    tasks.group.spawn("worker", run(this));
    loop.run(10ms);
  }
  static Task<void> open(runtime::ImageStore* images) {
    const Result<void> opened = co_await images->open();
    CHECK(opened.has_value());
  }
  static Task<void> run(Node* self) {
    co_await self->worker->run();
    self->ended = true;
  }
  void exit(const std::string& name, int code) {
    runtime.exit(name, code);
    worker->poke();
    loop.run(10ms);
  }
  Value status() { return Value((*api.find(kPod))["status"]); }
  Value container(std::size_t i = 0) { return Value(status()["containerStatuses"][i]); }
  std::string waiting() { return container()["state"]["waiting"]["reason"].as_string(); }
  std::size_t events_of(const std::string& reason) {
    loop.run(5s);
    std::size_t n = 0;
    for (const auto& e : api.all(client::resources::kEvents))
      n += (*e)["reason"].as_string() == reason ? 1 : 0;
    return n;
  }
};

const std::string kDemo = "image: 'demo:1', imagePullPolicy: IfNotPresent";

}  // namespace

TEST_CASE("a pod starts and says so") {
  Node node("{containers: [{name: a, " + kDemo + "}, {name: b, " + kDemo + "}]}");
  node.start();
  CHECK(node.runtime.sandboxes.size() == 1);
  CHECK(node.runtime.history == std::vector<std::string>{"run a", "run b"});
  CHECK(node.status()["phase"].as_string() == "Running");
  CHECK(node.status()["podIP"].as_string() == "192.0.2.1");
  CHECK(node.container(1)["ready"].as_bool());
  const auto writes = node.api.writes;
  node.loop.run(1h);
  CHECK(node.api.writes <= writes + 12);  // its events, and nothing more
  CHECK(node.events_of("Started") > 0);
}

TEST_CASE("init containers go first, once, and again in a new sandbox") {
  Node node("{containers: [{name: a, " + kDemo + "}], initContainers: [{name: i, " + kDemo +
            "}, {name: j, " + kDemo + "}]}");
  node.start();
  CHECK(node.runtime.history == std::vector<std::string>{"run i"});
  node.exit("i", 0);
  node.exit("j", 0);
  CHECK(node.runtime.history == std::vector<std::string>{"run i", "run j", "run a"});
  node.runtime.sandboxes.begin()->second.state = runtime::SandboxState::not_ready;
  node.exit("a", 137);
  CHECK(node.runtime.history.back() == "run i");
  CHECK(node.status()["phase"].as_string() == "Pending");
  node.exit("i", 0);
  node.exit("j", 0);
  node.loop.run(1min);
  CHECK(node.runtime.history.back() == "run a");
  CHECK(node.container()["restartCount"].as_int() == 1);
  CHECK(node.container()["lastState"]["terminated"]["exitCode"].as_int() == 137);
}

TEST_CASE("a container that keeps failing is restarted at once, then after 10 s, 20 s, 40 s") {
  Node node("{restartPolicy: Always, containers: [{name: a, " + kDemo + "}]}");
  node.start();
  node.exit("a", 1);
  CHECK(node.runtime.history.size() == 2);
  std::size_t runs = 2;
  for (const auto wait : {10s, 20s, 40s}) {
    node.exit("a", 1);
    CHECK(node.runtime.history.size() == runs);
    CHECK(node.waiting() == "CrashLoopBackOff");
    CHECK(node.container()["lastState"]["terminated"]["exitCode"].as_int() == 1);
    node.loop.run(wait - 100ms);
    CHECK(node.runtime.history.size() == runs);
    node.loop.run(200ms);
    CHECK(node.runtime.history.size() == ++runs);
    CHECK(node.container()["state"].has("running"));
  }
  CHECK(node.container()["restartCount"].as_int() == 4);
  CHECK(node.runtime.containers.size() == 2);  // older ones are removed

  // Ten minutes of good conduct are rewarded.
  node.loop.run(11min);
  node.exit("a", 1);
  CHECK(node.runtime.history.size() == runs + 1);
}

TEST_CASE("a pod whose containers are not restarted ends, and is not run again") {
  Node node("{restartPolicy: Never, containers: [{name: a, " + kDemo + "}]}");
  node.start();
  node.exit("a", 3);
  node.loop.run(1min);
  CHECK(node.status()["phase"].as_string() == "Failed");
  CHECK(node.container()["state"]["terminated"]["exitCode"].as_int() == 3);
  CHECK(node.runtime.history == std::vector<std::string>{"run a"});
  CHECK(node.runtime.sandboxes.begin()->second.state == runtime::SandboxState::not_ready);
}

TEST_CASE("a pod that the API says has ended is not run by a new kubelet") {
  Node node("{restartPolicy: Always, containers: [{name: a, " + kDemo + "}]}",
            "{phase: Failed, reason: DeadlineExceeded}");
  node.start();
  node.loop.run(1min);
  CHECK(node.runtime.history.empty());
  CHECK(node.status()["reason"].as_string() == "DeadlineExceeded");
}

TEST_CASE("a pod that has been active for too long is stopped") {
  Node node("{activeDeadlineSeconds: 60, containers: [{name: a, " + kDemo + "}]}");
  node.start();
  node.loop.run(59s);
  CHECK(node.runtime.running() == 1);
  node.loop.run(5s);
  CHECK(node.runtime.running() == 0);
  CHECK(node.status()["phase"].as_string() == "Failed");
  CHECK(node.status()["reason"].as_string() == "DeadlineExceeded");
}

TEST_CASE("a liveness probe that fails gets the container restarted") {
  Node node(
      "{containers: [{name: a, " + kDemo +
      ", livenessProbe: {exec: {command: [check]}, periodSeconds: 5, failureThreshold: 2}}]}");
  node.start();
  node.loop.run(1min);
  CHECK(node.runtime.running() == 1);
  node.runtime.exec_exit_code = 1;
  node.loop.run(4s);
  const auto stops = [&] {
    return std::count(node.runtime.history.begin(), node.runtime.history.end(), "stop a");
  };
  CHECK(stops() == 0);
  node.loop.run(7s);
  node.runtime.exec_exit_code = 0;
  node.loop.run(1s);
  CHECK(stops() == 1);
  CHECK(node.container()["restartCount"].as_int() == 1);
  CHECK(node.runtime.running() == 1);
  CHECK(node.events_of("Unhealthy") > 0);
  CHECK(node.events_of("Killing") > 0);
}

TEST_CASE("readiness follows its probe") {
  Node node(
      "{containers: [{name: a, " + kDemo +
      ", readinessProbe: {exec: {command: [check]}, periodSeconds: 5, failureThreshold: 1}}]}");
  node.runtime.exec_exit_code = 1;
  node.start();
  node.loop.run(30s);
  CHECK_FALSE(node.container()["ready"].as_bool());
  CHECK(node.container()["started"].as_bool());
  node.runtime.exec_exit_code = 0;
  node.loop.run(6s);
  CHECK(node.container()["ready"].as_bool());
  node.runtime.exec_exit_code = 1;
  node.loop.run(6s);
  CHECK_FALSE(node.container()["ready"].as_bool());
}

TEST_CASE("a probe by gRPC is refused in plain words") {
  Node node("{containers: [{name: a, " + kDemo +
            ", readinessProbe: {grpc: {port: 1}, periodSeconds: 1, failureThreshold: 1}}]}");
  node.start();
  node.loop.run(10s);
  CHECK_FALSE(node.container()["ready"].as_bool());
  bool told = false;
  for (const auto& e : node.api.all(client::resources::kEvents)) {
    told = told || (*e)["message"].as_string().find("cannot probe by gRPC") != std::string::npos;
  }
  CHECK(told);
}

TEST_CASE("a deleted pod stops its containers, then its sidecars in reverse, then it is gone") {
  Node node("{containers: [{name: a, " + kDemo +
            ", lifecycle: {preStop: {exec: {command: [bye]}}}}], initContainers: [{name: s, " +
            kDemo + ", restartPolicy: Always}, {name: t, " + kDemo + ", restartPolicy: Always}]}");
  node.start();
  CHECK(node.runtime.running() == 3);
  node.runtime.history.clear();
  node.runtime.stop_takes = 1s;
  REQUIRE(node.api.remove_now(kPod).has_value());
  node.loop.run(10ms);
  CHECK(node.api.find(kPod) != nullptr);
  node.loop.run(10s);
  CHECK(node.runtime.history ==
        std::vector<std::string>{"exec a bye", "stop a", "stop t", "stop s"});
  CHECK(node.api.find(kPod) == nullptr);
  CHECK(node.ended);
  CHECK(node.runtime.sandboxes.empty());
  CHECK(node.runtime.containers.empty());
}

TEST_CASE("a deleted pod that finalizers hold keeps the phase it ended in") {
  Node node("{containers: [{name: a, " + kDemo + "}]}");
  auto held = node.api.find(kPod)->root();
  held.member("metadata").set("finalizers", yaml("[example.com/hold]"));
  REQUIRE(node.api.update_now(kPod, held).has_value());
  node.start();
  node.runtime.stop_takes = 1min;  // it does not listen
  REQUIRE(node.api.remove_now(kPod).has_value());
  node.loop.run(2min);
  CHECK(node.ended);
  REQUIRE(node.api.find(kPod) != nullptr);
  CHECK(node.status()["phase"].as_string() == "Failed");
  CHECK(node.container()["state"]["terminated"]["exitCode"].as_int() == 137);

  // A worker that is made for it once more does not know better.
  node.worker = std::make_unique<PodWorker>(node.context, node.api.find(kPod));
  node.ended = false;
  node.start();
  node.loop.run(1min);
  CHECK(node.ended);
  CHECK(node.container()["state"]["terminated"]["exitCode"].as_int() == 137);
}

TEST_CASE("a second deletion may shorten the grace period") {
  Node node("{containers: [{name: a, " + kDemo + "}]}");
  node.start();
  node.runtime.stop_takes = 1h;
  REQUIRE(node.api.remove_now(kPod).has_value());
  node.loop.run(2s);
  CHECK(node.runtime.running() == 1);
  client::DeleteOptions now;
  now.grace_period_seconds = 0;
  REQUIRE(node.api.remove_now(kPod, now).has_value());
  node.loop.run(1s);
  CHECK(node.runtime.running() == 0);
}

TEST_CASE("no time to end: killed at once, without hooks") {
  Node node("{terminationGracePeriodSeconds: 0, containers: [{name: a, " + kDemo +
            ", lifecycle: {preStop: {exec: {command: [bye]}}}}]}");
  node.start();
  node.runtime.history.clear();
  client::DeleteOptions now;
  now.grace_period_seconds = 0;
  REQUIRE(node.api.remove_now(kPod, now).has_value());
  node.loop.run(1s);
  CHECK(node.runtime.history == std::vector<std::string>{"stop a"});
  CHECK(node.ended);
}

TEST_CASE("a pod without its image waits, and can be deleted") {
  Node node("{containers: [{name: a, image: 'absent:1', imagePullPolicy: Never}]}");
  node.start();
  CHECK(node.waiting() == "ErrImageNeverPull");
  CHECK(node.status()["phase"].as_string() == "Pending");
  REQUIRE(node.api.remove_now(kPod).has_value());
  node.loop.run(5s);
  CHECK(node.ended);
  CHECK(node.api.find(kPod) == nullptr);
}

TEST_CASE("a volume whose ConfigMap is missing holds the pod up until it comes") {
  Node node("{containers: [{name: a, " + kDemo + "}], volumes: [{name: v, configMap: {name: c}}]}");
  node.start();
  node.loop.run(5s);
  CHECK(node.runtime.history.empty());
  CHECK(node.events_of("FailedMount") > 0);
  REQUIRE(node.api
              .create_now(client::resources::kConfigMaps.at("default", "c"),
                          yaml("{metadata: {name: c}, data: {k: v}}"))
              .has_value());
  node.loop.run(1min);
  CHECK(node.runtime.running() == 1);
  const fs::path file = node.directory.path + "/kubelet/pods/u1/volumes/configMap/v/k";
  CHECK(fs::exists(file));
}

TEST_CASE("labels reach the files of the downward API") {
  Node node("{containers: [{name: a, " + kDemo +
            "}], volumes: [{name: v, downwardAPI: {items: "
            "[{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]}");
  node.start();
  auto labelled = node.api.find(kPod)->root();
  labelled.member("metadata").set("labels", yaml("{a: b}"));
  REQUIRE(node.api.update_now(kPod, labelled).has_value());
  node.loop.run(1s);
  std::ifstream in(node.directory.path + "/memory/pods/u1/volumes/downwardAPI/v/labels");
  std::string text;
  std::getline(in, text);
  CHECK(text == "a=\"b\"");
}

TEST_CASE("hooks after the start: one that fails costs the container its life") {
  Node node("{containers: [{name: a, " + kDemo +
            ", lifecycle: {postStart: {exec: {command: [hello]}}}}]}");
  node.runtime.exec_exit_code = 1;
  node.start();
  CHECK(node.events_of("FailedPostStartHook") > 0);
  CHECK(node.runtime.history[0] == "run a");
  CHECK(node.runtime.history[1] == "exec a hello");
  CHECK(node.runtime.history[2] == "stop a");
}

TEST_CASE("a new kubelet adopts what runs") {
  Node node("{containers: [{name: a, " + kDemo + "}]}");
  node.start();
  const std::string id = node.runtime.newest("a")->id;
  const auto sandbox = node.runtime.sandboxes.begin()->second;

  // The first worker is cancelled, as at a restart; containers stay.
  node.tasks.group.cancel();
  node.loop.run();
  CHECK(node.runtime.running() == 1);
  node.ended = true;  // no informer any more
  node.worker = std::make_unique<PodWorker>(node.context, node.api.find(kPod));
  node.worker->adopt(sandbox, {*node.runtime.newest("a")});
  node.start();
  node.loop.run(1min);
  CHECK(node.runtime.history == std::vector<std::string>{"run a"});
  CHECK(node.worker->instance("a", false)->id == id);
  CHECK(node.container()["containerID"].as_string() == "skiff://" + id);
  CHECK(node.container()["restartCount"].as_int() == 0);
}
