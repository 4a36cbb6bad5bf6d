#include "owner_graph.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff::controllers;

namespace {

GraphNode node(std::string uid, std::vector<OwnerReference> owners) {
  GraphNode n;
  n.uid = uid;
  n.key = {"ns", uid};
  n.owners = std::move(owners);
  return n;
}

Suspects of(std::initializer_list<const char*> uids) {
  Suspects out;
  for (const char* uid : uids) out.push_back({uid});
  return out;
}

}  // namespace

TEST_CASE("dependents of an owner nobody has seen are suspects until it is verified") {
  OwnerGraph graph;
  CHECK(graph.put(node("pod1", {{"set"}})) == of({"pod1"}));
  graph.verified("set", 1);
  CHECK(graph.put(node("pod2", {{"set"}})).empty());
  CHECK(graph.put(node("pod2", {{"set"}})).empty());
  CHECK(graph.erase("set") == of({"pod1", "pod2"}));
  CHECK(graph.put(node("pod3", {{"set"}})) == of({"pod3"}));
}

TEST_CASE("objects without owners cost nothing") {
  OwnerGraph graph;
  CHECK(graph.put(node("lone", {})).empty());
  CHECK(graph.size() == 0);
  (void)graph.put(node("x", {{"o"}}));
  CHECK(graph.put(node("x", {})).empty());
  CHECK(graph.size() == 0);
  CHECK(graph.dependents("o").empty());
}

TEST_CASE("a foreground deletion is looked at again whenever a dependent goes") {
  OwnerGraph graph;
  (void)graph.put(node("pod1", {{"set", true}}));
  (void)graph.put(node("pod2", {{"set", false}}));
  GraphNode set = node("set", {});
  set.deleting = set.foreground = true;
  CHECK(graph.put(set) == of({"set", "pod1", "pod2"}));
  CHECK(graph.put(set).empty());
  CHECK(graph.blocking("set").size() == 1);
  CHECK(graph.dependents("set").size() == 2);
  CHECK(graph.put(node("pod1", {{"set", false}})) == of({"set"}));
  CHECK(graph.erase("pod2") == of({"set"}));
}

TEST_CASE("orphaning is told apart") {
  OwnerGraph graph;
  (void)graph.put(node("pod", {{"set"}}));
  GraphNode set = node("set", {});
  set.deleting = set.orphaning = true;
  const Suspects suspects = graph.put(set);
  REQUIRE(suspects.size() == 1);
  CHECK(suspects[0].orphan);
}

TEST_CASE("a list tells who has gone while nobody watched") {
  OwnerGraph graph;
  GraphNode pod1 = node("pod1", {{"set1"}});
  GraphNode pod2 = node("pod2", {{"set2"}});
  pod1.resource = pod2.resource = 7;
  (void)graph.put(pod1);
  (void)graph.put(pod2);
  graph.verified("set1", 3);
  graph.verified("set2", 3);
  CHECK(graph.replace(3, {"set2"}) == of({"pod1"}));
  CHECK(graph.replace(7, {"pod1"}).empty());
  CHECK(graph.find("pod2") == nullptr);
  CHECK(graph.has_any(7));
}
