// What history shows and what undo writes, as tables.
#include <catch2/catch_test_macros.hpp>

#include "diff.hpp"
#include "restore.hpp"

namespace skiff::cli {
namespace {

using api::Value;

Value parse(std::string_view yaml) { return api::parse_yaml(yaml).value(); }

const api::Resource& kind(std::string_view group, std::string_view plural) {
  const api::Resource* r = api::storage_resource(group, plural);
  REQUIRE(r != nullptr);
  return *r;
}

std::string diff(std::string_view a, std::string_view b, bool secret = false) {
  const Value before = parse(a);
  const Value after = parse(b);
  return diff_text(differences(before, after), secret);
}

TEST_CASE("differences are told as field paths") {
  CHECK(diff("{a: 1}", "{a: 1}").empty());
  CHECK(diff("{spec: {replicas: 1}}", "{spec: {replicas: 3}}") ==
        "    spec.replicas: 1 \u2192 3\n");
  CHECK(diff("{a: 1, b: x}", "{b: x, c: [1]}") == "  - a: 1\n  + c: [1]\n");
  CHECK(diff("{m: {l: {a.b/c: x}}}", "{m: {l: {a.b/c: v}}}") ==
        "    m.l[\"a.b/c\"]: \"x\" \u2192 \"v\"\n");
  CHECK(diff("{m: {}}", "{m: {labels: {a: x, b: v}}}") ==
        "  + m.labels.a: \"x\"\n  + m.labels.b: \"v\"\n");
}

TEST_CASE("list elements are told apart by what names them") {
  CHECK(diff("{c: [{name: a, image: x}, {name: b, image: old}]}",
             "{c: [{name: b, image: z}, {name: a, image: x}]}") ==
        "    c[name=b].image: \"old\" \u2192 \"z\"\n");
  CHECK(diff("{c: [{name: a}]}", "{c: [{name: a}, {name: b}]}") == "  + c[name=b].name: \"b\"\n");
  CHECK(diff("{c: [1, 2]}", "{c: [1, 3, 4]}") == "    c[1]: 2 \u2192 3\n  + c[2]: 4\n");
  // Two of one name: by position.
  CHECK(diff("{c: [{name: a}, {name: a}]}", "{c: [{name: a}, {name: b}]}") ==
        "    c[1].name: \"a\" \u2192 \"b\"\n");
}

TEST_CASE("a secret's data is not shown") {
  const std::string text = diff("{data: {k: aGVsbG8=}}", "{data: {k: c2VjcmV0cw==}}", true);
  CHECK(text.find("aGVs") == std::string::npos);
  CHECK(text.find("c2Vj") == std::string::npos);
  CHECK(text.find("data.k") != std::string::npos);
}

TEST_CASE("long values are shortened between characters") {
  std::string umlauts;
  for (int i = 0; i < 300; ++i) umlauts += "\u00e4";
  const std::string text = diff("{}", "{a: " + umlauts + "}");
  CHECK(text.size() < 200);
  CHECK(api::parse_json("\"" + text.substr(8, text.find("...") - 8) + "\"").has_value());
}

constexpr std::string_view kOld = R"({apiVersion: v1, kind: Service,
  metadata: {name: web, namespace: default, uid: old, resourceVersion: "5", generation: 2,
             creationTimestamp: "2026-01-01T00:00:00Z", labels: {a: x}},
  spec: {type: ClusterIP, clusterIP: 10.0.0.5, clusterIPs: [10.0.0.5], ports: [{port: 80}]},
  status: {loadBalancer: {}}})";

TEST_CASE("an object that exists keeps who it is") {
  const Value now = parse(R"({metadata: {name: web, namespace: default, uid: new,
    resourceVersion: "9", creationTimestamp: "2026-02-01T00:00:00Z"},
    spec: {type: ClusterIP, clusterIP: 10.0.0.9, clusterIPs: [10.0.0.9], ports: [{port: 81}]}})");
  const Value doc = restored(kind("", "services"), parse(kOld), now);
  CHECK(doc["metadata"]["uid"].as_string() == "new");
  CHECK(doc["metadata"]["resourceVersion"].as_string() == "9");
  CHECK(doc["metadata"]["creationTimestamp"].as_string() == "2026-02-01T00:00:00Z");
  CHECK(doc["metadata"]["labels"]["a"].as_string() == "x");
  CHECK(doc["spec"]["clusterIP"].as_string() == "10.0.0.9");
  CHECK(doc["spec"]["ports"][std::size_t{0}]["port"].as_int() == 80);
  CHECK(doc.find("status") == nullptr);
}

TEST_CASE("an object that is gone comes back as a new one") {
  const Value doc = recreated(kind("", "services"), parse(kOld));
  for (const char* name : {"uid", "resourceVersion", "generation", "creationTimestamp"}) {
    CHECK(doc["metadata"].find(name) == nullptr);
  }
  CHECK(doc["spec"]["clusterIP"].as_string() == "10.0.0.5");
  CHECK(doc.find("status") == nullptr);
  const Value pod =
      recreated(kind("", "pods"), parse("{metadata: {name: p}, spec: {nodeName: n}}"));
  CHECK(pod["spec"].find("nodeName") == nullptr);
}

TEST_CASE("status, identity and controllers' annotations are no difference") {
  const api::Resource& r = kind("apps", "deployments");
  const Value a = parse(R"({metadata: {name: w, uid: a, resourceVersion: "1",
    annotations: {deployment.kubernetes.io/revision: "1"}}, spec: {replicas: 1}})");
  const Value b = parse(R"({metadata: {name: w, uid: a, resourceVersion: "2",
    annotations: {deployment.kubernetes.io/revision: "2"}}, spec: {replicas: 1},
    status: {replicas: 1}})");
  const Value c = parse("{metadata: {name: w}, spec: {replicas: 2}}");
  CHECK(same_but_noise(r, a, b));
  CHECK_FALSE(same_but_noise(r, a, c));
  const Value back = restored(r, a, b);
  CHECK(back["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_string() == "2");
}

Dated dated(std::string_view group, std::string_view plural, std::string_view yaml) {
  return {&kind(group, plural), parse(yaml)};
}

TEST_CASE("a namespace is restored in an order that works") {
  std::vector<Dated> was;
  was.push_back(dated("apps", "deployments", "{metadata: {name: w}, spec: {replicas: 1}}"));
  was.push_back(dated("", "configmaps", "{metadata: {name: c}, data: {a: x}}"));
  was.push_back(dated("", "configmaps", "{metadata: {name: same}, data: {a: x}}"));
  was.push_back(dated("", "configmaps", "{metadata: {name: gone}}"));
  was.push_back(
      dated("", "pods", "{metadata: {name: w-1, ownerReferences: [{controller: true}]}}"));
  std::vector<Dated> now;
  now.push_back(dated("", "configmaps", "{metadata: {name: c, uid: u}, data: {a: v}}"));
  now.push_back(dated("", "configmaps", "{metadata: {name: same, uid: v}, data: {a: x}}"));
  now.push_back(dated("", "configmaps", "{metadata: {name: extra, uid: e, resourceVersion: '7'}}"));
  now.push_back(
      dated("", "pods", "{metadata: {name: w-2, ownerReferences: [{controller: true}]}}"));
  std::string text;
  for (const RestoreStep& s : plan_restore(was, now)) {
    text += s.type == RestoreStep::Type::create   ? "create "
            : s.type == RestoreStep::Type::update ? "update "
                                                  : "remove ";
    text += s.name + s.uid + s.revision + "\n";
  }
  CHECK(text == "create gone\ncreate w\nupdate c\nremove extrae7\n");
}

}  // namespace
}  // namespace skiff::cli
