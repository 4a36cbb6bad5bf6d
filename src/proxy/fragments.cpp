#include "fragments.hpp"

namespace skiff::proxy {

netlink::Bytes word(std::uint32_t v) {
  netlink::Bytes b;
  nft::append_mark(b, v);
  return b;
}

Rule& load_front(Rule& rule) {
  return rule.payload(Base::network, kDestination, kAddress, Reg{0})
      .meta(Meta::l4proto, Reg{1})
      .payload(Base::transport, kDestinationPort, 2, Reg{2});
}

Rule& load_node_port(Rule& rule) {
  return rule.destination_type(Reg{0})
      .compare_u32(Compare::eq, Reg{0}, kTypeLocal)
      .meta(Meta::l4proto, Reg{0})
      .payload(Base::transport, kDestinationPort, 2, Reg{1});
}

Rule& mark_for_masquerade(Rule& rule) {
  return rule.meta(Meta::mark, Reg{12})
      .bitwise(Reg{12}, Reg{12}, word(~kMasqueradeMark), word(kMasqueradeMark))
      .set_meta(Meta::mark, Reg{12});
}

Rule& match_prefix(Rule& rule, std::uint32_t offset, const Prefix& prefix, Compare op) {
  const auto mask = prefix.mask();
  auto network = mask;
  for (std::size_t i = 0; i < network.size(); ++i) network[i] &= prefix.address.bytes[i];
  return rule.payload(Base::network, offset, kAddress, Reg{12})
      .bitwise(Reg{12}, Reg{12}, mask, netlink::Bytes(mask.size()))
      .compare(op, Reg{12}, network);
}

Rule& only_new(Rule& rule) {
  return rule.ct_state(Reg{12})
      .bitwise(Reg{12}, Reg{12}, word(nft::kCtNew), word(0))
      .compare_u32(Compare::neq, Reg{12}, 0);
}

Rule& load_key(Rule& rule, Front front) {
  return by_node_port(front) ? load_node_port(rule) : load_front(rule);
}

Rule& from_this_node(Rule& rule, bool yes) {
  return rule.source_type(Reg{12}).compare_u32(yes ? Compare::eq : Compare::neq, Reg{12},
                                               kTypeLocal);
}

}  // namespace skiff::proxy
