#include "route_plan.hpp"

#include <algorithm>

namespace skiff::network {
namespace {

using api::Value;
using netlink::IpAddress;
using netlink::LinkAddress;
using netlink::Prefix;
using netlink::RouteEntry;

bool overlap(const Prefix& a, const Prefix& b) {
  return a.contains(b.address) || b.contains(a.address);
}

std::optional<Prefix> range_of(const api::Object& node) {
  for (const Value& text : node["spec"]["podCIDRs"].items()) {
    auto range = Prefix::parse(text.as_string());
    if (!range || range->address.v6) continue;
    const netlink::Bytes mask = range->mask();
    for (std::size_t i = 0; i < mask.size(); ++i) range->address.bytes[i] &= mask[i];
    return *range;
  }
  return std::nullopt;
}

std::optional<IpAddress> address_of(const api::Object& node) {
  for (const Value& a : node["status"]["addresses"].items()) {
    if (a["type"].as_string() != "InternalIP") continue;
    const auto address = IpAddress::parse(a["address"].as_string());
    if (address && !address->v6) return *address;
  }
  return std::nullopt;
}

// The link whose network the address is in; of several, that with the narrowest.
std::optional<int> link_to(const IpAddress& address, const Surroundings& now,
                           const std::string& bridge) {
  const LinkAddress* best = nullptr;
  for (const LinkAddress& a : now.addresses) {
    const auto link = std::find_if(now.links.begin(), now.links.end(),
                                   [&](const netlink::Link& l) { return l.index == a.link; });
    if (link == now.links.end() || !link->up || link->name == bridge) continue;
    if (a.prefix.address.v6 || a.prefix.address.loopback()) continue;
    if (!a.prefix.contains(address)) continue;
    if (a.prefix.address == address) return std::nullopt;  // that is this machine
    if (best == nullptr || a.prefix.length > best->prefix.length) best = &a;
  }
  if (best == nullptr) return std::nullopt;
  return best->link;
}

bool same_way(const RouteEntry& a, const RouteEntry& b) {
  return a.destination == b.destination && a.gateway == b.gateway && a.interface == b.interface;
}

bool has(const std::vector<RouteEntry>& list, const RouteEntry& route) {
  return std::any_of(list.begin(), list.end(),
                     [&](const RouteEntry& r) { return same_way(r, route); });
}

}  // namespace

std::vector<Peer> peers_of(std::span<const api::ObjectPtr> nodes, const RouteOptions& options) {
  std::vector<Prefix> seen;
  for (const api::ObjectPtr& node : nodes) {
    const auto own = node->name() == options.node_name ? range_of(*node) : std::nullopt;
    if (own) seen.push_back(*own);
  }
  std::vector<Peer> peers;
  for (const api::ObjectPtr& node : nodes) {
    if (node->name() == options.node_name) continue;
    const auto range = range_of(*node);
    const auto address = address_of(*node);
    if (!range || !address) continue;
    const auto& cluster = options.cluster_cidr;
    const bool outside =
        cluster && (!cluster->contains(range->address) || range->length < cluster->length);
    const bool taken = std::any_of(seen.begin(), seen.end(),
                                   [&](const Prefix& other) { return overlap(other, *range); });
    if (outside || taken) continue;
    seen.push_back(*range);
    peers.push_back({node->name(), *range, *address});
  }
  std::ranges::sort(peers, {}, &Peer::name);
  return peers;
}

RouteWork plan_routes(std::span<const Peer> peers, const Surroundings& now,
                      const std::string& bridge) {
  RouteWork work;
  std::vector<RouteEntry> wanted;
  const auto routed_by_others = [&](const Prefix& range) {
    return std::any_of(now.routes.begin(), now.routes.end(), [&](const RouteEntry& r) {
      return r.destination == range && r.protocol != kRouteProtocol;
    });
  };
  for (const Peer& peer : peers) {
    if (routed_by_others(peer.range)) continue;
    const auto link = link_to(peer.address, now, bridge);
    if (!link) {
      work.far.push_back(peer.name);
      continue;
    }
    RouteEntry route;
    route.destination = peer.range;
    route.gateway = peer.address;
    route.interface = *link;
    route.protocol = kRouteProtocol;
    wanted.push_back(route);
  }
  std::vector<RouteEntry> ours;
  for (const RouteEntry& r : now.routes) {
    if (r.protocol == kRouteProtocol) ours.push_back(r);
  }
  for (const RouteEntry& r : ours) {
    if (!has(wanted, r)) work.remove.push_back(r);
  }
  for (const RouteEntry& r : wanted) {
    if (!has(ours, r)) work.add.push_back(r);
  }
  return work;
}

}  // namespace skiff::network
