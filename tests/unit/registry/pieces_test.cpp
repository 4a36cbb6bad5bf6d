// The small pure parts.
#include <catch2/catch_test_macros.hpp>

#include "continue_token.hpp"
#include "conversion.hpp"
#include "encode.hpp"
#include "fixture.hpp"
#include "keys.hpp"
#include "selection.hpp"
#include "service_allocator.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::registry {

using test::parse;

TEST_CASE("scan finds what a parser would") {
  const std::string json =
      R"({"a":{"b":[1,{"c":"x\"}y"}],"d":"e\\"},"n":-12,"t":true,"z":null,"s":"g","l":["p","q"]})";
  const Value doc = parse(json);
  CHECK(scan::find(json, {"a", "b"}) == R"([1,{"c":"x\"}y"}])");
  CHECK(scan::text(scan::find(json, {"a", "d"})) == doc["a"]["d"].as_string());
  CHECK(scan::integer(scan::find(json, {"n"})) == -12);
  CHECK(scan::text(scan::find(json, {"t"})) == "true");
  CHECK(scan::text(scan::find(json, {"z"})).empty());
  CHECK(scan::equals(scan::find(json, {"s"}), "g"));
  CHECK(scan::find(json, {"a", "x"}).empty());
  CHECK(scan::find(json, {"s", "x"}).empty());
  CHECK(scan::find("{}", {"s"}).empty());
  std::vector<std::string> seen;
  scan::elements(scan::find(json, {"l"}), [&](std::string_view raw) {
    seen.push_back(scan::text(raw));
    return true;
  });
  CHECK(seen == std::vector<std::string>{"p", "q"});
  scan::elements("[]", [&](std::string_view) {
    FAIL("an empty array has no elements");
    return true;
  });
}

TEST_CASE("objects are encoded with a gap for the revision") {
  const Value doc = parse(
      R"({"spec":{"x":1},"metadata":{"labels":{"a":"b"},"resourceVersion":"9","name":"n"},"kind":"K"})");
  const Encoded e = encode(doc);
  CHECK(
      e.json ==
      R"({"kind":"K","metadata":{"name":"n","resourceVersion":"","labels":{"a":"b"}},"spec":{"x":1}})");
  std::string stored = e.json;
  stored.insert(e.slot, "42");
  CHECK(parse(stored)["metadata"]["resourceVersion"].as_string() == "42");
  const Encoded again = reopen(stored);
  CHECK(again.json == e.json);
  CHECK(again.slot == e.slot);
  CHECK(parse(with_revision(stored, 1234))["metadata"]["resourceVersion"].as_string() == "1234");
  // Without metadata one is made.
  CHECK(encode(parse(R"({"kind":"K"})")).json ==
        R"({"kind":"K","metadata":{"resourceVersion":""}})");
}

TEST_CASE("keys put one kind in one place") {
  const auto* deployments = api::find_resource("apps", "v1", "deployments");
  const auto* nodes = api::find_resource("", "v1", "nodes");
  CHECK(keys::of(*deployments, "default", "web") == "/apps/deployments/default/web");
  CHECK(keys::of(*nodes, "", "n1") == "/core/nodes/n1");
  CHECK(keys::name_of("/apps/deployments/default/web") == "web");
  CHECK(keys::namespace_of("/apps/deployments/default/web") == "default");
  CHECK(keys::namespace_of("/core/nodes/n1").empty());
  CHECK(keys::of(*api::find_resource("events.k8s.io", "v1", "events"), "a", "b") ==
        keys::of(*api::find_resource("", "v1", "events"), "a", "b"));
  CHECK(keys::of(*api::find_resource("autoscaling", "v1", "horizontalpodautoscalers"), "a", "b") ==
        keys::of(*api::find_resource("autoscaling", "v2", "horizontalpodautoscalers"), "a", "b"));
}

TEST_CASE("continue tokens survive the trip and refuse nonsense") {
  const ContinueToken token{77, "default/a\x01\xff", 12};
  const auto back = ContinueToken::decode(token.encode());
  REQUIRE(back.has_value());
  CHECK(back->revision == 77);
  CHECK(back->after == token.after);
  CHECK(back->remaining == 12);
  for (const char* bad : {"", "x", "s1", "s1.1.2", "s2.1.2.00", "s1.x.2.00", "s1.1.2.0",
                          "s1.1.2.zz", "s1.0.2.00", "s1.-7.2.00"}) {
    INFO(bad);
    CHECK_FALSE(ContinueToken::decode(bad).has_value());
  }
}

TEST_CASE("service addresses") {
  SeededRandom random(1);
  auto made = ServiceAllocator::make(random, "10.0.0.0/28,fd00::/120", 30000, 30003);
  REQUIRE(made.has_value());
  ServiceAllocator& a = *made;
  CHECK(a.first_ip() == "10.0.0.1");
  CHECK(a.cidr(IpFamily::v6) == "fd00::/120");
  CHECK(a.claim_ip("10.0.0.1").has_value());
  CHECK(a.claim_ip("10.0.0.1").error().code == Code::already_exists);
  for (const char* bad : {"10.0.0.0", "10.0.0.15", "10.0.0.16", "1.2.3.4", "fd00::1:0", "x"}) {
    INFO(bad);
    CHECK(a.claim_ip(bad).error().code == Code::invalid);
  }
  std::set<std::string> taken;
  for (int i = 0; i < 13; ++i) taken.insert(a.next_ip(IpFamily::v4).value());
  CHECK(taken.size() == 13);
  CHECK_FALSE(taken.contains("10.0.0.1"));
  CHECK_FALSE(taken.contains("10.0.0.15"));
  CHECK(a.next_ip(IpFamily::v4).error().message == "range is full");
  a.release_ip("10.0.0.7");
  CHECK(a.next_ip(IpFamily::v4).value() == "10.0.0.7");
  CHECK(a.next_ip(IpFamily::v6).value().starts_with("fd00::"));

  std::set<int> ports;
  for (int i = 0; i < 4; ++i) ports.insert(a.next_port().value());
  CHECK(ports == std::set<int>{30000, 30001, 30002, 30003});
  CHECK_FALSE(a.next_port().has_value());
  CHECK(a.claim_port(30000).error().code == Code::already_exists);
  CHECK(a.claim_port(29999).error().code == Code::invalid);
  for (const char* bad :
       {"", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "a/b", "10.0.0.0/8,10.1.0.0/16"}) {
    INFO(bad);
    CHECK_FALSE(ServiceAllocator::make(random, bad, 1, 2).has_value());
  }
}

TEST_CASE("automatic addresses leave the low ones alone") {
  SeededRandom random(1);
  auto a = ServiceAllocator::make(random, "10.96.0.0/16", 30000, 32767).value();
  for (int i = 0; i < 200; ++i) {
    const std::string ip = a.next_ip(IpFamily::v4).value();
    INFO(ip);
    CHECK_FALSE(ip.starts_with("10.96.0."));
    CHECK(a.next_port().value() >= 30086);
  }
}

TEST_CASE("selections decide on bytes") {
  const auto* pods = api::find_resource("", "v1", "pods");
  store::Item item;
  item.value =
      R"({"kind":"Pod","metadata":{"name":"p","namespace":"d","labels":{"app":"web","n":"7"}},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}})";
  const struct {
    const char* labels;
    const char* fields;
    bool match;
  } cases[] = {
      {"", "", true},
      {"app=web", "", true},
      {"app==web,n!=8", "", true},
      {"app!=web", "", false},
      {"other!=web", "", true},
      {"app in (web,api)", "", true},
      {"app notin (web)", "", false},
      {"x notin (web)", "", true},
      {"app", "", true},
      {"!app", "", false},
      {"n>6", "", true},
      {"n<7", "", false},
      {"", "metadata.name=p", true},
      {"", "metadata.name!=p", false},
      {"", "spec.nodeName=n1,status.phase=Running", true},
      {"", "status.phase!=Running", false},
      {"", "spec.hostNetwork=false", true},
      {"", "spec.hostNetwork=true", false},
      {"", "status.podIP=", true},
      {"app=web", "spec.nodeName=n2", false},
  };
  for (const auto& c : cases) {
    INFO(c.labels << " / " << c.fields);
    const auto selection = Selection::make(*pods, c.labels, c.fields);
    REQUIRE(selection.has_value());
    CHECK(selection->matches(item) == c.match);
  }
  const auto named = Selection::make(*pods, "", "metadata.name=p").value();
  CHECK(named.range(*pods, "d").begin == "/core/pods/d/p");
  CHECK(named.range(*pods, "").begin == "/core/pods/");
  const auto on_node = Selection::make(*pods, "", "spec.nodeName=n1").value();
  CHECK(on_node.attribute() == std::pair<std::string, std::string>("spec.nodeName", "n1"));
  CHECK(Selection::make(*pods, "a in", "").error().code == Code::bad_request);
  CHECK(Selection::make(*pods, "", "a").error().code == Code::bad_request);
}

TEST_CASE("autoscalers keep what version 1 cannot say") {
  const auto* v1 = api::find_resource("autoscaling", "v1", "horizontalpodautoscalers");
  Value doc = parse(R"({"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/v2","metadata":{
    "name":"h"},"spec":{"maxReplicas":3,"metrics":[
    {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}},
    {"type":"Pods","pods":{"metric":{"name":"m"},"target":{"type":"AverageValue","averageValue":"10"}}},
    {"type":"Object","object":{"describedObject":{"kind":"Service","name":"s"},"metric":{"name":"r"},
      "target":{"type":"Value","value":"5"}}}],"behavior":{"scaleDown":{"stabilizationWindowSeconds":5}}}})");
  const Value before = doc;
  to_served(*v1, doc);
  CHECK(doc["apiVersion"].as_string() == "autoscaling/v1");
  CHECK(doc["spec"]["targetCPUUtilizationPercentage"].as_int() == 50);
  CHECK_FALSE(doc["spec"].has("metrics"));
  to_stored(*v1, doc);
  CHECK(doc == before);
}

}  // namespace skiff::registry
