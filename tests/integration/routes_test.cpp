// Routes between nodes on a real kernel, in a machine made of network namespaces.
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>

#include "network_lab.hpp"
#include "skiff/client/informer.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/network/routes.hpp"
#include "support/fake_client.hpp"

using namespace skiff;
using lab::Namespace;
using netlink::Prefix;

TEST_CASE("routes lead to the pods of other nodes, and come back") {
  if (const auto why = lab::missing(); !why.empty()) SKIP(why);
  const auto home = Namespace::enter_fresh();
  lab::World world;
  auto route = netlink::Route::open();
  REQUIRE(route.has_value());
  netlink::VethPair uplink;
  uplink.name = "uplink1";
  uplink.peer_name = "uplink2";
  REQUIRE(route->add_veth(uplink).has_value());
  netlink::LinkChange up;
  up.up = true;
  const auto here = route->link("uplink1");
  REQUIRE(here.has_value());
  REQUIRE(route->add_address(here->index, *Prefix::parse("192.0.2.1/24")).has_value());
  REQUIRE(route->change_link(route->link("uplink2")->index, up).has_value());
  REQUIRE(route->change_link(here->index, up).has_value());

  const auto make = [&](const char* to, const char* via, std::uint8_t protocol) {
    netlink::RouteEntry r;
    r.destination = *Prefix::parse(to);
    r.gateway = *netlink::IpAddress::parse(via);
    r.interface = here->index;
    r.protocol = protocol;
    return r;
  };
  REQUIRE(route->add_route(make("10.42.8.0/24", "192.0.2.8", 0)).has_value());
  REQUIRE(route->add_route(make("10.42.9.0/24", "192.0.2.9", network::kRouteProtocol)).has_value());

  test::FakeClient api{world.env};
  client::InformerFactory informers{world.env, api};
  network::RouteOptions options;
  options.node_name = "me";
  options.cluster_cidr = *Prefix::parse("10.42.0.0/16");
  network::Routes routes(world.env, informers, options);
  TaskGroup group{world.io.get_executor()};
  routes.start(group);
  informers.start(group);

  const auto have = [&] {
    std::string out;
    for (const auto& r : *route->routes()) {
      if (r.gateway) out += r.destination->to_string() + ">" + r.gateway->to_string() + " ";
    }
    return out;
  };
  const auto become = [&](const std::string& wanted) {
    for (int i = 0; i < 1000 && have() != wanted; ++i) {
      world.io.restart();
      world.io.run_for(10ms);
    }
    return have();
  };
  const auto put = [&](const std::string& name, const std::string& range, const std::string& ip) {
    auto object =
        *api::parse_yaml(fmt::format("{{metadata: {{name: {}}}, spec: {{podCIDRs: [{}]}}, "
                                     "status: {{addresses: [{{type: InternalIP, address: {}}}]}}}}",
                                     name, range, ip));
    REQUIRE(api.create_now(client::resources::kNodes.at("", name), std::move(object)).has_value());
  };
  const std::string others = "10.42.8.0/24>192.0.2.8 ";
  CHECK(become(others) == others);  // what a former run left is gone
  put("me", "10.42.0.0/24", "192.0.2.1");
  put("a", "10.42.1.0/24", "192.0.2.2");
  put("far", "10.42.2.0/24", "198.51.100.2");
  put("b", "10.42.8.0/24", "192.0.2.3");  // somebody has seen to that one
  const std::string both = "10.42.1.0/24>192.0.2.2 " + others;
  CHECK(become(both) == both);
  // Taken away by hand, and with the link.
  REQUIRE(route->delete_route(make("10.42.1.0/24", "192.0.2.2", 0)).error().code ==
          Code::not_found);
  REQUIRE(
      route->delete_route(make("10.42.1.0/24", "192.0.2.2", network::kRouteProtocol)).has_value());
  CHECK(become(both) == both);
  netlink::LinkChange down;
  down.up = false;
  REQUIRE(route->change_link(here->index, down).has_value());
  CHECK(become("").empty());
  REQUIRE(route->change_link(here->index, up).has_value());
  CHECK(become("10.42.1.0/24>192.0.2.2 10.42.8.0/24>192.0.2.3 ") ==
        "10.42.1.0/24>192.0.2.2 10.42.8.0/24>192.0.2.3 ");
  REQUIRE(api.remove_now(client::resources::kNodes.at("", "a")).has_value());
  CHECK(become("10.42.8.0/24>192.0.2.3 ") == "10.42.8.0/24>192.0.2.3 ");
  group.cancel();
  world.run(group.join());
}
