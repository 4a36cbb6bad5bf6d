#include "model.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::proxy;

namespace {

api::Value yaml(std::string_view text) { return *api::parse_yaml(text); }

std::string names(const std::vector<Target>& targets) {
  std::string out;
  for (const auto& t : targets) {
    if (!out.empty()) out += ' ';
    out += t.address.to_string() + ":" + std::to_string(t.port);
  }
  return out;
}

constexpr const char* kWeb = R"(
metadata: {namespace: shop, name: web}
spec:
  type: NodePort
  clusterIP: 10.43.0.10
  clusterIPs: [10.43.0.10]
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}
  - {name: dns, port: 53, protocol: UDP}
)";

}  // namespace

TEST_CASE("services become their ports") {
  const auto ports = service_ports(yaml(kWeb));
  REQUIRE(ports.size() == 2);
  CHECK(ports[0].id() == "shop/web/tcp/80");
  CHECK(ports[0].node_port == 30080);
  CHECK(ports[0].cluster_ip.to_string() == "10.43.0.10");
  CHECK(ports[0].affinity_seconds == 0);
  CHECK(ports[1].id() == "shop/web/udp/53");
  CHECK_FALSE(ports[1].internal_local);
}

TEST_CASE("services that are not ours") {
  struct Case {
    const char* what;
    const char* document;
  };
  for (const auto& c : {
           Case{"headless", "spec: {clusterIP: None, ports: [{port: 80}]}"},
           Case{"external name", "spec: {type: ExternalName, externalName: example.test}"},
           Case{"no address yet", "spec: {ports: [{port: 80}]}"},
           Case{"another proxy's",
                "metadata: {labels: {service.kubernetes.io/service-proxy-name: other}}\n"
                "spec: {clusterIP: 10.43.0.1, ports: [{port: 80}]}"},
           Case{"IPv6 only", "spec: {clusterIP: 'fd00::1', ports: [{port: 80}]}"},
           Case{"unknown protocol",
                "spec: {clusterIP: 10.43.0.1, ports: [{port: 1, protocol: X}]}"},
           Case{"nothing", "{}"},
       }) {
    CAPTURE(c.what);
    CHECK(service_ports(yaml(c.document)).empty());
  }
}

TEST_CASE("policies, affinity and load balancer addresses") {
  const auto ports = service_ports(yaml(R"(
metadata: {namespace: shop, name: web}
spec:
  type: LoadBalancer
  clusterIPs: ['fd00::1', 10.43.0.10]
  externalIPs: [192.0.2.7, 'fd00::7']
  sessionAffinity: ClientIP
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [192.0.2.0/24]
  ports: [{port: 80}]
status: {loadBalancer: {ingress: [{ip: 192.0.2.9}, {ip: 192.0.2.10, ipMode: Proxy}, {hostname: x}]}}
)"));
  REQUIRE(ports.size() == 1);
  const auto& p = ports[0];
  CHECK(p.cluster_ip.to_string() == "10.43.0.10");
  CHECK(p.external_ips.size() == 1);
  REQUIRE(p.load_balancer_ips.size() == 1);
  CHECK(p.load_balancer_ips[0].to_string() == "192.0.2.9");
  CHECK(p.affinity_seconds == 10'800);
  CHECK(p.internal_local);
  CHECK(p.external_local);
  CHECK(p.source_ranges.size() == 1);
  CHECK(p.uses_cluster());  // clients on this side of the balancer
  CHECK(p.uses_local());
}

TEST_CASE("endpoints are those of the port, without duplicates") {
  const auto port = service_ports(yaml(kWeb))[0];
  const auto a = yaml(R"(
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: dns, port: 5353, protocol: UDP}]
endpoints:
- {addresses: [10.42.0.3], nodeName: n1}
- {addresses: [10.42.0.2], conditions: {ready: false, serving: true, terminating: true}}
)");
  const auto b = yaml(R"(
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.42.0.2], conditions: {ready: true}}]
)");
  const auto six = yaml(R"(
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['fd00::2']}]
)");
  const auto endpoints = endpoints_of(port, {&a, &b, &six}, {"n1", ""});
  REQUIRE(endpoints.size() == 2);
  CHECK(endpoints[0].target.address.to_string() == "10.42.0.2");
  CHECK(endpoints[0].ready);  // the ready one of two
  CHECK_FALSE(endpoints[0].local);
  CHECK(endpoints[1].local);
  CHECK(endpoints[1].serving);
}

TEST_CASE("which endpoints get traffic") {
  // Each endpoint: the last byte of its address, then flags: r ready, s serving, t terminating,
  // l local; zN hints at zone N, nN at node N.
  struct Given {
    int last;
    std::string flags;
    std::vector<std::string> zones, nodes;
  };
  struct Case {
    const char* what;
    std::vector<Given> given;
    std::string cluster, local;
    bool any;
  };
  const std::vector<Case> cases{
      {"none", {}, "", "", false},
      {"ready ones",
       {{1, "r"}, {2, "rl"}, {3, ""}},
       "10.0.0.1:80 10.0.0.2:80",
       "10.0.0.2:80",
       true},
      {"not ready", {{1, ""}, {2, "s"}}, "", "", false},
      {"leaving ones only when no other is ready",
       {{1, "r"}, {2, "stl"}},
       "10.0.0.1:80",
       "10.0.0.2:80",
       true},
      {"leaving ones", {{1, "st"}, {2, "t"}}, "10.0.0.1:80", "", true},
      {"zone hints", {{1, "r", {"za"}}, {2, "r", {"zb"}}}, "10.0.0.1:80", "", true},
      {"zone hints not on all", {{1, "r", {"za"}}, {2, "r"}}, "10.0.0.1:80 10.0.0.2:80", "", true},
      {"no hint for us", {{1, "r", {"zb"}}, {2, "r", {"zb"}}}, "10.0.0.1:80 10.0.0.2:80", "", true},
      {"node hints first",
       {{1, "r", {"za"}, {"n1"}}, {2, "r", {"za"}, {"n2"}}},
       "10.0.0.1:80",
       "",
       true},
  };
  for (const auto& c : cases) {
    CAPTURE(c.what);
    std::vector<Endpoint> endpoints;
    for (const auto& g : c.given) {
      Endpoint e;
      e.target = {IpAddress::v4(0x0a000000U + static_cast<unsigned>(g.last)), 80};
      e.ready = g.flags.find('r') != std::string::npos;
      e.serving = e.ready || g.flags.find('s') != std::string::npos;
      e.terminating = g.flags.find('t') != std::string::npos;
      e.local = g.flags.find('l') != std::string::npos;
      e.zone_hints = g.zones;
      e.node_hints = g.nodes;
      endpoints.push_back(e);
    }
    const auto b = choose(endpoints, {"n1", "za"});
    CHECK(names(b.cluster) == c.cluster);
    CHECK(names(b.local) == c.local);
    CHECK(b.any == c.any);
  }
}
