#include <catch2/catch_test_macros.hpp>

#include "made.hpp"
#include "skiff/scheduler/scheduler.hpp"
#include "support/fake_client.hpp"
#include "support/loop.hpp"

using namespace skiff;
using namespace skiff::scheduler;
using client::resources::kEvents;
using client::resources::kNodes;
using client::resources::kPods;
using made::asking;
using skiff::test::FakeClient;
using skiff::test::Loop;
using skiff::test::Tasks;

namespace {

struct Fixture {
  Loop loop;
  FakeClient api{loop.env};
  client::InformerFactory informers{loop.env, api};
  Scheduler scheduler{loop.env, api, informers, Options{}};
  Tasks tasks{loop};

  void start() {
    informers.start(tasks.group);
    scheduler.start(tasks.group);
    loop.run(1ms);
  }
  void add_pod(const std::string& name, const std::string& spec = "{}",
               const std::string& labels = "{}") {
    REQUIRE(api.create_now(kPods.at("a", name), made::pod_value(name, spec, labels)).has_value());
  }
  void add_node(const std::string& name, const std::string& labels = "{}") {
    REQUIRE(api.create_now(kNodes.at("", name), made::node_value(name, labels)).has_value());
  }
  std::string node_of(const std::string& name) {
    return (*api.find(kPods.at("a", name)))["spec"]["nodeName"].as_string();
  }
  std::size_t events(const std::string& reason, std::string* message = nullptr) {
    std::size_t n = 0;
    for (const auto& e : api.all(kEvents)) {
      if ((*e)["reason"].as_string() != reason) continue;
      ++n;
      if (message != nullptr) *message = (*e)["message"].as_string();
    }
    return n;
  }
};

}  // namespace

TEST_CASE("all waiting pods are bound by one batch") {
  Fixture f;
  f.add_node("n1");
  f.add_node("n2");
  for (int i = 0; i < 6; ++i) f.add_pod("p" + std::to_string(i), asking("{cpu: 500m}"));
  f.start();
  std::map<std::string, int> count;
  for (int i = 0; i < 6; ++i) ++count[f.node_of("p" + std::to_string(i))];
  CHECK(count == std::map<std::string, int>{{"n1", 3}, {"n2", 3}});
  CHECK(f.api.batches == 1);
  f.loop.run(5s);
  std::string message;
  CHECK(f.events("Scheduled", &message) == 6);
  CHECK(message.starts_with("Successfully assigned a/p"));
}

TEST_CASE("a pod that does not fit says so, once, and is bound when a node comes") {
  Fixture f;
  f.add_pod("p", asking("{cpu: '1'}"));
  f.start();
  f.loop.run(5s);
  const auto told = f.api.find(kPods.at("a", "p"));
  const api::Value& condition = (*told)["status"]["conditions"][std::size_t{0}];
  CHECK(condition["type"].as_string() == "PodScheduled");
  CHECK(condition["status"].as_string() == "False");
  CHECK(condition["reason"].as_string() == "Unschedulable");
  CHECK(condition["message"].as_string() == "no nodes available to schedule pods");
  std::string message;
  CHECK(f.events("FailedScheduling", &message) == 1);
  CHECK(message == "no nodes available to schedule pods");
  const auto writes = f.api.writes;
  f.loop.run(1h);
  CHECK(f.api.writes == writes);  // nothing changed: nothing is tried, nothing is written

  f.add_node("n1");
  f.loop.run(1ms);
  CHECK(f.node_of("p") == "n1");
}

TEST_CASE("room that a pod leaves is given to one that waits") {
  Fixture f;
  f.add_node("n1");
  f.add_pod("p", asking("{cpu: '2'}"));
  f.start();
  f.add_pod("q", asking("{cpu: '2'}"));
  f.loop.run(1min);
  CHECK(f.node_of("q").empty());
  SECTION("by being deleted") {
    client::DeleteOptions now;
    now.grace_period_seconds = 0;
    REQUIRE(f.api.remove_now(kPods.at("a", "p"), now).has_value());
  }
  SECTION("by ending") {
    auto ended = f.api.find(kPods.at("a", "p"))->root();
    ended.member("status").set("phase", "Succeeded");
    REQUIRE(f.api.update_now(kPods.at("a", "p").sub("status"), ended).has_value());
  }
  f.loop.run(10s);
  CHECK(f.node_of("q") == "n1");
}

TEST_CASE("a pod that wants to be near another is bound once that one is") {
  Fixture f;
  f.add_node("n1", "{zone: one}");
  f.add_pod("near",
            "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
            "[{topologyKey: zone, labelSelector: {matchLabels: {app: web}}}]}}}");
  f.start();
  f.loop.run(1min);
  CHECK(f.node_of("near").empty());
  f.add_pod("web", "{}", "{app: web}");
  f.loop.run(10s);
  CHECK(f.node_of("web") == "n1");
  CHECK(f.node_of("near") == "n1");
}

TEST_CASE("a binding that fails is tried again") {
  Fixture f;
  f.add_node("n1");
  f.add_pod("p", asking("{cpu: '2'}"));
  bool broken = true;
  f.api.refuse = [&](std::string_view verb, const client::Ref& ref) -> std::optional<Error> {
    if (broken && verb == "create" && ref.subresource == "binding")
      return Error{Code::unavailable, "later"};
    return std::nullopt;
  };
  f.start();
  CHECK(f.node_of("p").empty());
  broken = false;
  f.loop.run(2s);
  CHECK(f.node_of("p") == "n1");
  CHECK(f.events("FailedScheduling") == 1);
}

TEST_CASE("pods of other schedulers, gated and deleted ones are left alone") {
  Fixture f;
  f.add_node("n1");
  f.add_pod("other", "{schedulerName: mine}");
  f.add_pod("gated", "{schedulingGates: [{name: x}]}");
  f.start();
  f.loop.run(1min);
  CHECK(f.node_of("other").empty());
  CHECK(f.node_of("gated").empty());
  auto free = f.api.find(kPods.at("a", "gated"))->root();
  free.member("spec").erase("schedulingGates");
  REQUIRE(f.api.update_now(kPods.at("a", "gated"), free).has_value());
  f.loop.run(1s);
  CHECK(f.node_of("gated") == "n1");
}

TEST_CASE("another scheduler's pods take room too") {
  Fixture f;
  f.add_node("n1");
  f.add_pod("other",
            "{schedulerName: mine, nodeName: n1, containers: "
            "[{resources: {requests: {cpu: '2'}}}]}");
  f.add_pod("p", asking("{cpu: '1'}"));
  f.start();
  f.loop.run(1min);
  CHECK(f.node_of("p").empty());
}
