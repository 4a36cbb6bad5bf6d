#include "node_plan.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::controllers;

namespace {

const WallTime kNow{std::chrono::hours(24 * 365 * 50)};

Value json(const char* text) { return *api::parse_json(text); }

std::string keys(const Value& taints) {
  std::string out;
  for (const Value& t : taints.items()) {
    const std::string& key = t["key"].as_string();
    out += key.substr(key.find('/') + 1) + ":" + t["effect"].as_string() + " ";
  }
  return out;
}

}  // namespace

TEST_CASE("taints follow conditions") {
  struct Row {
    const char* node;
    bool evict;
    const char* want;
  };
  const Row rows[] = {
      {R"({"status":{"conditions":[{"type":"Ready","status":"True"}]}})", false, ""},
      {R"({"status":{"conditions":[{"type":"Ready","status":"False"}]}})", false,
       "not-ready:NoSchedule "},
      {R"({"status":{"conditions":[{"type":"Ready","status":"False"}]}})", true,
       "not-ready:NoSchedule not-ready:NoExecute "},
      {R"({"status":{"conditions":[{"type":"Ready","status":"Unknown"}]},
           "spec":{"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoExecute"}]}})",
       false, "unreachable:NoSchedule unreachable:NoExecute "},
      {R"({"status":{"conditions":[{"type":"Ready","status":"True"},
                                   {"type":"DiskPressure","status":"True"}]},
           "spec":{"unschedulable":true,"taints":[
              {"key":"mine/own","effect":"NoSchedule"},
              {"key":"node.kubernetes.io/unreachable","effect":"NoExecute"}]}})",
       false, "own:NoSchedule disk-pressure:NoSchedule unschedulable:NoSchedule "},
  };
  for (const Row& row : rows) {
    INFO(row.node);
    CHECK(keys(node_taints(json(row.node), row.evict, kNow)) == row.want);
  }
}

TEST_CASE("a silent node's report becomes unknown, once") {
  Value node = json(
      R"({"metadata":{"creationTimestamp":"2025-01-01T00:00:00Z"},"status":{"conditions":[
          {"type":"Ready","status":"True","lastHeartbeatTime":"2025-02-02T00:00:00Z"},
          {"type":"NetworkUnavailable","status":"False"}]}})");
  const Value status = silent_status(node, kNow);
  CHECK(condition(status, "Ready")["reason"].as_string() == "NodeStatusUnknown");
  CHECK(condition(status, "Ready")["lastHeartbeatTime"].as_string() == "2025-02-02T00:00:00Z");
  CHECK(condition(status, "DiskPressure")["reason"].as_string() == "NodeStatusNeverUpdated");
  CHECK(condition(status, "NetworkUnavailable")["status"].as_string() == "False");
  node.set("status", status);
  CHECK(silent_status(node, kNow + 1h) == status);
}

TEST_CASE("zones") {
  CHECK(zone_state(3, 0) == ZoneState::normal);
  CHECK(zone_state(1, 1) == ZoneState::normal);
  CHECK(zone_state(2, 3) == ZoneState::partial);
  CHECK(zone_state(3, 3) == ZoneState::normal);
  CHECK(zone_state(0, 1) == ZoneState::full);
}

TEST_CASE("tolerations decide when a pod has to leave") {
  const Value taints = json(
      R"([{"key":"a","effect":"NoExecute"},{"key":"b","value":"x","effect":"NoExecute"},
          {"key":"c","effect":"NoSchedule"}])");
  struct Row {
    const char* tolerations;
    std::int64_t seconds;  // -1: never
  };
  const Row rows[] = {
      {"[]", 0},
      {R"([{"operator":"Exists"}])", -1},
      {R"([{"operator":"Exists","tolerationSeconds":30}])", 30},
      {R"([{"key":"a","operator":"Exists"}])", 0},
      {R"([{"key":"a","operator":"Exists","tolerationSeconds":60},
           {"key":"b","value":"x","effect":"NoExecute","tolerationSeconds":20}])",
       20},
      {R"([{"key":"a","operator":"Exists","tolerationSeconds":-5},
           {"key":"b","operator":"Exists"}])",
       0},
      {R"([{"key":"a","operator":"Exists"},{"key":"b","value":"y"}])", 0},
      {R"([{"operator":"Exists","effect":"NoSchedule"}])", 0},
  };
  for (const Row& row : rows) {
    INFO(row.tolerations);
    Value pod;
    pod.member("spec").set("tolerations", json(row.tolerations));
    const auto eviction = plan_eviction(pod, taints);
    REQUIRE(eviction);
    CHECK(eviction->never == (row.seconds < 0));
    if (row.seconds >= 0) CHECK(eviction->after == std::chrono::seconds(row.seconds));
  }
  CHECK_FALSE(plan_eviction(Value(), json(R"([{"key":"c","effect":"NoSchedule"}])")));
}
