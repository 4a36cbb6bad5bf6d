// What `kubectl get` shows, cell by cell.
#include "printers.hpp"

#include <catch2/catch_test_macros.hpp>

#include "duration.hpp"

namespace skiff::apiserver {
namespace {

const WallTime kNow = parse_time("2026-01-02T00:00:00Z").value();

std::string cells_of(std::string_view group, std::string_view plural, std::string_view version,
                     std::string_view json) {
  const api::Resource* resource = api::find_resource(group, version, plural);
  REQUIRE(resource);
  const api::Value object = api::parse_json(json).value();
  std::string out;
  const Cells cells = printer_of(*resource)(object, kNow);
  CHECK(cells.size() == columns_of(*resource).size());
  for (const api::Value& c : cells) {
    if (!out.empty()) out += '|';
    out += c.is_string() ? c.as_string() : api::to_json(c);
  }
  return out;
}

struct Case {
  const char* group;
  const char* version;
  const char* plural;
  const char* json;
  const char* cells;
};

}  // namespace

TEST_CASE("lengths of time") {
  const std::pair<std::int64_t, const char*> cases[] = {
      {-5, "<invalid>"},  {-1, "0s"},       {0, "0s"},           {119, "119s"},
      {120, "2m"},        {125, "2m5s"},    {599, "9m59s"},      {600, "10m"},
      {10799, "179m"},    {10800, "3h"},    {10860, "3h1m"},     {28800, "8h"},
      {172799, "47h"},    {172800, "2d"},   {176400, "2d1h"},    {691200, "8d"},
      {63071999, "729d"}, {63072000, "2y"}, {66528000, "2y40d"}, {252288000, "8y"}};
  for (const auto& [seconds, text] : cases) {
    INFO(seconds);
    CHECK(human_duration(std::chrono::seconds(seconds)) == text);
  }
  CHECK(since(api::Value(), kNow) == "<unknown>");
}

TEST_CASE("pods say what is the matter") {
  const std::string head =
      R"({"metadata":{"name":"p","creationTimestamp":"2026-01-01T23:00:00Z"},)";
  const std::pair<std::string, std::string> cases[] = {
      {R"("spec":{"containers":[{"name":"c"}]},"status":{"phase":"Pending"}})",
       "p|0/1|Pending|0|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"nodeName":"n","containers":[{"name":"c"},{"name":"d"}]},"status":{"phase":"Running",
          "podIP":"10.0.0.1","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[
          {"name":"c","ready":true,"restartCount":0,"state":{"running":{}}},
          {"name":"d","ready":true,"restartCount":3,"state":{"running":{}},
           "lastState":{"terminated":{"finishedAt":"2026-01-01T23:55:00Z"}}}]}})",
       "p|2/2|Running|3 (5m ago)|60m|10.0.0.1|n|<none>|<none>"},
      {R"("spec":{"containers":[{"name":"c"}]},"status":{"phase":"Running","containerStatuses":[
          {"name":"c","ready":false,"restartCount":7,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}})",
       "p|0/1|CrashLoopBackOff|7|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"containers":[{"name":"c"}]},"status":{"phase":"Failed","containerStatuses":[
          {"name":"c","restartCount":0,"state":{"terminated":{"exitCode":3}}}]}})",
       "p|0/1|ExitCode:3|0|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"containers":[{"name":"c"}]},"status":{"phase":"Failed","containerStatuses":[
          {"name":"c","restartCount":0,"state":{"terminated":{"exitCode":137,"signal":9}}}]}})",
       "p|0/1|Signal:9|0|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"containers":[{"name":"c"}]},"status":{"phase":"Succeeded","containerStatuses":[
          {"name":"c","restartCount":0,"state":{"terminated":{"exitCode":0,"reason":"Completed"}}}]}})",
       "p|0/1|Completed|0|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"initContainers":[{"name":"i"},{"name":"j"}],"containers":[{"name":"c"}]},"status":{
          "phase":"Pending","initContainerStatuses":[
          {"name":"i","restartCount":0,"state":{"terminated":{"exitCode":0}}},
          {"name":"j","restartCount":0,"state":{"running":{}}}],"containerStatuses":[
          {"name":"c","restartCount":0,"state":{"waiting":{"reason":"PodInitializing"}}}]}})",
       "p|0/1|Init:1/2|0|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"c"}]},"status":{
          "phase":"Pending","initContainerStatuses":[
          {"name":"i","restartCount":2,"state":{"terminated":{"exitCode":1,"reason":"Error"}}}]}})",
       "p|0/1|Init:Error|2|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"initContainers":[{"name":"s","restartPolicy":"Always"}],"containers":[{"name":"c"}]},
          "status":{"phase":"Running","initContainerStatuses":[{"name":"s","started":true,"ready":true,
          "restartCount":1,"state":{"running":{}}}],"containerStatuses":[{"name":"c","ready":true,
          "restartCount":0,"state":{"running":{}}}]}})",
       "p|2/2|Running|1|60m|<none>|<none>|<none>|<none>"},
      {R"("spec":{"readinessGates":[{"conditionType":"g"}],"containers":[{"name":"c"}]},"status":{
          "phase":"Pending","reason":"Evicted"}})",
       "p|0/1|Evicted|0|60m|<none>|<none>|<none>|0/1"},
      {R"("spec":{"containers":[{"name":"c"}]},"status":{"phase":"Pending","conditions":[
          {"type":"PodScheduled","status":"False","reason":"SchedulingGated"}]}})",
       "p|0/1|SchedulingGated|0|60m|<none>|<none>|<none>|<none>"},
  };
  for (const auto& [rest, cells] : cases) {
    INFO(rest);
    CHECK(cells_of("", "pods", "v1", head + rest) == cells);
  }
  CHECK(cells_of("", "pods", "v1",
                 R"({"metadata":{"name":"p","creationTimestamp":"2026-01-01T23:00:00Z",
                 "deletionTimestamp":"2026-01-02T00:00:00Z"},"spec":{"containers":[{"name":"c"}]},
                 "status":{"phase":"Running"}})") ==
        "p|0/1|Terminating|0|60m|<none>|<none>|<none>|<none>");
}

TEST_CASE("other kinds") {
  const Case cases[] = {
      {"apps", "v1", "deployments",
       R"({"metadata":{"name":"d","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"replicas":3,
          "selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"containers":[
          {"name":"x","image":"i:1"},{"name":"y","image":"j"}]}}},"status":{"readyReplicas":2,
          "updatedReplicas":1,"availableReplicas":2}})",
       "d|2/3|1|2|24h|x,y|i:1,j|a=b"},
      {"", "v1", "services",
       R"({"metadata":{"name":"s","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"type":"NodePort",
          "clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],"ports":[{"port":80,"nodePort":30001,
          "protocol":"TCP"},{"port":53,"protocol":"UDP"}],"selector":{"b":"2","a":"1"}}})",
       "s|NodePort|10.0.0.1|<none>|80:30001/TCP,53/UDP|24h|a=1,b=2"},
      {"", "v1", "services",
       R"({"metadata":{"name":"s"},"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.1"},"status":{}})",
       "s|LoadBalancer|10.0.0.1|<pending>|<none>|<unknown>|<none>"},
      {"", "v1", "services",
       R"({"metadata":{"name":"s"},"spec":{"type":"ExternalName","externalName":"e.com"}})",
       "s|ExternalName|<none>|e.com|<none>|<unknown>|<none>"},
      {"", "v1", "nodes",
       R"({"metadata":{"name":"n","labels":{"node-role.kubernetes.io/control-plane":"",
          "node-role.kubernetes.io/worker":""}},"spec":{"unschedulable":true},"status":{"conditions":[
          {"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1","osImage":"Debian",
          "kernelVersion":"6","containerRuntimeVersion":"skiff://1"},"addresses":[
          {"type":"InternalIP","address":"10.0.0.9"}]}})",
       "n|Ready,SchedulingDisabled|control-plane,worker|<unknown>|v1|10.0.0.9|<none>|Debian|6|"
       "skiff://1"},
      {"", "v1", "events",
       R"({"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"p","fieldPath":"f"},
          "type":"Warning","reason":"Failed","message":" no\n","count":4,"source":{"component":"c",
          "host":"h"},"firstTimestamp":"2026-01-01T23:50:00Z","lastTimestamp":"2026-01-01T23:59:00Z"})",
       "60s|Warning|Failed|pod/p|f|c, h|no|10m|4|e"},
      {"", "v1", "endpoints",
       R"({"metadata":{"name":"e"},"subsets":[{"addresses":[{"ip":"1.1.1.1"},{"ip":"1.1.1.2"}],
          "ports":[{"port":80},{"port":81}]}]})",
       "e|1.1.1.1:80,1.1.1.2:80,1.1.1.1:81 + 1 more...|<unknown>"},
      {"discovery.k8s.io", "v1", "endpointslices",
       R"({"metadata":{"name":"e"},"addressType":"IPv4","ports":[{"port":80}],
          "endpoints":[{"addresses":["1.1.1.1"]}]})",
       "e|IPv4|80|1.1.1.1|<unknown>"},
      {"batch", "v1", "jobs",
       R"({"metadata":{"name":"j"},"spec":{"completions":3,"selector":{"matchLabels":{"a":"b"}}},
          "status":{"succeeded":3,"startTime":"2026-01-01T00:00:00Z",
          "completionTime":"2026-01-01T00:01:00Z","conditions":[{"type":"Complete","status":"True"}]}})",
       "j|Complete|3/3|60s|<unknown>|||a=b"},
      {"", "v1", "persistentvolumeclaims",
       R"({"metadata":{"name":"c"},"spec":{"volumeName":"v","accessModes":["ReadWriteOnce"],
          "storageClassName":"s","volumeMode":"Filesystem"},"status":{"phase":"Bound",
          "capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce","ReadOnlyMany"]}})",
       "c|Bound|v|1Gi|RWO,ROX|s|<unset>|<unknown>|Filesystem"},
      {"autoscaling", "v2", "horizontalpodautoscalers",
       R"({"metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"d"},
          "minReplicas":1,"maxReplicas":5,"metrics":[{"type":"Resource","resource":{"name":"cpu",
          "target":{"type":"Utilization","averageUtilization":80}}}]},"status":{"currentReplicas":2,
          "currentMetrics":[{"type":"Resource","resource":{"name":"cpu","current":{
          "averageUtilization":30}}}]}})",
       "h|Deployment/d|cpu: 30%/80%|1|5|2|<unknown>"},
      {"rbac.authorization.k8s.io", "v1", "clusterroles",
       R"({"metadata":{"name":"r","creationTimestamp":"2026-01-01T00:00:00Z"}})",
       "r|2026-01-01T00:00:00Z"},
      {"admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations",
       R"({"metadata":{"name":"w"},"webhooks":[{},{}]})", "w|2|<unknown>"},
  };
  for (const Case& c : cases) {
    INFO(c.plural << " " << c.json);
    CHECK(cells_of(c.group, c.plural, c.version, c.json) == c.cells);
  }
}

TEST_CASE("every kind has as many cells as columns") {
  const api::Value nothing = api::Value::object();
  for (const api::Resource& r : api::resources()) {
    INFO(r.group << "/" << r.plural);
    CHECK(printer_of(r)(nothing, kNow).size() == columns_of(r).size());
  }
}

}  // namespace skiff::apiserver
