// Services and EndpointSlices as the proxy sees them: small structs instead of documents, and which
// endpoints a service port's traffic may go to. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "skiff/api/value.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::proxy {

using netlink::IpAddress;
using netlink::Prefix;

enum class Protocol : std::uint8_t { tcp = 6, udp = 17, sctp = 132 };
std::optional<Protocol> parse_protocol(std::string_view text);  // "" is TCP
std::string_view name_of(Protocol p);

// One port of a service that has a cluster IP.
struct ServicePort {
  std::string ns, service;
  std::string port_name;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  // 0: none
  IpAddress cluster_ip;
  std::vector<IpAddress> external_ips;
  std::vector<IpAddress> load_balancer_ips;
  std::vector<Prefix> source_ranges;  // of load-balancer addresses; empty: everyone
  bool internal_local = false;
  bool external_local = false;
  std::uint32_t affinity_seconds = 0;  // 0: no affinity

  bool externally_accessible() const {
    return node_port != 0 || !external_ips.empty() || !load_balancer_ips.empty();
  }
  bool uses_cluster() const { return !internal_local || externally_accessible(); }
  bool uses_local() const { return internal_local || (external_local && externally_accessible()); }
  // "web/frontend/tcp/80": unique in the cluster, and a valid nftables name.
  std::string id() const;
};

struct Target {
  IpAddress address;
  std::uint16_t port = 0;
  auto operator<=>(const Target&) const = default;
};

struct Endpoint {
  Target target;
  bool ready = false;
  bool serving = false;
  bool terminating = false;
  bool local = false;  // on this node
  std::vector<std::string> zone_hints, node_hints;
};

// The IPv4 ports of a Service; empty for headless services, ExternalName, and services that name
// another proxy (label service.kubernetes.io/service-proxy-name).
std::vector<ServicePort> service_ports(const api::Value& service);

// Where a node is.
struct Place {
  std::string node, zone;
};

// The endpoints of one service port in these slices, without duplicates, in order of address.
std::vector<Endpoint> endpoints_of(const ServicePort& port,
                                   const std::vector<const api::Value*>& slices,
                                   const Place& place);

// Where traffic goes under the policies of a service port.
struct Backends {
  std::vector<Target> cluster;  // policy Cluster
  std::vector<Target> local;    // policy Local
  bool any = false;             // some endpoint could be reached from somewhere

  const std::vector<Target>& internal(const ServicePort& p) const {
    return p.internal_local ? local : cluster;
  }
  const std::vector<Target>& external(const ServicePort& p) const {
    return p.external_local ? local : cluster;
  }
};
// Ready endpoints; where there is none, those that serve while terminating (KEP-1669); narrowed by
// hints when every ready endpoint has them (KEP-2433, KEP-3015).
Backends choose(const std::vector<Endpoint>& endpoints, const Place& place);

}  // namespace skiff::proxy
