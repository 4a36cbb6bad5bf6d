// rtnetlink: links, addresses, routes and neighbours.
#include <fmt/format.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cstring>

#include "skiff/linux/netlink.hpp"

namespace skiff::netlink {
namespace {

template <class T>
T read(ByteView data) {
  T v{};
  std::memcpy(&v, data.data(), std::min(sizeof v, data.size()));
  return v;
}

std::string text(ByteView data) {
  return {reinterpret_cast<const char*>(data.data()),
          ::strnlen(reinterpret_cast<const char*>(data.data()), data.size())};
}

IpAddress address_from(int family, ByteView data) {
  IpAddress a;
  a.v6 = family == AF_INET6;
  std::memcpy(a.bytes.data(), data.data(), std::min(data.size(), a.bytes.size()));
  return a;
}

std::uint8_t family_of(const IpAddress& a) { return a.v6 ? AF_INET6 : AF_INET; }

Link parse_link(const Message& m) {
  Link link;
  const auto head = read<ifinfomsg>(m.payload);
  link.index = head.ifi_index;
  link.up = (head.ifi_flags & IFF_UP) != 0;
  if (m.payload.size() < sizeof head) return link;
  for_each_attribute(ByteView(m.payload).subspan(sizeof head), [&](auto type, ByteView data) {
    switch (type) {
      case IFLA_IFNAME:
        link.name = text(data);
        break;
      case IFLA_IFALIAS:
        link.alias = text(data);
        break;
      case IFLA_MTU:
        link.mtu = read<std::uint32_t>(data);
        break;
      case IFLA_MASTER:
        link.master = read<int>(data);
        break;
      case IFLA_ADDRESS:
        std::memcpy(link.mac.data(), data.data(), std::min<std::size_t>(6, data.size()));
        break;
      case IFLA_LINKINFO:
        for_each_attribute(data, [&](auto inner, ByteView value) {
          if (inner == IFLA_INFO_KIND) link.kind = text(value);
        });
        break;
      default:
        break;
    }
  });
  return link;
}

RouteEntry parse_route(const rtmsg& head, ByteView attributes, std::uint32_t& table) {
  RouteEntry route;
  route.link_scope = head.rtm_scope == RT_SCOPE_LINK;
  if (head.rtm_protocol != RTPROT_STATIC) route.protocol = head.rtm_protocol;
  table = head.rtm_table;
  for_each_attribute(attributes, [&](auto type, ByteView data) {
    switch (type) {
      case RTA_DST:
        route.destination = Prefix{address_from(head.rtm_family, data), head.rtm_dst_len};
        break;
      case RTA_GATEWAY:
        route.gateway = address_from(head.rtm_family, data);
        break;
      case RTA_PREFSRC:
        route.source = address_from(head.rtm_family, data);
        break;
      case RTA_OIF:
        route.interface = read<int>(data);
        break;
      case RTA_TABLE:
        table = read<std::uint32_t>(data);
        break;
      default:
        break;
    }
  });
  return route;
}

void write_route(Writer& w, std::uint16_t type, std::uint16_t flags, const RouteEntry& route) {
  w.begin_message(type, flags);
  rtmsg head{};
  const bool v6 =
      (route.destination && route.destination->address.v6) || (route.gateway && route.gateway->v6);
  head.rtm_family = v6 ? AF_INET6 : AF_INET;
  head.rtm_dst_len = route.destination ? route.destination->length : 0;
  head.rtm_table = RT_TABLE_MAIN;
  head.rtm_protocol = route.protocol != 0 ? route.protocol : std::uint8_t{RTPROT_STATIC};
  head.rtm_scope = route.link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  head.rtm_type = RTN_UNICAST;
  w.header(head);
  if (route.destination) w.attribute(RTA_DST, route.destination->address.view());
  if (route.gateway) w.attribute(RTA_GATEWAY, route.gateway->view());
  if (route.source) w.attribute(RTA_PREFSRC, route.source->view());
  if (route.interface != 0) w.u32(RTA_OIF, static_cast<std::uint32_t>(route.interface));
  w.end_message();
}

void write_address(Writer& w, std::uint16_t type, std::uint16_t flags, int link, const Prefix& p) {
  w.begin_message(type, flags);
  ifaddrmsg head{};
  head.ifa_family = family_of(p.address);
  head.ifa_prefixlen = p.length;
  head.ifa_index = static_cast<std::uint32_t>(link);
  if (p.address.v6) head.ifa_flags = IFA_F_NODAD;
  w.header(head);
  w.attribute(IFA_LOCAL, p.address.view());
  w.attribute(IFA_ADDRESS, p.address.view());
  w.end_message();
}

Result<void> check_name(std::string_view name) {
  if (!name.empty() && name.size() < IFNAMSIZ) return {};
  return Error{Code::invalid,
               fmt::format("link name \"{}\" must have 1 to {} bytes", name, IFNAMSIZ - 1)};
}

constexpr std::uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;

}  // namespace

Result<Route> Route::open(const std::string& netns_path) {
  SKIFF_TRY(auto socket, open_socket(Protocol::route, netns_path));
  return Route(std::move(socket));
}

Result<Reply> Route::request(const Writer& writer, Until until, std::string_view what) {
  auto reply = socket_->exchange(writer.bytes(), until);
  if (!reply) return annotate(reply.error(), what);
  if (!reply->refusals.empty()) return refusal_error(reply->refusals.front(), what);
  return reply;
}

Result<std::vector<Link>> Route::links() {
  Writer w;
  w.begin_message(RTM_GETLINK, NLM_F_DUMP);
  w.header(ifinfomsg{});
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::done, "listing links"));
  std::vector<Link> links;
  for (const auto& m : reply.messages) {
    if (m.type == RTM_NEWLINK) links.push_back(parse_link(m));
  }
  return links;
}

Result<Link> Route::link(std::string_view name) {
  SKIFF_CHECK(check_name(name));
  Writer w;
  w.begin_message(RTM_GETLINK, NLM_F_ACK);
  w.header(ifinfomsg{});
  w.attribute(IFLA_IFNAME, name);
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, fmt::format("link {}", name)));
  if (reply.messages.empty()) return Error{Code::internal, "netlink answered with no link"};
  return parse_link(reply.messages.front());
}

Result<void> Route::add_bridge(std::string_view name, const MacAddress& mac, std::uint32_t mtu) {
  SKIFF_CHECK(check_name(name));
  Writer w;
  w.begin_message(RTM_NEWLINK, kCreate);
  w.header(ifinfomsg{});
  w.attribute(IFLA_IFNAME, name);
  w.u32(IFLA_MTU, mtu);
  // A set address: otherwise the bridge takes its lowest port's, and changes whenever that goes.
  w.attribute(IFLA_ADDRESS, ByteView(mac));
  const auto info = w.begin_nest(IFLA_LINKINFO);
  w.attribute(IFLA_INFO_KIND, std::string_view("bridge"));
  const auto data = w.begin_nest(IFLA_INFO_DATA);
  w.u32(IFLA_BR_FORWARD_DELAY, 0);
  w.u32(IFLA_BR_STP_STATE, 0);
  w.end_nest(data);
  w.end_nest(info);
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, fmt::format("creating bridge {}", name)));
  return {};
}

Result<void> Route::add_veth(const VethPair& pair) {
  SKIFF_CHECK(check_name(pair.name));
  SKIFF_CHECK(check_name(pair.peer_name));
  Writer w;
  w.begin_message(RTM_NEWLINK, kCreate);
  w.header(ifinfomsg{});
  w.attribute(IFLA_IFNAME, pair.name);
  w.u32(IFLA_MTU, pair.mtu);
  const auto info = w.begin_nest(IFLA_LINKINFO);
  w.attribute(IFLA_INFO_KIND, std::string_view("veth"));
  const auto data = w.begin_nest(IFLA_INFO_DATA);
  const auto peer = w.begin_nest(VETH_INFO_PEER);
  w.header(ifinfomsg{});
  w.attribute(IFLA_IFNAME, pair.peer_name);
  w.u32(IFLA_MTU, pair.mtu);
  if (pair.peer_mac) w.attribute(IFLA_ADDRESS, ByteView(*pair.peer_mac));
  if (pair.peer_netns >= 0) w.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(pair.peer_netns));
  w.end_nest(peer);
  w.end_nest(data);
  w.end_nest(info);
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, fmt::format("creating veth {}", pair.name)));
  return {};
}

Result<void> Route::change_link(int index, const LinkChange& change) {
  Writer w;
  w.begin_message(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg head{};
  head.ifi_index = index;
  if (change.up) {
    head.ifi_change = IFF_UP;
    head.ifi_flags = *change.up ? IFF_UP : 0;
  }
  w.header(head);
  if (change.master) w.u32(IFLA_MASTER, static_cast<std::uint32_t>(*change.master));
  if (change.mtu) w.u32(IFLA_MTU, *change.mtu);
  if (change.mac) w.attribute(IFLA_ADDRESS, ByteView(*change.mac));
  if (change.alias) {
    w.attribute(IFLA_IFALIAS, ByteView(reinterpret_cast<const std::uint8_t*>(change.alias->data()),
                                       change.alias->size()));
  }
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, fmt::format("changing link {}", index)));
  return {};
}

Result<void> Route::delete_link(int index) {
  Writer w;
  w.begin_message(RTM_DELLINK, NLM_F_ACK);
  ifinfomsg head{};
  head.ifi_index = index;
  w.header(head);
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, fmt::format("deleting link {}", index)));
  return {};
}

Result<void> Route::set_hairpin(int port, bool on) {
  Writer w;
  w.begin_message(RTM_SETLINK, NLM_F_ACK);
  ifinfomsg head{};
  head.ifi_family = AF_BRIDGE;
  head.ifi_index = port;
  w.header(head);
  const auto options = w.begin_nest(IFLA_PROTINFO);
  w.u8(IFLA_BRPORT_MODE, on ? 1 : 0);
  w.end_nest(options);
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, fmt::format("hairpin mode of link {}", port)));
  return {};
}

Result<std::vector<LinkAddress>> Route::addresses() {
  Writer w;
  w.begin_message(RTM_GETADDR, NLM_F_DUMP);
  w.header(ifaddrmsg{});
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::done, "listing addresses"));
  std::vector<LinkAddress> found;
  for (const auto& m : reply.messages) {
    if (m.type != RTM_NEWADDR || m.payload.size() < sizeof(ifaddrmsg)) continue;
    const auto head = read<ifaddrmsg>(m.payload);
    std::optional<IpAddress> local;
    for_each_attribute(ByteView(m.payload).subspan(sizeof head), [&](auto type, ByteView data) {
      // IPv4 point-to-point links put the peer into IFA_ADDRESS; IPv6 has no IFA_LOCAL otherwise.
      if (type == IFA_LOCAL || (type == IFA_ADDRESS && !local)) {
        local = address_from(head.ifa_family, data);
      }
    });
    if (!local) continue;
    found.push_back({static_cast<int>(head.ifa_index), {*local, head.ifa_prefixlen}});
  }
  return found;
}

Result<std::vector<Prefix>> Route::addresses(int link) {
  SKIFF_TRY(const auto all, addresses());
  std::vector<Prefix> found;
  for (const LinkAddress& a : all) {
    if (a.link == link) found.push_back(a.prefix);
  }
  return found;
}

Result<void> Route::add_address(int link, const Prefix& address) {
  Writer w;
  write_address(w, RTM_NEWADDR, kCreate, link, address);
  auto reply = request(w, Until::ack, "adding address " + address.to_string());
  if (!reply && reply.error().code != Code::already_exists) return reply.error();
  return {};
}

Result<void> Route::delete_address(int link, const Prefix& address) {
  Writer w;
  write_address(w, RTM_DELADDR, NLM_F_ACK, link, address);
  SKIFF_TRY(auto reply, request(w, Until::ack, "deleting address " + address.to_string()));
  return {};
}

Result<std::vector<RouteEntry>> Route::routes() {
  Writer w;
  w.begin_message(RTM_GETROUTE, NLM_F_DUMP);
  rtmsg head{};
  head.rtm_family = AF_INET;
  w.header(head);
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::done, "listing routes"));
  std::vector<RouteEntry> found;
  for (const auto& m : reply.messages) {
    if (m.type != RTM_NEWROUTE || m.payload.size() < sizeof(rtmsg)) continue;
    const auto h = read<rtmsg>(m.payload);
    std::uint32_t table = 0;
    auto route = parse_route(h, ByteView(m.payload).subspan(sizeof h), table);
    if (table == RT_TABLE_MAIN && h.rtm_type == RTN_UNICAST) found.push_back(route);
  }
  return found;
}

Result<void> Route::add_route(const RouteEntry& route) {
  Writer w;
  write_route(w, RTM_NEWROUTE, kCreate, route);
  const std::string to = route.destination ? route.destination->to_string() : "default";
  auto reply = request(w, Until::ack, "adding route to " + to);
  if (!reply && reply.error().code != Code::already_exists) return reply.error();
  return {};
}

Result<void> Route::delete_route(const RouteEntry& route) {
  Writer w;
  write_route(w, RTM_DELROUTE, NLM_F_ACK, route);
  const std::string to = route.destination ? route.destination->to_string() : "default";
  SKIFF_TRY(auto reply, request(w, Until::ack, "deleting route to " + to));
  return {};
}

Result<void> Route::set_neighbour(int link, const IpAddress& address, const MacAddress& mac) {
  Writer w;
  w.begin_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK);
  ndmsg head{};
  head.ndm_family = family_of(address);
  head.ndm_ifindex = link;
  head.ndm_state = NUD_PERMANENT;
  w.header(head);
  w.attribute(NDA_DST, address.view());
  w.attribute(NDA_LLADDR, ByteView(mac));
  w.end_message();
  SKIFF_TRY(auto reply, request(w, Until::ack, "neighbour " + address.to_string()));
  return {};
}

}  // namespace skiff::netlink
