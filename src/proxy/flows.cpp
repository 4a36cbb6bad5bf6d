#include "flows.hpp"

namespace skiff::proxy {

bool stale(const netlink::Flow& flow, const std::vector<UdpFronts>& changed) {
  const Target front{flow.original.destination, flow.original.destination_port};
  const Target back{flow.reply.source, flow.reply.source_port};
  for (const auto& c : changed) {
    // A node port is known by its number; a flow to that port that was not led elsewhere belongs to
    // some program of the machine.
    const bool by_node_port = c.node_port != 0 && front.port == c.node_port && front != back;
    if ((c.fronts.contains(front) || by_node_port) && !c.live.contains(back)) return true;
  }
  return false;
}

Result<std::size_t> delete_stale(netlink::Conntrack& conntrack,
                                 const std::vector<UdpFronts>& changed) {
  std::vector<netlink::Flow> found;
  SKIFF_CHECK(conntrack.for_each(false, static_cast<std::uint8_t>(Protocol::udp),
                                 [&](const netlink::Flow& flow) {
                                   if (stale(flow, changed)) found.push_back(flow);
                                 }));
  for (const auto& flow : found) {
    auto gone = conntrack.remove(flow);
    if (!gone && gone.error().code != Code::not_found) return gone.error();
  }
  return found.size();
}

}  // namespace skiff::proxy
