#include <catch2/catch_test_macros.hpp>

#include "framework.hpp"
#include "made.hpp"
#include "plugins/plugins.hpp"
#include "skiff/base/random.hpp"

using namespace skiff;
using namespace skiff::scheduler;
using made::asking;
using made::node;
using made::pod;

namespace {

struct Cluster {
  Snapshot snapshot;
  Framework framework;

  Cluster& with(const api::ObjectPtr& n) {
    snapshot.set_node(*n);
    return *this;
  }
  Cluster& with(PodInfoPtr p) {
    snapshot.set_pod(std::move(p));
    return *this;
  }
  // Where the pod goes, or why it goes nowhere.
  std::string place(const PodInfoPtr& p, std::uint64_t tie_breaker = 0) const {
    const Placement placement = framework.place(*p, snapshot, tie_breaker);
    return placement.node != nullptr ? placement.node->name : placement.message;
  }
};

// Every node is tried as the first: the outcome must not hang on where the search began.
void check_goes_to(const Cluster& cluster, const PodInfoPtr& p, const std::string& where) {
  for (std::uint64_t tie_breaker = 0; tie_breaker < cluster.snapshot.nodes().size(); ++tie_breaker)
    CHECK(cluster.place(p, tie_breaker) == where);
}

}  // namespace

TEST_CASE("why a pod fits on one node or not") {
  struct Row {
    const char* what;
    api::ObjectPtr n;
    PodInfoPtr there;
    PodInfoPtr p;
    const char* outcome;
  };
  const char* affinity_message =
      "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
  const Row rows[] = {
      {"room", node("n"), nullptr, pod("p", asking("{cpu: '2'}")), "n"},
      {"no cpu", node("n"), pod("q", asking("{cpu: '1'}"), "{}", "n"),
       pod("p", asking("{cpu: 1001m}")), "0/1 nodes are available: 1 Insufficient cpu."},
      {"no cpu and no memory", node("n"), nullptr, pod("p", asking("{cpu: '3', memory: 5Gi}")),
       "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."},
      {"a pod that asks for nothing fits on a full node", node("n"),
       pod("q", asking("{cpu: '2'}"), "{}", "n"), pod("p"), "n"},
      {"an unknown device", node("n"), nullptr, pod("p", asking("{example.com/gpu: '1'}")),
       "0/1 nodes are available: 1 Insufficient example.com/gpu."},
      {"no ephemeral storage", node("n"), nullptr, pod("p", asking("{ephemeral-storage: 1Gi}")),
       "0/1 nodes are available: 1 Insufficient ephemeral-storage."},
      {"too many pods", node("n", "{}", "{}", "{cpu: '2', pods: '1'}"), pod("q", "{}", "{}", "n"),
       pod("p"), "0/1 nodes are available: 1 Too many pods."},
      {"cordoned", node("n", "{}", "{unschedulable: true}"), nullptr, pod("p"),
       "0/1 nodes are available: 1 node(s) were unschedulable."},
      {"cordoned but tolerated", node("n", "{}", "{unschedulable: true}"), nullptr,
       pod("p", "{tolerations: [{key: node.kubernetes.io/unschedulable, operator: Exists}]}"), "n"},
      {"tainted", node("n", "{}", "{taints: [{key: k, value: v, effect: NoSchedule}]}"), nullptr,
       pod("p"), "0/1 nodes are available: 1 node(s) had untolerated taint(s)."},
      {"a taint of mere preference",
       node("n", "{}", "{taints: [{key: k, effect: PreferNoSchedule}]}"), nullptr, pod("p"), "n"},
      {"tolerated", node("n", "{}", "{taints: [{key: k, value: v, effect: NoExecute}]}"), nullptr,
       pod("p", "{tolerations: [{key: k, value: v}]}"), "n"},
      {"another selector", node("n"), nullptr, pod("p", "{nodeSelector: {a: b}}"),
       affinity_message},
      {"the port is taken", node("n"),
       pod("q", "{containers: [{ports: [{hostPort: 80}]}]}", "{}", "n"),
       pod("p", "{containers: [{ports: [{hostPort: 80, hostIP: 127.0.0.1}]}]}"),
       "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
      {"the port of another protocol", node("n"),
       pod("q", "{containers: [{ports: [{hostPort: 80}]}]}", "{}", "n"),
       pod("p", "{containers: [{ports: [{hostPort: 80, protocol: UDP}]}]}"), "n"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Cluster c;
    c.with(row.n);
    if (row.there) c.with(row.there);
    CHECK(c.place(row.p) == row.outcome);
  }
}

TEST_CASE("reasons are counted over the nodes") {
  Cluster c;
  const auto p = pod("p", asking("{cpu: '3'}"));
  CHECK(c.place(p) == "no nodes available to schedule pods");
  c.with(node("a")).with(node("b", "{}", "{unschedulable: true}"));
  c.with(node("c", "{}", "{unschedulable: true}"));
  CHECK(c.place(p) == "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.");
}

TEST_CASE("which of several fitting nodes is best") {
  SECTION("the one with the most room") {
    Cluster c;
    c.with(node("a")).with(node("b")).with(pod("q", asking("{cpu: '1', memory: 2Gi}"), "{}", "a"));
    check_goes_to(c, pod("p", asking("{cpu: 100m, memory: 100Mi}")), "b");
  }
  SECTION("the one preferred by its labels") {
    Cluster c;
    c.with(node("a")).with(node("b", "{disk: ssd}"));
    check_goes_to(c,
                  pod("p",
                      "{affinity: {nodeAffinity: "
                      "{preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, "
                      "preference: {matchExpressions: [{key: disk, operator: In, "
                      "values: [ssd]}]}}]}}}"),
                  "b");
  }
  SECTION("the one with fewer taints of preference") {
    Cluster c;
    c.with(node("a", "{}", "{taints: [{key: k, effect: PreferNoSchedule}]}")).with(node("b"));
    check_goes_to(c, pod("p"), "b");
  }
  SECTION("the one that has the image") {
    Cluster c;
    auto with_image = made::node_value("b");
    with_image.member("status").set(
        "images", api::parse_yaml("[{names: ['web:latest'], sizeBytes: 900000000}]").value());
    c.with(node("a")).with(api::Object::make(std::move(with_image)));
    check_goes_to(c, pod("p", "{containers: [{image: web}]}"), "b");
  }
  SECTION("any of equals, by the tie breaker") {
    Cluster c;
    c.with(node("a")).with(node("b"));
    std::map<std::string, int> chosen;
    SeededRandom random(1);
    for (int i = 0; i < 100; ++i) ++chosen[c.place(pod("p"), random.next())];
    CHECK(chosen["a"] > 30);
    CHECK(chosen["b"] > 30);
  }
}

TEST_CASE("pods near to and far from other pods") {
  const std::string near =
      "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
      "[{topologyKey: zone, labelSelector: {matchLabels: {app: web}}}]}}}";
  const std::string far =
      "{affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
      "[{topologyKey: zone, labelSelector: {matchLabels: {app: web}}}]}}}";
  Cluster c;
  c.with(node("a", "{zone: one}")).with(node("b", "{zone: two}")).with(node("c"));

  SECTION("the first of a group may go where the label is") {
    for (std::uint64_t i = 0; i < 3; ++i) CHECK(c.place(pod("p", near, "{app: web}"), i) != "c");
    CHECK(c.place(pod("p", near, "{app: db}")) ==
          "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
  }
  SECTION("near") {
    c.with(pod("q", "{}", "{app: web}", "b"));
    check_goes_to(c, pod("p", near), "b");
  }
  SECTION("every required term must mean the same pod") {
    c.with(pod("q", "{}", "{app: web}", "a")).with(pod("r", "{}", "{tier: x}", "a"));
    const std::string both =
        "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "[{topologyKey: zone, labelSelector: {matchLabels: {app: web}}},"
        "{topologyKey: zone, labelSelector: {matchLabels: {tier: x}}}]}}}";
    CHECK(c.place(pod("p", both)) ==
          "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
    c.with(pod("s", "{}", "{app: web, tier: x}", "b"));
    check_goes_to(c, pod("p", both), "b");
  }
  SECTION("far, and from those that want to be alone") {
    c.with(pod("q", far, "{app: web}", "a"));
    for (std::uint64_t i = 0; i < 3; ++i) {
      CHECK(c.place(pod("p", far), i) != "a");
      CHECK(c.place(pod("p", "{}", "{app: web}"), i) != "a");
    }
    CHECK(c.place(pod("p", "{nodeSelector: {zone: one}}", "{app: web}")) ==
          "0/3 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, "
          "2 node(s) didn't match Pod's node affinity/selector.");
    c.with(pod("r", "{}", "{app: web}", "b"));
    check_goes_to(c, pod("p", far), "c");
  }
  SECTION("preferred, and drawn by what those there require") {
    c.with(pod("q", "{}", "{app: web}", "b"));
    check_goes_to(c,
                  pod("p",
                      "{affinity: {podAffinity: "
                      "{preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, "
                      "podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: "
                      "{app: web}}}}]}}}"),
                  "b");
  }
  SECTION("an ended pod counts no more") {
    auto ended = made::pod_value("q", "{}", "{app: web}", "b");
    ended.member("status").set("phase", "Succeeded");
    c.with(std::make_shared<const PodInfo>(api::Object::make(std::move(ended))));
    CHECK(c.place(pod("p", near)) ==
          "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
  }
}

TEST_CASE("pods spread over domains") {
  const std::string spread =
      "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: "
      "DoNotSchedule, labelSelector: {matchLabels: {app: web}}";
  Cluster c;
  c.with(node("a", "{zone: one}")).with(node("b", "{zone: two}"));
  c.with(pod("q", "{}", "{app: web}", "a"));
  SECTION("the emptier one") { check_goes_to(c, pod("p", spread + "}]}", "{app: web}"), "b"); }
  SECTION("none when the emptier one is full") {
    c.with(pod("full", asking("{cpu: '2'}"), "{}", "b"));
    CHECK(c.place(pod("p", spread + "}], containers: [{resources: {requests: {cpu: '1'}}}]}",
                      "{app: web}")) ==
          "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread "
          "constraints.");
  }
  SECTION("fewer domains than wanted count as empty ones") {
    c.with(pod("r", "{}", "{app: web}", "b"));
    CHECK(c.place(pod("p", spread + ", minDomains: 3}]}", "{app: web}")) ==
          "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.");
  }
  SECTION("a node without the label") {
    c.with(node("c"));
    CHECK(c.place(pod("p", spread + "}], nodeSelector: {none: such}}", "{app: web}")) ==
          "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.");
    c.snapshot.remove_node("a");
    c.snapshot.remove_node("b");
    CHECK(c.place(pod("p", spread + "}]}", "{app: web}")) ==
          "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints "
          "(missing required label).");
  }
  SECTION("domains are those of nodes that the pod may use") {
    c.with(pod("r", "{}", "{app: web}", "a"));
    check_goes_to(c, pod("p", spread + "}], nodeSelector: {zone: one}}", "{app: web}"), "a");
  }
  SECTION("softly") {
    std::string soft = spread;
    soft.replace(soft.find("DoNotSchedule"), 13, "ScheduleAnyway");
    check_goes_to(c, pod("p", soft + "}]}", "{app: web}"), "b");
  }
}

TEST_CASE("plug-ins that scale their scores") {
  std::vector<std::int64_t> scores = {0, 5, 10};
  normalize_by_max(scores, false);
  CHECK(scores == std::vector<std::int64_t>{0, 50, 100});
  scores = {0, 5, 10};
  normalize_by_max(scores, true);
  CHECK(scores == std::vector<std::int64_t>{100, 50, 0});
  scores = {0, 0};
  normalize_by_max(scores, true);
  CHECK(scores == std::vector<std::int64_t>{100, 100});

  plugins::InterPodAffinity affinity;
  const CycleState state(1);
  scores = {-10, 0, 10};
  affinity.normalize(state, *pod("p"), {}, scores);
  CHECK(scores == std::vector<std::int64_t>{0, 50, 100});
}

TEST_CASE("resource scores") {
  Cluster c;
  c.with(node("a"));
  const NodeInfo& a = *c.snapshot.find("a");
  const CycleState state(1);
  const plugins::NodeResourcesFit fit;
  const plugins::NodeResourcesBalancedAllocation balanced;
  CHECK(fit.score(state, *pod("p", asking("{cpu: '1', memory: 2Gi}")), a) == 50);
  CHECK(fit.score(state, *pod("p", asking("{cpu: '2', memory: 4Gi}")), a) == 0);
  CHECK(balanced.score(state, *pod("p", asking("{cpu: '1', memory: 2Gi}")), a) == 100);
  CHECK(balanced.score(state, *pod("p", asking("{cpu: '2', memory: '0'}")), a) == 50);
  CHECK(balanced.score(state, *pod("p"), a) == 0);
}

TEST_CASE("how many nodes are looked at") {
  CHECK(nodes_to_find(3) == 3);
  CHECK(nodes_to_find(100) == 100);
  CHECK(nodes_to_find(1000) == 420);
  CHECK(nodes_to_find(5000) == 500);
  CHECK(nodes_to_find(10000) == 500);
}

TEST_CASE("assumed pods take room until they are confirmed or forgotten") {
  Cluster c;
  c.with(node("a"));
  const auto p = pod("p", asking("{cpu: '2'}"));
  const auto q = pod("q", asking("{cpu: '1'}"));
  c.snapshot.assume(p, "a");
  CHECK(c.place(q) == "0/1 nodes are available: 1 Insufficient cpu.");
  c.snapshot.set_pod(p);  // an older state of it, without its node
  CHECK(c.place(q) == "0/1 nodes are available: 1 Insufficient cpu.");
  c.snapshot.forget("uid-p");
  CHECK(c.place(q) == "a");
  c.snapshot.assume(p, "a");
  c.with(pod("p", asking("{cpu: '2'}"), "{}", "a"));
  CHECK_FALSE(c.snapshot.assumed("uid-p"));
  c.snapshot.forget("uid-p");  // confirmed: nothing to take back
  CHECK(c.place(q) == "0/1 nodes are available: 1 Insufficient cpu.");
  c.snapshot.remove_pod("uid-p");
  CHECK(c.place(q) == "a");
}

TEST_CASE("a node that comes back still has its pods") {
  Cluster c;
  c.with(pod("early", asking("{cpu: '2'}"), "{}", "a")).with(node("a"));
  const auto q = pod("q", asking("{cpu: '1'}"));
  CHECK(c.place(q) == "0/1 nodes are available: 1 Insufficient cpu.");
  c.snapshot.remove_node("a");
  CHECK(c.place(q) == "no nodes available to schedule pods");
  c.with(node("a"));
  CHECK(c.place(q) == "0/1 nodes are available: 1 Insufficient cpu.");
}
