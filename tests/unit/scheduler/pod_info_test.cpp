#include <catch2/catch_test_macros.hpp>

#include "made.hpp"

using namespace skiff;
using namespace skiff::scheduler;
using made::pod;

TEST_CASE("a pod's requests are its containers' sum, its init containers' peak and its overhead") {
  struct Row {
    const char* what;
    const char* spec;
    std::int64_t cpu;
    std::int64_t memory;
  };
  const Row rows[] = {
      {"nothing", "{containers: [{name: a}]}", 0, 0},
      {"the sum",
       "{containers: [{resources: {requests: {cpu: 100m, memory: '10'}}},"
       "{resources: {requests: {cpu: '0.2', memory: '20'}}}]}",
       300, 30},
      {"a larger init container",
       "{containers: [{resources: {requests: {cpu: 100m}}}],"
       "initContainers: [{resources: {requests: {cpu: 500m}}},"
       "{resources: {requests: {cpu: 300m}}}]}",
       500, 0},
      {"a smaller init container",
       "{containers: [{resources: {requests: {cpu: 100m}}}],"
       "initContainers: [{resources: {requests: {cpu: 50m}}}]}",
       100, 0},
      {"a sidecar runs beside the containers",
       "{containers: [{resources: {requests: {cpu: 100m}}}], initContainers: "
       "[{restartPolicy: Always, resources: {requests: {cpu: 200m}}}]}",
       300, 0},
      {"a sidecar runs beside the init containers after it, not before it",
       "{containers: [{resources: {requests: {cpu: 100m}}}], initContainers: "
       "[{resources: {requests: {cpu: 450m}}},"
       "{restartPolicy: Always, resources: {requests: {cpu: 200m}}},"
       "{resources: {requests: {cpu: 300m}}}]}",
       500, 0},
      {"overhead comes on top",
       "{overhead: {cpu: 10m, memory: '5'}, containers: "
       "[{resources: {requests: {cpu: 100m, memory: '10'}}}]}",
       110, 15},
      {"what the pod asks for as a whole wins",
       "{resources: {requests: {cpu: '1'}}, containers: "
       "[{resources: {requests: {cpu: 100m, memory: '10'}}}]}",
       1000, 10},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const auto p = pod("p", row.spec);
    CHECK(p->requests.milli_cpu == row.cpu);
    CHECK(p->requests.memory == row.memory);
  }
}

TEST_CASE("scoring assumes something for containers that ask for nothing") {
  const auto p =
      pod("p", "{containers: [{name: a}, {name: b, resources: {requests: {cpu: '1'}}}]}");
  CHECK(p->nonzero_requests.milli_cpu == 1100);
  CHECK(p->nonzero_requests.memory == 2 * 200LL * 1024 * 1024);
}

TEST_CASE("extended resources and huge pages are counted by name") {
  const auto p = pod("p",
                     "{containers: [{resources: {requests: {example.com/gpu: '2'}}},"
                     "{resources: {requests: {example.com/gpu: '1', hugepages-2Mi: 4Mi}}}]}");
  CHECK(p->requests.extended.at("example.com/gpu") == 3);
  CHECK(p->requests.extended.at("hugepages-2Mi") == 4 << 20);
}

TEST_CASE("tolerations") {
  struct Row {
    const char* what;
    Toleration toleration;
    Taint taint;
    bool tolerated;
  };
  const Row rows[] = {
      {"equal", {"k", "Equal", "v", "NoSchedule"}, {"k", "v", "NoSchedule"}, true},
      {"equal is the default", {"k", "", "v", ""}, {"k", "v", "NoExecute"}, true},
      {"another value", {"k", "", "w", ""}, {"k", "v", "NoSchedule"}, false},
      {"another effect", {"k", "", "v", "NoExecute"}, {"k", "v", "NoSchedule"}, false},
      {"another key", {"l", "Exists", "", ""}, {"k", "v", "NoSchedule"}, false},
      {"exists", {"k", "Exists", "", ""}, {"k", "v", "NoSchedule"}, true},
      {"everything", {"", "Exists", "", ""}, {"k", "v", "NoSchedule"}, true},
      {"everything of an effect", {"", "Exists", "", "NoExecute"}, {"k", "", "NoSchedule"}, false},
      {"an empty value", {"k", "Equal", "", ""}, {"k", "", "NoSchedule"}, true},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(row.toleration.tolerates(row.taint) == row.tolerated);
  }
}

TEST_CASE("node selectors and node affinity") {
  const std::string required =
      "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
      "{nodeSelectorTerms: ";
  struct Row {
    const char* what;
    std::string spec;
    bool matches;
  };
  const Row rows[] = {
      {"none", "{}", true},
      {"selector", "{nodeSelector: {disk: ssd}}", true},
      {"selector of another value", "{nodeSelector: {disk: hdd}}", false},
      {"In", required + "[{matchExpressions: [{key: disk, operator: In, values: [hdd, ssd]}]}]}}}}",
       true},
      {"NotIn",
       required + "[{matchExpressions: [{key: disk, operator: NotIn, values: [ssd]}]}]}}}}", false},
      {"NotIn of an absent label",
       required + "[{matchExpressions: [{key: x, operator: NotIn, values: [ssd]}]}]}}}}", true},
      {"Exists", required + "[{matchExpressions: [{key: x, operator: Exists}]}]}}}}", false},
      {"DoesNotExist", required + "[{matchExpressions: [{key: x, operator: DoesNotExist}]}]}}}}",
       true},
      {"Gt", required + "[{matchExpressions: [{key: cores, operator: Gt, values: ['7']}]}]}}}}",
       true},
      {"Lt", required + "[{matchExpressions: [{key: cores, operator: Lt, values: ['8']}]}]}}}}",
       false},
      {"any term is enough",
       required + "[{matchExpressions: [{key: x, operator: Exists}]},"
                  "{matchExpressions: [{key: disk, operator: Exists}]}]}}}}",
       true},
      {"all requirements of a term are needed",
       required + "[{matchExpressions: [{key: x, operator: Exists},"
                  "{key: disk, operator: Exists}]}]}}}}",
       false},
      {"an empty term matches nothing", required + "[{}]}}}}", false},
      {"no term matches nothing", required + "[]}}}}", false},
      {"the node's name",
       required + "[{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}}}}", true},
      {"another node's name",
       required + "[{matchFields: [{key: metadata.name, operator: In, values: [n2]}]}]}}}}", false},
      {"selector and affinity must both hold",
       "{nodeSelector: {disk: hdd}, affinity: {nodeAffinity: "
       "{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
       "[{matchExpressions: [{key: disk, operator: Exists}]}]}}}}",
       false},
  };
  const auto labels = api::parse_yaml("{disk: ssd, cores: '8'}").value();
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(pod("p", row.spec)->matches_node_affinity(labels, "n1") == row.matches);
  }
}

TEST_CASE("terms about other pods know their namespaces") {
  const std::string head =
      "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
      "[{topologyKey: zone, labelSelector: {matchLabels: {app: web}}";
  struct Row {
    const char* what;
    std::string spec;
    bool own;
    bool other;
  };
  const Row rows[] = {
      {"its own by default", head + "}]}}}", true, false},
      {"those named", head + ", namespaces: [b]}]}}}", false, true},
      {"all by an empty selector", head + ", namespaceSelector: {}}]}}}", true, true},
      {"those selected", head + ", namespaceSelector: {matchLabels: {team: x}}}]}}}", false, true},
      {"named or selected",
       head + ", namespaces: [a], namespaceSelector: {matchLabels: {team: x}}}]}}}", true, true},
  };
  Snapshot snapshot;
  snapshot.set_namespace("a", api::parse_yaml("{}").value());
  snapshot.set_namespace("b", api::parse_yaml("{team: x}").value());
  auto elsewhere = made::pod_value("o", "{}", "{app: web}");
  elsewhere.member("metadata").set("namespace", "b");
  const PodInfo other(api::Object::make(std::move(elsewhere)));
  const auto near = pod("n", "{}", "{app: web}");
  const auto unlike = pod("u", "{}", "{app: db}");
  for (const Row& row : rows) {
    INFO(row.what);
    const auto p = pod("p", row.spec);
    REQUIRE(p->affinity.size() == 1);
    CHECK(term_matches(p->affinity[0], *near, snapshot) == row.own);
    CHECK(term_matches(p->affinity[0], other, snapshot) == row.other);
    CHECK_FALSE(term_matches(p->affinity[0], *unlike, snapshot));
  }
}

TEST_CASE("a term without a selector means no pod") {
  const auto p = pod("p",
                     "{affinity: {podAntiAffinity: "
                     "{requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: z}]}}}");
  REQUIRE(p->anti_affinity.size() == 1);
  CHECK_FALSE(term_matches(p->anti_affinity[0], *pod("q"), Snapshot()));
}

TEST_CASE("host ports") {
  const auto p = pod("p",
                     "{containers: [{ports: [{containerPort: 80}, {hostPort: 80}]}],"
                     "initContainers: [{ports: [{hostPort: 81}]},"
                     "{restartPolicy: Always, ports: [{hostPort: 82, protocol: UDP}]}]}");
  REQUIRE(p->host_ports.size() == 2);
  CHECK(p->host_ports[0].port == 80);
  CHECK(p->host_ports[1].protocol == "UDP");
  const HostPort any{"TCP", "0.0.0.0", 80};
  CHECK(any.conflicts({"TCP", "10.0.0.1", 80}));
  CHECK(HostPort{"TCP", "10.0.0.1", 80}.conflicts(any));
  CHECK_FALSE(HostPort{"TCP", "10.0.0.1", 80}.conflicts({"TCP", "10.0.0.2", 80}));
  CHECK_FALSE(any.conflicts({"UDP", "0.0.0.0", 80}));
  CHECK_FALSE(any.conflicts({"TCP", "0.0.0.0", 81}));
}

TEST_CASE("images are known by name and tag") {
  const auto p = pod("p",
                     "{initContainers: [{image: 'localhost:5000/a'}],"
                     "containers: [{image: b}, {image: 'c:1'}, {image: 'd@sha256:00'}]}");
  CHECK(p->images ==
        std::vector<std::string>{"localhost:5000/a:latest", "b:latest", "c:1", "d@sha256:00"});
}
