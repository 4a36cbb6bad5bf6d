// Which routes there must be to the pods of other nodes. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "skiff/api/object.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/network/routes.hpp"

namespace skiff::network {

// A node with a range of pod addresses.
struct Peer {
  std::string name;
  netlink::Prefix range;  // its network's address
  netlink::IpAddress address;
};

// The other nodes that can be routed to as far as their Nodes say, by name. Left out are ranges
// that overlap this node's, one of a node before, or reach beyond the cluster's.
std::vector<Peer> peers_of(std::span<const api::ObjectPtr> nodes, const RouteOptions& options);

// What the kernel has.
struct Surroundings {
  std::vector<netlink::Link> links;
  std::vector<netlink::LinkAddress> addresses;
  std::vector<netlink::RouteEntry> routes;
};

struct RouteWork {
  std::vector<netlink::RouteEntry> remove, add;  // in this order
  std::vector<std::string> far;  // nodes whose address is on no link of this machine
  bool operator==(const RouteWork&) const = default;
};

// A range that somebody else routes is left to them.
RouteWork plan_routes(std::span<const Peer> peers, const Surroundings& now,
                      const std::string& bridge);

}  // namespace skiff::network
