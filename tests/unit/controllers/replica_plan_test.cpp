#include <catch2/catch_test_macros.hpp>

#include "replica_set.hpp"

using namespace skiff;
using namespace skiff::controllers;

namespace {

const WallTime kNow{std::chrono::hours(24 * 365 * 50)};

struct PodSpec {
  const char* name;
  const char* node = "n";
  const char* phase = "Running";
  int ready_seconds = 1000;  // since when; negative: not ready
  int age_seconds = 1000;
  int restarts = 0;
  const char* cost = nullptr;
};

ObjectPtr pod(const PodSpec& p) {
  Value meta = Value::object(
      {{"name", p.name},
       {"uid", p.name},
       {"creationTimestamp", format_time(kNow - std::chrono::seconds(p.age_seconds))}});
  if (p.cost != nullptr) {
    meta.member("annotations").set("controller.kubernetes.io/pod-deletion-cost", p.cost);
  }
  Value status = Value::object({{"phase", p.phase}});
  status.member("containerStatuses").push_back(Value::object({{"restartCount", p.restarts}}));
  set_condition(status, make_condition("Ready", p.ready_seconds >= 0 ? "True" : "False", "", "",
                                       kNow - std::chrono::seconds(std::abs(p.ready_seconds))));
  return api::Object::make(Value::object({{"metadata", std::move(meta)},
                                          {"spec", Value::object({{"nodeName", p.node}})},
                                          {"status", std::move(status)}}));
}

}  // namespace

TEST_CASE("a scale-down takes the least loss first") {
  struct Row {
    const char* what;
    PodSpec goes;
    PodSpec stays;
  };
  const std::vector<Row> rows{
      {"unassigned",
       {.name = "a", .node = "", .phase = "Pending"},
       {.name = "b", .ready_seconds = -1}},
      {"pending", {.name = "b", .phase = "Pending"}, {.name = "a"}},
      {"unknown before running", {.name = "b", .phase = "Unknown"}, {.name = "a"}},
      {"not ready", {.name = "b", .ready_seconds = -5, .cost = "9"}, {.name = "a"}},
      {"cheap", {.name = "b", .cost = "-1"}, {.name = "a"}},
      {"on a crowded node", {.name = "b", .node = "crowd"}, {.name = "a", .ready_seconds = 1}},
      {"ready for less long", {.name = "b", .ready_seconds = 10}, {.name = "a"}},
      {"restarted more", {.name = "b", .restarts = 3}, {.name = "a", .restarts = 1}},
      {"younger", {.name = "b", .age_seconds = 10}, {.name = "a"}},
      {"as old as the other, roughly: by UID",
       {.name = "a", .age_seconds = 1000},
       {.name = "b", .age_seconds = 990}},
  };
  const std::map<std::string, int> crowd{{"n", 1}, {"crowd", 3}};
  for (const Row& row : rows) {
    INFO(row.what);
    for (const bool swapped : {false, true}) {
      std::vector<ObjectPtr> pods{pod(row.goes), pod(row.stays)};
      if (swapped) std::swap(pods[0], pods[1]);
      const auto victims = choose_victims(pods, 1, crowd, kNow);
      REQUIRE(victims.size() == 1);
      CHECK(victims[0]->name() == row.goes.name);
    }
  }
}

TEST_CASE("counts tell labels, readiness and availability apart") {
  const Value owner = *api::parse_json(
      R"({"metadata":{"generation":2},"spec":{"minReadySeconds":30,
          "template":{"metadata":{"labels":{"a":"1"}}}},"status":{}})");
  std::vector<ObjectPtr> pods{pod({.name = "long", .ready_seconds = 60}),
                              pod({.name = "short", .ready_seconds = 20}),
                              pod({.name = "not", .ready_seconds = -1})};
  const ReplicaCounts counts = count_replicas(owner, pods, {}, kNow);
  CHECK(counts.replicas == 3);
  CHECK(counts.fully_labeled == 0);
  CHECK(counts.ready == 2);
  CHECK(counts.available == 1);
  CHECK(counts.next_available == 10s);
  const Value status = replica_status(owner, counts, {}, true, kNow);
  CHECK(status["observedGeneration"].as_int() == 2);
  CHECK_FALSE(status.has("fullyLabeledReplicas"));
}
