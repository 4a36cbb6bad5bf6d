#include "plumbing.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "skiff/linux/nftables.hpp"

namespace skiff::network {
namespace {

using netlink::LinkChange;
using netlink::RouteEntry;

constexpr std::string_view kPodInterface = "eth0";
constexpr std::string_view kHostPrefix = "skf";

std::uint32_t uplink_mtu(netlink::Route& route) {
  const auto routes = route.routes();
  const auto links = route.links();
  if (!routes || !links) return 1500;
  for (const auto& r : *routes) {
    if (r.destination) continue;
    for (const auto& l : *links) {
      if (l.index == r.interface && l.mtu >= 576) return l.mtu;
    }
  }
  return 1500;
}

Result<netlink::Link> bridge_link(netlink::Route& route, const Options& options,
                                  const IpAddress& gateway) {
  auto link = route.link(options.bridge);
  if (!link && link.error().code == Code::not_found) {
    const std::uint32_t mtu = options.mtu != 0 ? options.mtu : uplink_mtu(route);
    SKIFF_CHECK(route.add_bridge(options.bridge, mac_of(gateway), mtu));
    link = route.link(options.bridge);
  }
  if (link && link->kind != "bridge") {
    return Error{Code::conflict,
                 fmt::format("the link {} exists and is not a bridge: rename it, or choose another "
                             "name for skiff's bridge",
                             options.bridge)};
  }
  return link;
}

// Rules that match the source or destination against a prefix.
void match_prefix(nft::Rule& rule, std::uint32_t offset, const Prefix& prefix, nft::Compare op) {
  const nft::Reg r{0};
  auto network = prefix.mask();
  const auto mask = network;
  for (std::size_t i = 0; i < network.size(); ++i) network[i] &= prefix.address.bytes[i];
  rule.payload(nft::Base::network, offset, static_cast<std::uint32_t>(mask.size()), r)
      .bitwise(r, r, mask, netlink::Bytes(mask.size()))
      .compare(op, r, network);
}

Result<void> masquerade_outbound(const Options& options, const Prefix& pod_cidr) {
  const nft::Reg r{0};
  constexpr std::uint32_t kSource = 12, kDestination = 16;  // offsets in the IPv4 header
  nft::Batch batch(nft::Family::ipv4, options.table);
  batch.add_table();
  batch.delete_table();
  batch.add_table();

  batch.add_chain("postrouting",
                  nft::BaseChain{"nat", nft::Hook::postrouting, nft::kPrioritySrcnat});
  nft::Rule leave;
  match_prefix(leave, kSource, pod_cidr, nft::Compare::eq);
  match_prefix(leave, kDestination, options.cluster_cidr.value_or(pod_cidr), nft::Compare::neq);
  netlink::Bytes bridge(16, 0);
  std::copy(options.bridge.begin(), options.bridge.end(), bridge.begin());
  leave.meta(nft::Meta::oifname, r).compare(nft::Compare::neq, r, bridge);
  leave.masquerade().comment("pods leave the cluster with the node's address");
  batch.add_rule("postrouting", leave);

  SKIFF_TRY(auto socket, netlink::open_socket(netlink::Protocol::netfilter));
  return nft::commit(*socket, std::move(batch));
}

// Addresses of a former pod CIDR go, unless a pod still has one of them as its gateway.
Result<void> bridge_addresses(netlink::Route& route, int bridge, const std::vector<Prefix>& wanted,
                              bool have_pods) {
  const auto is_in = [](const Prefix& p, const std::vector<Prefix>& list) {
    return std::find(list.begin(), list.end(), p) != list.end();
  };
  SKIFF_TRY(const auto present, route.addresses(bridge));
  for (const Prefix& p : wanted) {
    if (!is_in(p, present)) SKIFF_CHECK(route.add_address(bridge, p));
  }
  for (const auto& p : present) {
    if (have_pods || p.address.v6 || is_in(p, wanted)) continue;
    SKIFF_CHECK(route.delete_address(bridge, p));
  }
  return {};
}

// Services are reached through the bridge, with its address, which may have changed.
Result<void> route_services(netlink::Route& route, int bridge, const Prefix& services,
                            const IpAddress& gateway) {
  RouteEntry wanted;
  wanted.destination = services;
  wanted.interface = bridge;
  wanted.link_scope = true;
  wanted.source = gateway;
  SKIFF_TRY(const auto present, route.routes());
  for (const RouteEntry& r : present) {
    const bool former = r.destination == wanted.destination && r.interface == bridge &&
                        r.protocol == 0 && r.source != wanted.source;
    if (former) SKIFF_CHECK(route.delete_route(r));
  }
  return route.add_route(wanted);
}

Result<std::vector<Owner>> take_stock(netlink::Route& route) {
  SKIFF_TRY(const auto links, route.links());
  std::vector<Owner> pods;
  for (const auto& l : links) {
    if (l.kind != "veth" || !l.name.starts_with(kHostPrefix)) continue;
    auto owner = owner_of(l.alias);
    if (owner && host_interface(owner->pod_id) == l.name) {
      pods.push_back(std::move(*owner));
    } else if (l.alias.empty()) {
      // A crash between making the pair and naming its owner.
      auto gone = route.delete_link(l.index);
      if (!gone && gone.error().code != Code::not_found) return gone.error();
    }
  }
  return pods;
}

}  // namespace

Result<Bridge> set_up(const Options& options, const Prefix& pod_cidr, const IpAddress& gateway) {
  SKIFF_TRY(auto route, netlink::Route::open());
  SKIFF_TRY(const auto link, bridge_link(route, options, gateway));
  SKIFF_TRY(auto pods, take_stock(route));
  std::vector<Prefix> addresses{{gateway, pod_cidr.length}};
  if (options.node_address && options.node_address != gateway) {
    addresses.push_back({*options.node_address, 32});
  }
  SKIFF_CHECK(bridge_addresses(route, link.index, addresses, !pods.empty()));
  LinkChange change;
  if (!link.up) change.up = true;
  if (options.mtu != 0 && link.mtu != options.mtu) change.mtu = options.mtu;
  SKIFF_CHECK(route.change_link(link.index, change));
  SKIFF_CHECK(netlink::write_sysctl("net/ipv4/ip_forward", "1"));
  // Pods of one node talk through us by design. Redirects to a direct path would break services,
  // and even unsent ones use up the allowance of ICMP errors. A link redirects unless "all" and its
  // own setting are off, so no other link is touched.
  SKIFF_CHECK(netlink::write_sysctl("net/ipv4/conf/all/send_redirects", "0"));
  SKIFF_CHECK(netlink::write_sysctl("net/ipv4/conf/" + options.bridge + "/send_redirects", "0"));
  if (options.service_cidr) {
    SKIFF_CHECK(route_services(route, link.index, *options.service_cidr, gateway));
  }
  SKIFF_CHECK(masquerade_outbound(options, pod_cidr));
  return Bridge{link.index, change.mtu.value_or(link.mtu), std::move(pods)};
}

namespace {

Result<void> plug_host(netlink::Route& route, const Plug& p) {
  SKIFF_TRY(const auto link, route.link(p.host_interface));
  LinkChange change;
  change.alias = alias_of(p.owner);
  change.master = p.bridge;
  change.up = true;
  SKIFF_CHECK(route.change_link(link.index, change));
  return route.set_hairpin(link.index, true);
}

Result<void> plug_pod(const Plug& p) {
  SKIFF_TRY(auto route, netlink::Route::open(p.netns_path));
  LinkChange up;
  up.up = true;
  SKIFF_CHECK(route.change_link(1, up));  // lo is always the first link of a namespace
  SKIFF_TRY(const auto eth0, route.link(kPodInterface));
  SKIFF_CHECK(route.add_address(eth0.index, Prefix{p.owner.address, 32}));
  SKIFF_CHECK(route.change_link(eth0.index, up));
  RouteEntry gateway;
  gateway.destination = Prefix{p.gateway, 32};
  gateway.interface = eth0.index;
  gateway.link_scope = true;
  SKIFF_CHECK(route.add_route(gateway));
  RouteEntry all;
  all.gateway = p.gateway;
  all.interface = eth0.index;
  return route.add_route(all);
}

}  // namespace

Result<void> plug(const Plug& p) {
  SKIFF_TRY(auto route, netlink::Route::open());
  netlink::VethPair pair;
  pair.name = p.host_interface;
  pair.peer_name = kPodInterface;
  pair.mtu = p.mtu;
  pair.peer_mac = mac_of(p.owner.address);
  pair.peer_netns = ::open(p.netns_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (pair.peer_netns < 0) return errno_error(errno, "opening network namespace " + p.netns_path);
  auto result = route.add_veth(pair);
  ::close(pair.peer_netns);
  if (!result) return result;
  result = plug_host(route, p);
  if (result) result = plug_pod(p);
  // Undoing is best effort: the first failure is what the caller must hear.
  if (!result) (void)unplug(p.host_interface);
  return result;
}

bool plugged(const Plug& p) {
  auto host = netlink::Route::open();
  if (!host || !host->link(p.host_interface)) return false;
  auto pod = netlink::Route::open(p.netns_path);
  if (!pod) return false;
  const auto eth0 = pod->link(kPodInterface);
  if (!eth0 || !eth0->up) return false;
  const auto addresses = pod->addresses(eth0->index);
  if (!addresses) return false;
  return std::any_of(addresses->begin(), addresses->end(),
                     [&](const Prefix& a) { return a.address == p.owner.address; });
}

Result<void> unplug(const std::string& host_interface) {
  SKIFF_TRY(auto route, netlink::Route::open());
  const auto link = route.link(host_interface);
  if (!link) {
    if (link.error().code == Code::not_found) return {};
    return link.error();
  }
  auto gone = route.delete_link(link->index);
  // The namespace's end of life takes the pair along: being second is fine.
  if (!gone && gone.error().code != Code::not_found) return gone.error();
  return {};
}

Result<void> check() {
  SKIFF_TRY(auto socket, netlink::open_socket(netlink::Protocol::netfilter));
  return nft::probe(*socket);
}

}  // namespace skiff::network
