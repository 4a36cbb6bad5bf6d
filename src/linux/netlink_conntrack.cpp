// Connection tracking over ctnetlink: reading flows of one protocol, removing single ones.
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

#include "skiff/linux/netlink.hpp"

namespace skiff::netlink {
namespace {

constexpr std::uint16_t message_type(std::uint16_t kind) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8U | kind);
}

nfgenmsg generic(bool v6) {
  nfgenmsg head{};
  head.nfgen_family = v6 ? AF_INET6 : AF_INET;
  head.version = NFNETLINK_V0;
  return head;
}

std::uint16_t port(ByteView data) {
  return data.size() < 2 ? 0 : static_cast<std::uint16_t>(data[0] << 8U | data[1]);
}

void read_address(IpAddress& to, bool v6, ByteView data) {
  to.v6 = v6;
  std::memcpy(to.bytes.data(), data.data(), std::min(data.size(), to.bytes.size()));
}

FlowTuple parse_tuple(ByteView attributes, std::uint8_t& protocol) {
  FlowTuple tuple;
  for_each_attribute(attributes, [&](auto type, ByteView part) {
    if (type == CTA_TUPLE_IP) {
      for_each_attribute(part, [&](auto field, ByteView data) {
        if (field == CTA_IP_V4_SRC || field == CTA_IP_V6_SRC) {
          read_address(tuple.source, field == CTA_IP_V6_SRC, data);
        } else if (field == CTA_IP_V4_DST || field == CTA_IP_V6_DST) {
          read_address(tuple.destination, field == CTA_IP_V6_DST, data);
        }
      });
    } else if (type == CTA_TUPLE_PROTO) {
      for_each_attribute(part, [&](auto field, ByteView data) {
        if (field == CTA_PROTO_NUM && !data.empty()) protocol = data[0];
        if (field == CTA_PROTO_SRC_PORT) tuple.source_port = port(data);
        if (field == CTA_PROTO_DST_PORT) tuple.destination_port = port(data);
      });
    }
  });
  return tuple;
}

void write_tuple(Writer& w, std::uint16_t type, const FlowTuple& tuple, std::uint8_t protocol) {
  const bool v6 = tuple.source.v6;
  const auto nest = w.begin_nest(type);
  const auto ip = w.begin_nest(CTA_TUPLE_IP);
  w.attribute(v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, tuple.source.view());
  w.attribute(v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, tuple.destination.view());
  w.end_nest(ip);
  const auto proto = w.begin_nest(CTA_TUPLE_PROTO);
  w.u8(CTA_PROTO_NUM, protocol);
  w.be16(CTA_PROTO_SRC_PORT, tuple.source_port);
  w.be16(CTA_PROTO_DST_PORT, tuple.destination_port);
  w.end_nest(proto);
  w.end_nest(nest);
}

}  // namespace

Result<Conntrack> Conntrack::open() {
  SKIFF_TRY(auto socket, open_socket(Protocol::netfilter));
  return Conntrack(std::move(socket));
}

Result<void> Conntrack::for_each(bool v6, std::uint8_t protocol,
                                 const std::function<void(const Flow&)>& visit) {
  Writer w;
  w.begin_message(message_type(IPCTNL_MSG_CT_GET), NLM_F_DUMP);
  w.header(generic(v6));
  w.end_message();
  SKIFF_TRY(auto reply, socket_->exchange(w.bytes(), Until::done));
  if (!reply.refusals.empty()) return refusal_error(reply.refusals.front(), "listing flows");
  for (const auto& m : reply.messages) {
    if (m.payload.size() < sizeof(nfgenmsg)) continue;
    Flow flow;
    for_each_attribute(ByteView(m.payload).subspan(sizeof(nfgenmsg)),
                       [&](auto type, ByteView data) {
                         if (type == CTA_TUPLE_ORIG)
                           flow.original = parse_tuple(data, flow.protocol);
                         if (type == CTA_TUPLE_REPLY) flow.reply = parse_tuple(data, flow.protocol);
                       });
    if (flow.protocol == protocol) visit(flow);
  }
  return {};
}

Result<void> Conntrack::remove(const Flow& flow) {
  Writer w;
  w.begin_message(message_type(IPCTNL_MSG_CT_DELETE), NLM_F_ACK);
  w.header(generic(flow.original.source.v6));
  write_tuple(w, CTA_TUPLE_ORIG, flow.original, flow.protocol);
  w.end_message();
  SKIFF_TRY(auto reply, socket_->exchange(w.bytes(), Until::ack));
  if (!reply.refusals.empty()) return refusal_error(reply.refusals.front(), "deleting a flow");
  return {};
}

}  // namespace skiff::netlink
