// UDP flows that outlive the endpoint they were led to: without a connection to break, a client
// that keeps sending would be led into the void for as long as it does. Deleting the tracked flow
// makes the next datagram a new one.
#pragma once

#include <set>
#include <vector>

#include "model.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::proxy {

// The fronts of one UDP service port and the endpoints it may still lead to.
struct UdpFronts {
  std::set<Target> fronts;  // cluster IP, external addresses
  std::uint16_t node_port = 0;
  std::set<Target> live;
};

// Pure: whether the flow came in by one of the fronts and leads to none of the endpoints.
bool stale(const netlink::Flow& flow, const std::vector<UdpFronts>& changed);

// Deletes stale flows; how many. Blocking.
Result<std::size_t> delete_stale(netlink::Conntrack& conntrack,
                                 const std::vector<UdpFronts>& changed);

}  // namespace skiff::proxy
