#include "node_ipam_plan.hpp"

#include <catch2/catch_test_macros.hpp>
#include <sstream>

#include "skiff/api/codec.hpp"

using namespace skiff;
using namespace skiff::controllers;

namespace {

// "name[=range][:pod address]...", oldest first; "-" for a node that is gone.
std::vector<NodeInUse> nodes_of(const std::string& text) {
  std::vector<NodeInUse> out;
  std::istringstream words(text);
  int minute = 10;
  for (std::string word; words >> word; ++minute) {
    std::istringstream parts(word);
    std::string name;
    std::getline(parts, name, ':');
    Value doc = Value::object();
    if (const auto equals = name.find('='); equals != std::string::npos) {
      Value spec = Value::object({{"podCIDR", Value(name.substr(equals + 1))}});
      spec.set("podCIDRs", Value::array({Value(name.substr(equals + 1))}));
      doc.set("spec", std::move(spec));
      name.resize(equals);
    }
    Value metadata = Value::object({{"name", Value(name)}});
    metadata.set("uid", "uid-" + name);
    metadata.set("creationTimestamp", "2025-01-01T00:" + std::to_string(minute) + ":00Z");
    doc.set("metadata", std::move(metadata));
    NodeInUse node{name == "-" ? nullptr : api::Object::make(std::move(doc)), {}};
    for (std::string ip; std::getline(parts, ip, ':');) node.pod_ips.push_back(ip);
    out.push_back(std::move(node));
  }
  return out;
}

std::string text_of(const RangePlan& plan) {
  std::string out;
  for (const auto& [node, range] : plan.give) out += node->name() + "=" + range.to_string() + " ";
  for (const auto& node : plan.left_out) out += node->name() + "=none ";
  for (const auto& [node, first] : plan.doubled) out += node->name() + "~" + first->name() + " ";
  return out + std::to_string(plan.next);
}

}  // namespace

TEST_CASE("ranges are given to nodes") {
  struct Row {
    const char* nodes;
    std::uint32_t next;
    const char* want;
  };
  const Row rows[] = {
      {"", 0, "0"},
      {"a", 0, "a=10.42.0.0/24 1"},
      {"b a c", 0, "b=10.42.0.0/24 a=10.42.1.0/24 c=10.42.2.0/24 3"},
      // What is there stands, also of nodes that are younger.
      {"a b=10.42.0.0/24", 0, "a=10.42.1.0/24 2"},
      {"a=10.42.1.0/24 b c", 0, "b=10.42.0.0/24 c=10.42.2.0/24 3"},
      // Larger and smaller ones count for all they touch; those elsewhere for nothing.
      {"a=10.42.0.0/23 b=10.42.2.128/25 c", 0, "c=10.42.3.0/24 0"},
      {"a=10.0.0.0/8 b", 0, "b=none 0"},
      {"a=192.0.2.0/24 b=fd00::/64 c", 0, "c=10.42.0.0/24 1"},
      // Going round.
      {"a=10.42.0.0/24 b=10.42.2.0/24 c", 2, "c=10.42.3.0/24 0"},
      {"a=10.42.0.0/24 b=10.42.2.0/24 c d", 3, "c=10.42.3.0/24 d=10.42.1.0/24 2"},
      // All gone.
      {"a=10.42.0.0/24 b=10.42.1.0/24 c=10.42.2.0/24 d e f", 0, "d=10.42.3.0/24 e=none f=none 0"},
      // Pods that have addresses keep them, before anybody else is given some.
      {"a b:10.42.0.7", 0, "b=10.42.0.0/24 a=10.42.1.0/24 2"},
      {"a:10.42.2.9:10.42.2.10 b", 0, "a=10.42.2.0/24 b=10.42.0.0/24 1"},
      {"a=10.42.0.0/24 b:10.42.0.7", 0, "b=10.42.1.0/24 2"},
      {"a:192.0.2.1:fd00::1:10.42.3.1", 0, "a=10.42.3.0/24 0"},
      {"a:10.42.0.7 b:10.42.0.8", 0, "a=10.42.0.0/24 b=10.42.1.0/24 2"},
      // Pods outlive their Node, for a while: their range is kept for it should it come back.
      {"-:10.42.0.7 a", 0, "a=10.42.1.0/24 2"},
      {"-:10.42.0.7 a b:10.42.0.7", 0, "b=10.42.0.0/24 a=10.42.1.0/24 2"},
      {"a=10.42.0.0/24 -:10.42.0.7 b", 0, "b=10.42.1.0/24 2"},
      // Two with one range: told of the younger.
      {"a=10.42.0.0/24 b=10.42.0.0/24 c", 0, "c=10.42.1.0/24 b~a 2"},
  };
  for (const Row& row : rows) {
    INFO(row.nodes << " from " << row.next);
    const auto cluster = AddressRange::parse("10.42.0.0/22");
    REQUIRE(cluster.has_value());
    CHECK(text_of(plan_ranges(*cluster, 24, nodes_of(row.nodes), row.next)) == row.want);
  }
}

TEST_CASE("a small cluster CIDR is one node's range") {
  const auto plan = [](const char* cluster, const char* nodes) {
    return text_of(plan_ranges(*AddressRange::parse(cluster), 24, nodes_of(nodes), 0));
  };
  CHECK(plan("10.42.0.128/25", "a b") == "a=10.42.0.128/25 b=none 0");
  CHECK(plan("10.42.7.9/24", "a b") == "a=10.42.7.0/24 b=none 0");
  CHECK(plan("10.0.0.0/8", "a=10.255.255.0/24 b") == "b=10.0.0.0/24 1");
}

TEST_CASE("ranges as text") {
  for (const char* same : {"10.42.0.0/16", "0.0.0.0/0", "255.255.255.255/32", "10.0.0.128/25"}) {
    const auto range = AddressRange::parse(same);
    INFO(same);
    REQUIRE(range.has_value());
    CHECK(range->to_string() == same);
  }
  CHECK(AddressRange::parse("10.42.3.7")->to_string() == "10.42.3.7/32");
  CHECK(AddressRange::parse("10.42.3.7/20")->to_string() == "10.42.0.0/20");
  for (const char* bad : {"", "ten", "10.42", "10.42.0.0/", "10.42.0.0/33", "10.42.0.256/24",
                          "10.42.0.0/24 ", "10.42.0.0/2x", "fd00::/64", "10..0.0/8"}) {
    INFO(bad);
    CHECK_FALSE(AddressRange::parse(bad).has_value());
  }
}
