// The pod network and the service proxy on a real kernel, in a node made of network namespaces.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>

#include "network_lab.hpp"
#include "skiff/client/informer.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/linux/nftables.hpp"
#include "skiff/network/network.hpp"
#include "skiff/proxy/proxy.hpp"
#include "support/fake_client.hpp"

using namespace skiff;
using lab::Namespace;
using netlink::Prefix;

namespace {

network::Options network_options() {
  network::Options o;
  o.cluster_cidr = *Prefix::parse("10.42.0.0/16");
  o.service_cidr = *Prefix::parse("10.43.0.0/16");
  return o;
}

const Prefix kRange = *Prefix::parse("10.42.0.0/24");

#define SKIP_UNLESS_ABLE() \
  if (const auto why = lab::missing(); !why.empty()) SKIP(why)

// A node with its network, and pods on it.
struct Node {
  Namespace home = Namespace::enter_fresh();
  lab::World world;
  network::Network network{world.env, network_options()};

  Node() {
    const auto started = world.run(network.start(kRange));
    if (!started) FAIL(started.error().message);
  }

  std::string attach(const std::string& id, const Namespace& pod) {
    const auto attached = world.run(network.attach(id, pod.path()));
    if (!attached) FAIL(attached.error().message);
    return attached->address.to_string();
  }
};

// Three servers behind services, and a proxy.
struct Cluster : Node {
  Namespace client = Namespace::make();
  std::vector<Namespace> pods;
  std::vector<std::string> addresses;
  std::vector<std::unique_ptr<lab::Server>> servers;
  test::FakeClient api{world.env};
  client::InformerFactory informers{world.env, api};
  proxy::Proxy proxy;
  TaskGroup group{world.io.get_executor()};

  Cluster() : proxy(world.env, informers, proxy_options()) {
    attach("client", client);
    for (int i = 0; i < 3; ++i) {
      pods.push_back(Namespace::make());
      addresses.push_back(attach(fmt::format("pod-{}", i), pods.back()));
      servers.push_back(std::make_unique<lab::Server>(pods.back(), fmt::format("s{}", i), 8080));
    }
    proxy.start(group);
    informers.start(group);
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  ~Cluster() {
    group.cancel();
    world.run(group.join());
  }

  static proxy::Options proxy_options() {
    proxy::Options o;
    o.node_name = "node";
    o.cluster_cidr = *Prefix::parse("10.42.0.0/16");
    return o;
  }

  void put_service(const std::string& name, const std::string& spec,
                   const std::string& status = "{}") {
    auto object = *api::parse_yaml(fmt::format(
        "{{metadata: {{namespace: d, name: {}}}, spec: {{{}}}, status: {}}}", name, spec, status));
    put(client::resources::kServices.at("d", name), std::move(object));
  }
  // Endpoints by number of the pod; `more` goes into each endpoint's entry.
  void put_slice(const std::string& service, const std::vector<int>& which,
                 const std::string& protocol = "TCP", const std::string& more = "nodeName: node") {
    std::string list;
    for (const int i : which) {
      list += fmt::format("{{addresses: [{}], {}}},", addresses[static_cast<std::size_t>(i)], more);
    }
    auto object = *api::parse_yaml(fmt::format(
        "{{metadata: {{namespace: d, name: {0}-x, labels: {{kubernetes.io/service-name: {0}}}}}, "
        "addressType: IPv4, ports: [{{port: 8080, protocol: {1}}}], endpoints: [{2}]}}",
        service, protocol, list));
    put(client::resources::kEndpointSlices.at("d", service + "-x"), std::move(object));
  }
  void put(const client::Ref& ref, api::Value object) {
    if (const auto old = api.find(ref); old) {
      object.member("metadata").set("resourceVersion", old->resource_version());
      REQUIRE(api.update_now(ref, std::move(object)).has_value());
    } else {
      REQUIRE(api.create_now(ref, std::move(object)).has_value());
    }
  }
  // Lets the loop run until the kernel has it all.
  void settle() {
    world.io.restart();
    for (int i = 0; i < 20; ++i) world.io.poll();  // watch events reach the informers
    world.run(proxy.wait_idle());
    INFO(proxy.trouble());
    REQUIRE(proxy.trouble().empty());
  }
};

}  // namespace

TEST_CASE("pods of a node reach each other, the node and themselves") {
  SKIP_UNLESS_ABLE();
  Node node;
  const auto a = Namespace::make(), b = Namespace::make();
  const auto at_a = node.attach("a", a), at_b = node.attach("b", b);
  CHECK(at_a == "10.42.0.2");
  CHECK(at_b == "10.42.0.3");
  const lab::Server server_a(a, "a", 80), server_b(b, "b", 80), on_node(node.home, "node", 81);
  CHECK(lab::ask(a, at_b, 80).client == at_a);
  CHECK(lab::ask(b, at_a, 80).client == at_b);
  CHECK(lab::ask(a, at_a, 80).name == "a");
  CHECK(lab::ask(node.home, at_b, 80).name == "b");
  CHECK(lab::ask(a, node.network.gateway().to_string(), 81).client == at_a);

  // Attached twice keeps the address; a restarted skiff knows who is there.
  CHECK(node.attach("a", a) == at_a);
  network::Network again(node.world.env, network_options());
  REQUIRE(node.world.run(again.start(kRange)).has_value());
  REQUIRE(again.attachments().size() == 2);
  CHECK(lab::ask(a, at_b, 80).name == "b");
  const auto c = Namespace::make();
  const auto at_c = node.world.run(again.attach("c", c.path()));
  REQUIRE(at_c.has_value());
  CHECK(at_c->address.to_string() == "10.42.0.4");
  const auto left = node.world.run(again.recover({"b", "c"}));
  REQUIRE(left.has_value());
  CHECK(left->size() == 2);
  CHECK(lab::ask(b, at_a, 80, 300).number != 0);
  REQUIRE(node.world.run(again.detach("b")).has_value());
  REQUIRE(node.world.run(again.detach("b")).has_value());
  // A pod's second life is in another namespace, with the address it had.
  const auto c2 = Namespace::make();
  const auto moved = node.world.run(again.attach("c", c2.path()));
  REQUIRE(moved.has_value());
  CHECK(moved->address == at_c->address);
  const lab::Server server_c(c2, "c", 80);
  CHECK(lab::ask(node.home, "10.42.0.4", 80).name == "c");
}

TEST_CASE("a node that is given another range keeps its pods") {
  SKIP_UNLESS_ABLE();
  Node node;
  const auto a = Namespace::make(), b = Namespace::make();
  const auto at_a = node.attach("a", a);
  const lab::Server server_a(a, "a", 80);
  REQUIRE(node.world.run(node.network.start(*Prefix::parse("10.42.7.0/24"))).has_value());
  const auto at_b = node.attach("b", b);
  CHECK(at_b == "10.42.7.2");
  CHECK(node.attach("a", a) == at_a);
  CHECK(lab::ask(b, at_a, 80).client == at_b);
  // Without pods of the former range its address goes, and services are reached with the new one.
  REQUIRE(node.world.run(node.network.detach("a")).has_value());
  REQUIRE(node.world.run(node.network.detach("b")).has_value());
  REQUIRE(node.world.run(node.network.start(*Prefix::parse("10.42.9.0/24"))).has_value());
  auto route = netlink::Route::open();
  REQUIRE(route.has_value());
  const auto bridge = route->link("skiff0");
  REQUIRE(bridge.has_value());
  std::vector<std::string> held;
  for (const Prefix& p : *route->addresses(bridge->index)) {
    if (!p.address.v6) held.push_back(p.to_string());
  }
  CHECK(held == std::vector<std::string>{"10.42.9.1/24"});
  for (const auto& r : *route->routes()) {
    if (r.destination == network_options().service_cidr) {
      CHECK(r.source->to_string() == "10.42.9.1");
    }
  }
}

TEST_CASE("pods wait for the network") {
  SKIP_UNLESS_ABLE();
  const auto home = Namespace::enter_fresh();
  lab::World world;
  network::Network network(world.env, network_options());
  CHECK_FALSE(network.ready());
  const auto pod = Namespace::make();
  std::string address;
  struct Early {
    static Task<void> attach(network::Network* network, std::string netns, std::string* address) {
      const auto got = co_await network->attach("early", netns);
      if (got) *address = got->address.to_string();
    }
  };
  TaskGroup group(world.io.get_executor());
  group.spawn("early", Early::attach(&network, pod.path(), &address));
  REQUIRE(world.run(network.start(kRange)).has_value());
  world.run(group.join());
  CHECK(address == "10.42.0.2");
}

TEST_CASE("a full pod network says so, and what can not be attached leaves nothing") {
  SKIP_UNLESS_ABLE();
  const auto home = Namespace::enter_fresh();
  lab::World world;
  network::Network network(world.env, network_options());
  const Prefix range = *Prefix::parse("10.42.0.0/30");  // the gateway and one pod
  REQUIRE(world.run(network.start(range)).has_value());
  const auto a = Namespace::make(), b = Namespace::make();
  CHECK(world.run(network.attach("x", "/proc/self/fd/9999")).error().code == Code::not_found);
  REQUIRE(world.run(network.attach("a", a.path())).has_value());
  const auto full = world.run(network.attach("b", b.path()));
  REQUIRE_FALSE(full.has_value());
  CHECK(full.error().message.find("no IP addresses available") != std::string::npos);
  REQUIRE(world.run(network.detach("a")).has_value());
  CHECK(world.run(network.attach("b", b.path())).has_value());
}

TEST_CASE("a service spreads over its endpoints") {
  SKIP_UNLESS_ABLE();
  Cluster c;
  c.put_service("web",
                "type: NodePort, clusterIP: 10.43.0.10, ports: [{port: 80, nodePort: 30080}]");
  c.put_slice("web", {0, 1, 2});
  c.settle();

  const auto even = [](const std::map<std::string, int>& count) {
    return count.size() == 3 && std::all_of(count.begin(), count.end(), [](const auto& e) {
             return e.first.starts_with("s") && e.second >= 15;
           });
  };
  CHECK(even(lab::spread(c.client, "10.43.0.10", 80, 120)));
  CHECK(even(lab::spread(c.home, "10.43.0.10", 80, 120)));
  CHECK(even(lab::spread(c.client, "10.42.0.1", 30080, 120)));
  CHECK(even(lab::spread(c.home, "127.0.0.1", 30080, 120)));
  // A pod of the service reaches all three, itself too.
  CHECK(even(lab::spread(c.pods[0], "10.43.0.10", 80, 120)));
  // Pods see whom they talk to.
  CHECK(lab::ask(c.client, "10.43.0.10", 80).client == "10.42.0.2");

  SECTION("with one endpoint, a pod reaches itself") {
    c.put_slice("web", {1});
    c.settle();
    CHECK(lab::spread(c.pods[1], "10.43.0.10", 80, 5) == std::map<std::string, int>{{"s1", 5}});
  }
  SECTION("without endpoints, or at another port, connections are refused") {
    for (int i = 0; i < 20; ++i) {
      CHECK(lab::ask(c.client, "10.43.0.10", 81).number == ECONNREFUSED);
    }
    lab::UdpClient udp(c.home);
    CHECK(udp.ask("10.43.0.10", 81).number != ETIMEDOUT);
    c.put_slice("web", {});
    c.settle();
    CHECK(lab::ask(c.client, "10.43.0.10", 80).number == ECONNREFUSED);
    CHECK(lab::ask(c.home, "10.43.0.10", 80).number == ECONNREFUSED);
    CHECK(lab::ask(c.home, "127.0.0.1", 30080).number == ECONNREFUSED);
    c.put_slice("web", {2});
    c.settle();
    CHECK(lab::ask(c.client, "10.43.0.10", 80).name == "s2");
  }
  SECTION("an endpoint that leaves under load costs no connection") {
    std::atomic<bool> stop = false;
    std::map<std::string, int> count;
    std::thread load([&] {
      while (!stop) {
        for (const auto& [name, n] : lab::spread(c.client, "10.43.0.10", 80, 20)) count[name] += n;
      }
    });
    for (int i = 0; i < 10; ++i) {
      c.put_slice("web", {0, 1});
      c.settle();
      c.put_slice("web", {1, 2});
      c.settle();
    }
    stop = true;
    load.join();
    CHECK(count.size() == 3);
    for (const auto& [name, n] : count) CHECK(name.starts_with("s"));
  }
  SECTION("a service that goes is gone") {
    REQUIRE(c.api.remove_now(client::resources::kServices.at("d", "web")).has_value());
    c.settle();
    CHECK(lab::ask(c.client, "10.43.0.10", 80, 300).number != 0);
    CHECK(lab::ask(c.home, "127.0.0.1", 30080).number == ECONNREFUSED);
    CHECK(c.proxy.statistics().service_ports == 0);
  }
}

TEST_CASE("a table somebody flushed is built again; a restart leaves no gap") {
  SKIP_UNLESS_ABLE();
  Cluster c;
  c.put_service("web", "clusterIP: 10.43.0.10, ports: [{port: 80}]");
  c.put_slice("web", {0, 1});
  c.settle();
  CHECK(lab::ask(c.client, "10.43.0.10", 80).number == 0);
  auto socket = netlink::open_socket(netlink::Protocol::netfilter);
  REQUIRE(socket.has_value());
  nft::Batch flush(nft::Family::ipv4, "skiff-proxy");
  flush.delete_table();
  REQUIRE(nft::commit(**socket, std::move(flush)).has_value());
  CHECK(lab::ask(c.client, "10.43.0.10", 80, 300).number != 0);
  c.put_slice("web", {0, 1, 2});
  c.settle();
  CHECK(lab::spread(c.client, "10.43.0.10", 80, 60).size() == 3);
  CHECK(c.proxy.statistics().rebuilds == 2);

  std::atomic<bool> stop = false;
  std::map<std::string, int> count;
  std::thread load([&] {
    while (!stop) {
      for (const auto& [name, n] : lab::spread(c.client, "10.43.0.10", 80, 10)) count[name] += n;
    }
  });
  for (int i = 0; i < 5; ++i) {
    client::InformerFactory informers(c.world.env, c.api);
    proxy::Proxy second(c.world.env, informers, Cluster::proxy_options());
    TaskGroup group(c.world.io.get_executor());
    second.start(group);
    informers.start(group);
    c.world.run(second.wait_idle());
    CHECK(second.statistics().rebuilds == 1);
    group.cancel();
    c.world.run(group.join());
  }
  stop = true;
  load.join();
  for (const auto& [name, n] : count) CHECK(name.starts_with("s"));
}

TEST_CASE("session affinity") {
  SKIP_UNLESS_ABLE();
  Cluster c;
  c.put_service("web",
                "clusterIP: 10.43.0.10, sessionAffinity: ClientIP, ports: [{port: 80}], "
                "sessionAffinityConfig: {clientIP: {timeoutSeconds: 100}}");
  c.put_slice("web", {0, 1, 2});
  c.settle();
  const auto count = lab::spread(c.client, "10.43.0.10", 80, 30);
  REQUIRE(count.size() == 1);
  const int chosen = count.begin()->first[1] - '0';
  // Its endpoint goes: the client moves, and stays where it moved to.
  const std::vector<int> others{(chosen + 1) % 3, (chosen + 2) % 3};
  c.put_slice("web", others);
  c.settle();
  const auto moved = lab::spread(c.client, "10.43.0.10", 80, 30);
  REQUIRE(moved.size() == 1);
  CHECK(moved.begin()->first != count.begin()->first);
  c.put_slice("web", {0, 1, 2});
  c.settle();
  CHECK(lab::spread(c.client, "10.43.0.10", 80, 30) == moved);
}

TEST_CASE("UDP clients are led away from an endpoint that left") {
  SKIP_UNLESS_ABLE();
  Cluster c;
  c.put_service("dns", "clusterIP: 10.43.0.53, ports: [{port: 53, protocol: UDP}]");
  c.put_slice("dns", {0}, "UDP");
  c.settle();
  lab::UdpClient client(c.client);
  CHECK(client.ask("10.43.0.53", 53).name == "s0");
  c.put_slice("dns", {1}, "UDP");
  c.settle();
  CHECK(client.ask("10.43.0.53", 53).name == "s1");
}

TEST_CASE("traffic from outside, policies and source ranges") {
  SKIP_UNLESS_ABLE();
  Cluster c;
  // A machine beside the node: 192.0.2.2, the node being 192.0.2.1.
  const auto outside = Namespace::make();
  auto route = netlink::Route::open();
  REQUIRE(route.has_value());
  const int fd = ::open(outside.path().c_str(), O_RDONLY | O_CLOEXEC);
  netlink::VethPair uplink;
  uplink.name = "uplink1";
  uplink.peer_name = "eth1";
  uplink.peer_netns = fd;
  REQUIRE(route->add_veth(uplink).has_value());
  ::close(fd);
  netlink::LinkChange up;
  up.up = true;
  const auto here = route->link("uplink1");
  REQUIRE(here.has_value());
  REQUIRE(route->add_address(here->index, *Prefix::parse("192.0.2.1/24")).has_value());
  REQUIRE(route->change_link(here->index, up).has_value());
  auto there = netlink::Route::open(outside.path());
  REQUIRE(there.has_value());
  const auto eth1 = there->link("eth1");
  REQUIRE(eth1.has_value());
  REQUIRE(there->add_address(eth1->index, *Prefix::parse("192.0.2.2/24")).has_value());
  REQUIRE(there->change_link(eth1->index, up).has_value());
  netlink::RouteEntry everything;
  everything.gateway = *netlink::IpAddress::parse("192.0.2.1");
  everything.interface = eth1->index;
  REQUIRE(there->add_route(everything).has_value());

  c.put_service("web",
                "type: LoadBalancer, clusterIP: 10.43.0.10, ports: [{port: 80, nodePort: 30080}], "
                "externalIPs: [198.51.100.7], loadBalancerSourceRanges: [203.0.113.0/24]",
                "{loadBalancer: {ingress: [{ip: 198.51.100.9}]}}");
  c.put_slice("web", {0, 1, 2});
  c.settle();
  SECTION("policy Cluster masquerades") {
    CHECK(lab::ask(outside, "192.0.2.1", 30080).client == "10.42.0.1");
    CHECK(lab::ask(outside, "198.51.100.7", 80).client == "10.42.0.1");
    // Clients outside the cluster may use cluster IPs when somebody routes them here.
    CHECK(lab::ask(outside, "10.43.0.10", 80).client == "10.42.0.1");
  }
  SECTION("source ranges guard the balancer's address") {
    CHECK(lab::ask(outside, "198.51.100.9", 80, 300).number == ETIMEDOUT);
    c.put_service(
        "web",
        "type: LoadBalancer, clusterIP: 10.43.0.10, ports: [{port: 80, nodePort: 30080}], "
        "loadBalancerSourceRanges: [192.0.2.0/24]",
        "{loadBalancer: {ingress: [{ip: 198.51.100.9}]}}");
    c.settle();
    CHECK(lab::ask(outside, "198.51.100.9", 80).number == 0);
  }
  SECTION("policy Local keeps the client's address, and drops where there is none") {
    const std::string local =
        "type: NodePort, clusterIP: 10.43.0.10, externalTrafficPolicy: Local, "
        "ports: [{port: 80, nodePort: 30080}]";
    c.put_service("web", local);
    c.settle();
    CHECK(lab::ask(outside, "192.0.2.1", 30080).client == "192.0.2.2");
    c.put_slice("web", {0, 1}, "TCP", "nodeName: other");
    c.settle();
    CHECK(lab::ask(outside, "192.0.2.1", 30080, 300).number == ETIMEDOUT);
    CHECK(lab::ask(c.client, "10.42.0.1", 30080).number == 0);  // pods are inside
    CHECK(lab::ask(c.home, "192.0.2.1", 30080).number == 0);    // and so is the node
    CHECK(lab::ask(c.client, "10.43.0.10", 80).number == 0);
  }
  SECTION("loopback is not for strangers") {
    const lab::Server on_node(c.home, "node", 9999);
    CHECK(lab::ask(c.home, "127.0.0.1", 9999).name == "node");
    // A stranger that routes 127.0.0.0/8 to us instead of to itself.
    REQUIRE(there->add_address(eth1->index, *Prefix::parse("192.0.2.3/24")).has_value());
    CHECK(lab::ask(outside, "192.0.2.1", 9999).name == "node");
    outside.run([] { (void)netlink::write_sysctl("net/ipv4/conf/all/route_localnet", "1"); });
    netlink::RouteEntry loopback = everything;
    loopback.destination = *Prefix::parse("127.0.0.1/32");
    REQUIRE(there->add_route(loopback).has_value());
    CHECK(lab::ask(outside, "127.0.0.1", 9999, 300).number != 0);
  }
}

TEST_CASE("endpoints that are leaving serve while nobody else does") {
  SKIP_UNLESS_ABLE();
  Cluster c;
  c.put_service("web", "clusterIP: 10.43.0.10, ports: [{port: 80}]");
  c.put_slice("web", {0}, "TCP", "conditions: {ready: false, serving: true, terminating: true}");
  c.settle();
  CHECK(lab::ask(c.client, "10.43.0.10", 80).name == "s0");
}

TEST_CASE("a change costs the same among a thousand services") {
  SKIP_UNLESS_ABLE();
  std::vector<std::size_t> bytes;
  for (const int services : {10, 1000}) {
    Cluster c;
    for (int i = 0; i < services; ++i) {
      c.put_service(
          fmt::format("web-{:04}", i),
          fmt::format("clusterIP: 10.43.{}.{}, ports: [{{port: 80}}]", i / 250, i % 250 + 1));
      c.put_slice(fmt::format("web-{:04}", i), {0, 1});
    }
    c.settle();
    const auto whole = c.proxy.statistics().last_bytes;
    c.put_slice("web-0000", {0, 1, 2});
    const auto begun = c.world.clock.now();
    c.settle();
    const auto took = c.world.clock.now() - begun;
    bytes.push_back(c.proxy.statistics().last_bytes);
    WARN(services << " services: " << whole << " bytes to build, " << bytes.back()
                  << " bytes for one change, "
                  << std::chrono::duration_cast<std::chrono::microseconds>(took).count() << " us");
    CHECK(lab::spread(c.client, "10.43.0.1", 80, 60).size() == 3);
    CHECK(lab::ask(c.client,
                   fmt::format("10.43.{}.{}", (services - 1) / 250, (services - 1) % 250 + 1), 80)
              .number == 0);
  }
  CHECK(bytes[0] == bytes[1]);
}

// Not run by default: integration_network "[figures]" prints them.
TEST_CASE("figures", "[.figures]") {
  SKIP_UNLESS_ABLE();
  using Milliseconds = std::chrono::duration<double, std::milli>;
  Cluster c;
  std::vector<Namespace> pods;
  for (int i = 0; i < 50; ++i) pods.push_back(Namespace::make());
  auto begun = c.world.clock.now();
  for (std::size_t i = 0; i < pods.size(); ++i) c.attach(fmt::format("extra-{}", i), pods[i]);
  const Milliseconds attach = c.world.clock.now() - begun;
  begun = c.world.clock.now();
  for (std::size_t i = 0; i < pods.size(); ++i) {
    REQUIRE(c.world.run(c.network.detach(fmt::format("extra-{}", i))).has_value());
  }
  const Milliseconds detach = c.world.clock.now() - begun;
  WARN("attach " << attach.count() / 50 << " ms, detach " << detach.count() / 50 << " ms a pod");
  int made = 0;
  for (const int services : {1000, 10'000}) {
    for (; made < services; ++made) {
      c.put_service(
          fmt::format("web-{:05}", made),
          fmt::format("clusterIP: 10.43.{}.{}, ports: [{{port: 80}}]", made / 250, made % 250 + 1));
      c.put_slice(fmt::format("web-{:05}", made), {0, 1});
    }
    begun = c.world.clock.now();
    c.settle();
    const Milliseconds all = c.world.clock.now() - begun;
    double least = 1e9;
    for (int i = 0; i < 10; ++i) {
      if (i % 2 == 0) {
        c.put_slice("web-00000", {0, 1, 2});
      } else {
        c.put_slice("web-00000", {0, 1});
      }
      begun = c.world.clock.now();
      c.settle();
      least = std::min(least, Milliseconds(c.world.clock.now() - begun).count());
    }
    WARN(services << " services: " << all.count() << " ms to add, " << least
                  << " ms for one change (" << c.proxy.statistics().last_bytes << " bytes)");
  }
}
