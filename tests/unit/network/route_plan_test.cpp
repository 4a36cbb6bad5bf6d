#include "route_plan.hpp"

#include <catch2/catch_test_macros.hpp>
#include <sstream>

#include "skiff/api/codec.hpp"

using namespace skiff;
using namespace skiff::network;
using netlink::IpAddress;
using netlink::Prefix;
using netlink::RouteEntry;

namespace {

// "name=range@address ...": "-" for what a Node does not say.
std::vector<api::ObjectPtr> nodes_of(const std::string& text) {
  std::vector<api::ObjectPtr> out;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    const auto at = word.find('@');
    const std::string range = word.substr(equals + 1, at - equals - 1);
    const std::string address = word.substr(at + 1);
    std::string doc = R"({"metadata":{"name":")" + word.substr(0, equals) + R"("})";
    if (range != "-") doc += R"(,"spec":{"podCIDRs":[")" + range + R"("]})";
    doc += R"(,"status":{"addresses":[{"type":"Hostname","address":"10.0.0.99"})";
    if (address != "-") doc += R"(,{"type":"InternalIP","address":")" + address + R"("})";
    out.push_back(api::Object::make(*api::parse_json(doc + "]}}")));
  }
  return out;
}

RouteOptions options() {
  RouteOptions o;
  o.node_name = "me";
  o.cluster_cidr = *Prefix::parse("10.42.0.0/16");
  return o;
}

std::string text_of(const std::vector<Peer>& peers) {
  std::string out;
  for (const Peer& p : peers) {
    out += p.name + "=" + p.range.to_string() + "@" + p.address.to_string() + " ";
  }
  return out;
}

RouteEntry route(const char* to, const char* via, int link, std::uint8_t protocol) {
  RouteEntry r;
  r.destination = *Prefix::parse(to);
  r.gateway = *IpAddress::parse(via);
  r.interface = link;
  r.protocol = protocol;
  return r;
}

std::string text_of(const RouteWork& work) {
  std::string out;
  const auto add = [&](const char* what, const std::vector<RouteEntry>& routes) {
    for (const RouteEntry& r : routes) {
      out += what + r.destination->to_string() + ">" + r.gateway->to_string() + "%" +
             std::to_string(r.interface) + " ";
    }
  };
  add("-", work.remove);
  add("+", work.add);
  for (const std::string& name : work.far) out += "far:" + name + " ";
  return out;
}

// lo, eth0 (192.0.2.1/24), a wider net on eth1 (192.0.0.1/16), the bridge, and a link that is down.
Surroundings machine() {
  Surroundings now;
  const auto link = [&](int index, const char* name, const char* address, bool up) {
    netlink::Link l;
    l.index = index;
    l.name = name;
    l.up = up;
    now.links.push_back(l);
    now.addresses.push_back({index, *Prefix::parse(address)});
  };
  link(1, "lo", "127.0.0.1/8", true);
  link(2, "eth0", "192.0.2.1/24", true);
  link(3, "eth1", "192.0.0.1/16", true);
  link(4, "skiff0", "10.42.0.1/24", true);
  link(5, "eth2", "198.51.100.1/24", false);
  now.addresses.push_back({2, *Prefix::parse("fd00::1/64")});
  return now;
}

}  // namespace

TEST_CASE("which nodes have pods to be routed to") {
  struct Row {
    const char* nodes;
    const char* want;
  };
  const Row rows[] = {
      {"", ""},
      {"me=10.42.0.0/24@192.0.2.1", ""},
      {"a=10.42.1.0/24@192.0.2.2 me=10.42.0.0/24@192.0.2.1", "a=10.42.1.0/24@192.0.2.2 "},
      {"b=10.42.2.0/24@192.0.2.3 a=10.42.1.0/24@192.0.2.2",
       "a=10.42.1.0/24@192.0.2.2 b=10.42.2.0/24@192.0.2.3 "},
      // Not known yet, or of the other family.
      {"a=-@192.0.2.2 b=10.42.1.0/24@- c=fd00::/64@192.0.2.4 d=10.42.3.0/24@fd00::2", ""},
      {"a=ten@192.0.2.2 b=10.42.1.0/24@here", ""},
      // A range that need not be written as its network.
      {"a=10.42.1.7/24@192.0.2.2", "a=10.42.1.0/24@192.0.2.2 "},
      // Ours, and those of others, are not given away.
      {"a=10.42.0.0/24@192.0.2.2 me=10.42.0.0/24@192.0.2.1", ""},
      {"a=10.42.0.128/25@192.0.2.2 me=10.42.0.0/24@192.0.2.1", ""},
      {"a=10.42.1.0/24@192.0.2.2 b=10.42.1.0/24@192.0.2.3", "a=10.42.1.0/24@192.0.2.2 "},
      {"a=0.0.0.0/0@192.0.2.2 b=10.0.0.0/8@192.0.2.3 c=10.43.0.0/24@192.0.2.4", ""},
  };
  for (const Row& row : rows) {
    INFO(row.nodes);
    CHECK(text_of(peers_of(nodes_of(row.nodes), options())) == row.want);
  }
}

TEST_CASE("routes follow the nodes") {
  struct Row {
    const char* nodes;
    std::vector<RouteEntry> routes;
    const char* want;
  };
  const char* to = "10.42.1.0/24";
  const Row rows[] = {
      {"", {}, ""},
      {"a=10.42.1.0/24@192.0.2.2", {}, "+10.42.1.0/24>192.0.2.2%2 "},
      {"a=10.42.1.0/24@192.0.9.2", {}, "+10.42.1.0/24>192.0.9.2%3 "},
      {"a=10.42.1.0/24@192.0.2.2", {route(to, "192.0.2.2", 2, kRouteProtocol)}, ""},
      // The node moved, or its link did.
      {"a=10.42.1.0/24@192.0.2.3",
       {route(to, "192.0.2.2", 2, kRouteProtocol)},
       "-10.42.1.0/24>192.0.2.2%2 +10.42.1.0/24>192.0.2.3%2 "},
      {"a=10.42.1.0/24@192.0.2.2",
       {route(to, "192.0.2.2", 3, kRouteProtocol)},
       "-10.42.1.0/24>192.0.2.2%3 +10.42.1.0/24>192.0.2.2%2 "},
      // Gone.
      {"", {route(to, "192.0.2.2", 2, kRouteProtocol)}, "-10.42.1.0/24>192.0.2.2%2 "},
      // Others' routes are theirs.
      {"", {route(to, "192.0.2.2", 2, 0), route("10.42.2.0/24", "192.0.2.2", 2, 2)}, ""},
      {"a=10.42.1.0/24@192.0.2.2", {route(to, "192.0.2.9", 2, 0)}, ""},
      {"a=10.42.1.0/24@192.0.2.2",
       {route(to, "192.0.2.9", 2, 0), route(to, "192.0.2.2", 2, kRouteProtocol)},
       "-10.42.1.0/24>192.0.2.2%2 "},
      // On no link, on one that is down, behind the bridge, on this very machine.
      {"a=10.42.1.0/24@203.0.113.2", {}, "far:a "},
      {"a=10.42.1.0/24@198.51.100.2", {}, "far:a "},
      {"a=10.42.1.0/24@10.42.0.7", {}, "far:a "},
      {"a=10.42.1.0/24@127.0.0.2", {}, "far:a "},
      {"a=10.42.1.0/24@192.0.2.1", {}, "far:a "},
  };
  for (const Row& row : rows) {
    INFO(row.nodes);
    Surroundings now = machine();
    now.routes = row.routes;
    CHECK(text_of(plan_routes(peers_of(nodes_of(row.nodes), options()), now, "skiff0")) ==
          row.want);
  }
}
