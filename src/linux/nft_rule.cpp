// Rules: each method appends one expression, as the attribute the kernel reads it from.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>

#include <cstring>

#include "skiff/linux/nftables.hpp"

namespace skiff::nft {
namespace {

using netlink::Writer;

// One expression being written: name, then its attributes.
class Expression {
 public:
  explicit Expression(std::string_view name) {
    element_ = writer_.begin_nest(NFTA_LIST_ELEM);
    writer_.attribute(NFTA_EXPR_NAME, name);
    data_ = writer_.begin_nest(NFTA_EXPR_DATA);
  }
  Expression& reg(std::uint16_t type, Reg r) {
    writer_.be32(type, NFT_REG32_00 + r.index);
    return *this;
  }
  Expression& number(std::uint16_t type, std::uint32_t v) {
    writer_.be32(type, v);
    return *this;
  }
  Expression& text(std::uint16_t type, std::string_view v) {
    writer_.attribute(type, v);
    return *this;
  }
  Expression& value(std::uint16_t type, ByteView v) {
    const auto nest = writer_.begin_nest(type);
    writer_.attribute(NFTA_DATA_VALUE, v);
    writer_.end_nest(nest);
    return *this;
  }
  Writer& writer() { return writer_; }
  void append_to(Bytes& out) {
    writer_.end_nest(data_);
    writer_.end_nest(element_);
    const auto& bytes = writer_.bytes();
    out.insert(out.end(), bytes.begin(), bytes.end());
  }

 private:
  Writer writer_;
  std::size_t element_ = 0, data_ = 0;
};

ByteView view(const std::uint32_t& v) {
  return {reinterpret_cast<const std::uint8_t*>(&v), sizeof v};
}

}  // namespace

Rule& Rule::payload(Base base, std::uint32_t offset, std::uint32_t length, Reg to) {
  Expression("payload")
      .reg(NFTA_PAYLOAD_DREG, to)
      .number(NFTA_PAYLOAD_BASE, static_cast<std::uint32_t>(base))
      .number(NFTA_PAYLOAD_OFFSET, offset)
      .number(NFTA_PAYLOAD_LEN, length)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::meta(Meta key, Reg to) {
  Expression("meta")
      .number(NFTA_META_KEY, static_cast<std::uint32_t>(key))
      .reg(NFTA_META_DREG, to)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::set_meta(Meta key, Reg from) {
  Expression("meta")
      .number(NFTA_META_KEY, static_cast<std::uint32_t>(key))
      .reg(NFTA_META_SREG, from)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::ct_state(Reg to) {
  Expression("ct").number(NFTA_CT_KEY, NFT_CT_STATE).reg(NFTA_CT_DREG, to).append_to(expressions_);
  return *this;
}

Rule& Rule::ct_status(Reg to) {
  Expression("ct").number(NFTA_CT_KEY, NFT_CT_STATUS).reg(NFTA_CT_DREG, to).append_to(expressions_);
  return *this;
}

Rule& Rule::compare(Compare op, Reg reg, ByteView value) {
  Expression("cmp")
      .reg(NFTA_CMP_SREG, reg)
      .number(NFTA_CMP_OP, static_cast<std::uint32_t>(op))
      .value(NFTA_CMP_DATA, value)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::compare_u32(Compare op, Reg reg, std::uint32_t host_order) {
  return compare(op, reg, view(host_order));
}

Rule& Rule::compare_name(Reg reg, std::string_view interface) {
  Bytes name(IFNAMSIZ, 0);
  std::memcpy(name.data(), interface.data(), std::min<std::size_t>(interface.size(), IFNAMSIZ - 1));
  return compare(Compare::eq, reg, name);
}

Rule& Rule::bitwise(Reg from, Reg to, ByteView mask, ByteView flip) {
  Expression("bitwise")
      .reg(NFTA_BITWISE_SREG, from)
      .reg(NFTA_BITWISE_DREG, to)
      .number(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()))
      .value(NFTA_BITWISE_MASK, mask)
      .value(NFTA_BITWISE_XOR, flip)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::load(Reg to, ByteView value) {
  Expression("immediate")
      .reg(NFTA_IMMEDIATE_DREG, to)
      .value(NFTA_IMMEDIATE_DATA, value)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::in_set(std::string_view set, Reg key, bool inverted) {
  Expression e("lookup");
  e.text(NFTA_LOOKUP_SET, set).reg(NFTA_LOOKUP_SREG, key);
  if (inverted) e.number(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  e.append_to(expressions_);
  return *this;
}

Rule& Rule::map(std::string_view map, Reg key, Reg to) {
  Expression("lookup")
      .text(NFTA_LOOKUP_SET, map)
      .reg(NFTA_LOOKUP_SREG, key)
      .reg(NFTA_LOOKUP_DREG, to)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::verdict_map(std::string_view map, Reg key) {
  Expression("lookup")
      .text(NFTA_LOOKUP_SET, map)
      .reg(NFTA_LOOKUP_SREG, key)
      .number(NFTA_LOOKUP_DREG, NFT_REG_VERDICT)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::random(std::uint32_t modulus, Reg to) {
  Expression("numgen")
      .reg(NFTA_NG_DREG, to)
      .number(NFTA_NG_MODULUS, modulus)
      .number(NFTA_NG_TYPE, NFT_NG_RANDOM)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::source_type(Reg to) {
  Expression("fib")
      .reg(NFTA_FIB_DREG, to)
      .number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
      .number(NFTA_FIB_FLAGS, NFTA_FIB_F_SADDR)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::destination_type(Reg to) {
  Expression("fib")
      .reg(NFTA_FIB_DREG, to)
      .number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
      .number(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR)
      .append_to(expressions_);
  return *this;
}

Rule& Rule::dnat(Family family, Reg address, std::optional<Reg> port) {
  Expression e("nat");
  e.number(NFTA_NAT_TYPE, NFT_NAT_DNAT)
      .number(NFTA_NAT_FAMILY, static_cast<std::uint32_t>(family))
      .reg(NFTA_NAT_REG_ADDR_MIN, address);
  if (port) e.reg(NFTA_NAT_REG_PROTO_MIN, *port);
  e.append_to(expressions_);
  return *this;
}

Rule& Rule::masquerade(bool random_ports) {
  Expression e("masq");
  if (random_ports) e.number(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY);
  e.append_to(expressions_);
  return *this;
}

Rule& Rule::reject(Family family) {
  // ICMP type 3 code 3 and ICMPv6 type 1 code 4; the inet family has its own, translated numbers.
  Expression e("reject");
  if (family == Family::inet) {
    e.number(NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
    e.writer().u8(NFTA_REJECT_ICMP_CODE, NFT_REJECT_ICMPX_PORT_UNREACH);
  } else {
    e.number(NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
    e.writer().u8(NFTA_REJECT_ICMP_CODE, family == Family::ipv4 ? 3 : 4);
  }
  e.append_to(expressions_);
  return *this;
}

Rule& Rule::reject_tcp() {
  Expression("reject").number(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST).append_to(expressions_);
  return *this;
}

Rule& Rule::change_set(SetOp op, std::string_view set, Reg key, std::optional<Reg> data,
                       std::uint64_t timeout_ms) {
  Expression e("dynset");
  e.text(NFTA_DYNSET_SET_NAME, set)
      .number(NFTA_DYNSET_OP, static_cast<std::uint32_t>(op))
      .reg(NFTA_DYNSET_SREG_KEY, key);
  if (data) e.reg(NFTA_DYNSET_SREG_DATA, *data);
  if (timeout_ms != 0) e.writer().be64(NFTA_DYNSET_TIMEOUT, timeout_ms);
  e.append_to(expressions_);
  return *this;
}

Rule& Rule::verdict(Verdict v) {
  Expression e("immediate");
  e.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
  auto& w = e.writer();
  const auto data = w.begin_nest(NFTA_IMMEDIATE_DATA);
  const auto nest = w.begin_nest(NFTA_DATA_VERDICT);
  std::int32_t code = NF_ACCEPT;
  switch (v.type) {
    case Verdict::Type::drop:
      code = NF_DROP;
      break;
    case Verdict::Type::accept:
      code = NF_ACCEPT;
      break;
    case Verdict::Type::jump:
      code = NFT_JUMP;
      break;
    case Verdict::Type::go:
      code = NFT_GOTO;
      break;
    case Verdict::Type::ret:
      code = NFT_RETURN;
      break;
  }
  w.be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code));
  if (!v.chain.empty()) w.attribute(NFTA_VERDICT_CHAIN, std::string_view(v.chain));
  w.end_nest(nest);
  w.end_nest(data);
  e.append_to(expressions_);
  return *this;
}

Rule& Rule::counter() {
  Expression("counter").append_to(expressions_);
  return *this;
}

Rule& Rule::comment(std::string_view text) {
  comment_ = text.substr(0, 128);
  return *this;
}

}  // namespace skiff::nft
