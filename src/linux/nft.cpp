// Batches: nf_tables messages between a begin and an end mark, applied as one transaction.
#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cerrno>
#include <cstring>

#include "skiff/linux/nftables.hpp"

namespace skiff::nft {
namespace {

using netlink::Writer;

// A message's nested attribute holds at most 64 KiB; this leaves room for one more element.
constexpr std::size_t kElementBytes = 60U << 10U;

constexpr std::uint16_t message_type(std::uint16_t kind) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8U | kind);
}

nfgenmsg generic(std::uint8_t family, std::uint16_t resource) {
  nfgenmsg head{};
  head.nfgen_family = family;
  head.version = NFNETLINK_V0;
  head.res_id = __builtin_bswap16(resource);
  return head;
}

// Userdata is nft(8)'s own: type, length, NUL-terminated text; type 0 is the comment everywhere.
void write_comment(Writer& w, std::uint16_t type, std::string_view comment) {
  if (comment.empty()) return;
  const auto text = comment.substr(0, 128);
  Bytes data{0, static_cast<std::uint8_t>(text.size() + 1)};
  data.insert(data.end(), text.begin(), text.end());
  data.push_back(0);
  w.attribute(type, ByteView(data));
}

// nft(8)'s type numbers (not the kernel's concern), six bits each in a concatenation.
std::uint32_t type_number(Part part) {
  switch (part) {
    case Part::ipv4:
      return 7;
    case Part::ipv6:
      return 8;
    case Part::protocol:
      return 12;
    case Part::port:
      return 13;
    case Part::mark:
      return 19;
  }
  return 0;
}

std::uint32_t length_of(const std::vector<Part>& parts) {
  std::uint32_t length = 0;
  for (const Part p : parts) length += p == Part::ipv6 ? 16 : 4;
  return length;
}

// A lone port or protocol is not padded to a register.
std::uint32_t natural_length(const std::vector<Part>& parts) {
  if (parts.size() != 1) return length_of(parts);
  if (parts.front() == Part::port) return 2;
  if (parts.front() == Part::protocol) return 1;
  return length_of(parts);
}

std::uint32_t type_of(const std::vector<Part>& parts) {
  std::uint32_t type = 0;
  for (const Part p : parts) type = type << 6U | type_number(p);
  return type;
}

std::int32_t code_of(Verdict::Type type) {
  switch (type) {
    case Verdict::Type::drop:
      return NF_DROP;
    case Verdict::Type::accept:
      return NF_ACCEPT;
    case Verdict::Type::jump:
      return NFT_JUMP;
    case Verdict::Type::go:
      return NFT_GOTO;
    case Verdict::Type::ret:
      return NFT_RETURN;
  }
  return NF_ACCEPT;
}

void write_element(Writer& w, const Element& element, bool with_data) {
  const auto nest = w.begin_nest(NFTA_LIST_ELEM);
  const auto key = w.begin_nest(NFTA_SET_ELEM_KEY);
  w.attribute(NFTA_DATA_VALUE, ByteView(element.key));
  w.end_nest(key);
  if (with_data && (element.verdict || !element.value.empty())) {
    const auto data = w.begin_nest(NFTA_SET_ELEM_DATA);
    if (element.verdict) {
      const auto verdict = w.begin_nest(NFTA_DATA_VERDICT);
      w.be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code_of(element.verdict->type)));
      if (!element.verdict->chain.empty()) {
        w.attribute(NFTA_VERDICT_CHAIN, std::string_view(element.verdict->chain));
      }
      w.end_nest(verdict);
    } else {
      w.attribute(NFTA_DATA_VALUE, ByteView(element.value));
    }
    w.end_nest(data);
  }
  if (with_data) write_comment(w, NFTA_SET_ELEM_USERDATA, element.comment);
  w.end_nest(nest);
}

}  // namespace

void append_part(Bytes& to, const netlink::IpAddress& address) {
  const auto v = address.view();
  to.insert(to.end(), v.begin(), v.end());
}
void append_protocol(Bytes& to, std::uint8_t protocol) { to.insert(to.end(), {protocol, 0, 0, 0}); }
void append_port(Bytes& to, std::uint16_t port) {
  to.insert(to.end(),
            {static_cast<std::uint8_t>(port >> 8U), static_cast<std::uint8_t>(port), 0, 0});
}
void append_mark(Bytes& to, std::uint32_t mark) {
  const auto* p = reinterpret_cast<const std::uint8_t*>(&mark);
  to.insert(to.end(), p, p + sizeof mark);
}

Batch::Batch(Family family, std::string table) : family_(family), table_(std::move(table)) {
  writer_.begin_message(NFNL_MSG_BATCH_BEGIN, 0);
  writer_.header(generic(0, NFNL_SUBSYS_NFTABLES));
  writer_.end_message();
}

std::size_t Batch::size() const noexcept { return writer_.bytes().size(); }

void Batch::begin(std::uint16_t type, std::uint16_t flags) {
  writer_.begin_message(message_type(type), flags);
  writer_.header(generic(static_cast<std::uint8_t>(family_), 0));
  ++operations_;
}

void Batch::add_table() {
  begin(NFT_MSG_NEWTABLE, NLM_F_CREATE);
  writer_.attribute(NFTA_TABLE_NAME, std::string_view(table_));
  writer_.be32(NFTA_TABLE_FLAGS, 0);
  writer_.end_message();
}

void Batch::delete_table() {
  begin(NFT_MSG_DELTABLE, 0);
  writer_.attribute(NFTA_TABLE_NAME, std::string_view(table_));
  writer_.end_message();
}

void Batch::add_chain(std::string_view name, const std::optional<BaseChain>& base,
                      std::string_view comment) {
  begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  writer_.attribute(NFTA_CHAIN_TABLE, std::string_view(table_));
  writer_.attribute(NFTA_CHAIN_NAME, name);
  if (base) {
    const auto hook = writer_.begin_nest(NFTA_CHAIN_HOOK);
    writer_.be32(NFTA_HOOK_HOOKNUM, static_cast<std::uint32_t>(base->hook));
    writer_.be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(base->priority));
    writer_.end_nest(hook);
    writer_.be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
    writer_.attribute(NFTA_CHAIN_TYPE, std::string_view(base->type));
  }
  write_comment(writer_, NFTA_CHAIN_USERDATA, comment);
  writer_.end_message();
}

void Batch::flush_chain(std::string_view name) {
  begin(NFT_MSG_DELRULE, 0);
  writer_.attribute(NFTA_RULE_TABLE, std::string_view(table_));
  writer_.attribute(NFTA_RULE_CHAIN, name);
  writer_.end_message();
}

void Batch::delete_chain(std::string_view name) {
  begin(NFT_MSG_DELCHAIN, 0);
  writer_.attribute(NFTA_CHAIN_TABLE, std::string_view(table_));
  writer_.attribute(NFTA_CHAIN_NAME, name);
  writer_.end_message();
}

void Batch::add_rule(std::string_view chain, const Rule& rule) {
  begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
  writer_.attribute(NFTA_RULE_TABLE, std::string_view(table_));
  writer_.attribute(NFTA_RULE_CHAIN, chain);
  const auto expressions = writer_.begin_nest(NFTA_RULE_EXPRESSIONS);
  writer_.raw(rule.expressions());
  writer_.end_nest(expressions);
  write_comment(writer_, NFTA_RULE_USERDATA, rule.comment_text());
  writer_.end_message();
}

void Batch::add_set(const Set& set) {
  begin(NFT_MSG_NEWSET, NLM_F_CREATE);
  writer_.attribute(NFTA_SET_TABLE, std::string_view(table_));
  writer_.attribute(NFTA_SET_NAME, std::string_view(set.name));
  std::uint32_t flags = 0;
  if (set.verdicts || !set.value.empty()) flags |= NFT_SET_MAP;
  if (set.dynamic) flags |= NFT_SET_EVAL;
  if (set.timeout) flags |= NFT_SET_TIMEOUT;
  writer_.be32(NFTA_SET_FLAGS, flags);
  writer_.be32(NFTA_SET_KEY_TYPE, type_of(set.key));
  writer_.be32(NFTA_SET_KEY_LEN, natural_length(set.key));
  if (set.verdicts) {
    writer_.be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
    writer_.be32(NFTA_SET_DATA_LEN, sizeof(std::uint32_t));
  } else if (!set.value.empty()) {
    writer_.be32(NFTA_SET_DATA_TYPE, type_of(set.value));
    writer_.be32(NFTA_SET_DATA_LEN, natural_length(set.value));
  }
  writer_.be32(NFTA_SET_ID, next_set_id_++);
  if (set.size != 0) {
    const auto description = writer_.begin_nest(NFTA_SET_DESC);
    writer_.be32(NFTA_SET_DESC_SIZE, set.size);
    writer_.end_nest(description);
  }
  writer_.end_message();
}

void Batch::delete_set(std::string_view name) {
  begin(NFT_MSG_DELSET, 0);
  writer_.attribute(NFTA_SET_TABLE, std::string_view(table_));
  writer_.attribute(NFTA_SET_NAME, name);
  writer_.end_message();
}

void Batch::elements(std::uint16_t type, std::uint16_t flags, std::string_view set,
                     std::span<const Element> elements) {
  while (!elements.empty()) {
    begin(type, flags);
    writer_.attribute(NFTA_SET_ELEM_LIST_TABLE, std::string_view(table_));
    writer_.attribute(NFTA_SET_ELEM_LIST_SET, set);
    const auto list = writer_.begin_nest(NFTA_SET_ELEM_LIST_ELEMENTS);
    while (!elements.empty() && writer_.bytes().size() - list < kElementBytes) {
      write_element(writer_, elements.front(), type == NFT_MSG_NEWSETELEM);
      elements = elements.subspan(1);
    }
    writer_.end_nest(list);
    writer_.end_message();
  }
}

void Batch::add_elements(std::string_view set, std::span<const Element> added) {
  elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, added);
}

void Batch::delete_elements(std::string_view set, std::span<const Element> removed) {
  elements(NFT_MSG_DELSETELEM, 0, set, removed);
}

Bytes Batch::finish() {
  writer_.begin_message(NFNL_MSG_BATCH_END, 0);
  writer_.header(generic(0, NFNL_SUBSYS_NFTABLES));
  writer_.end_message();
  return writer_.take();
}

namespace {

std::string_view verb(std::uint16_t type) {
  switch (type & 0xffU) {
    case NFT_MSG_NEWTABLE:
      return "adding table";
    case NFT_MSG_DELTABLE:
      return "deleting table";
    case NFT_MSG_NEWCHAIN:
      return "adding chain";
    case NFT_MSG_DELCHAIN:
      return "deleting chain";
    case NFT_MSG_NEWRULE:
      return "adding a rule to";
    case NFT_MSG_DELRULE:
      return "flushing chain";
    case NFT_MSG_NEWSET:
      return "adding set";
    case NFT_MSG_DELSET:
      return "deleting set";
    case NFT_MSG_NEWSETELEM:
      return "adding elements to";
    case NFT_MSG_DELSETELEM:
      return "deleting elements of";
    default:
      return "the transaction";
  }
}

// "adding a rule to skiff-proxy svc-..." for the message with this number. Names of tables are
// attribute 1 everywhere; what they hold is 3 for a chain, 2 for everything else.
std::string describe(ByteView batch, std::uint32_t sequence) {
  while (batch.size() >= sizeof(nlmsghdr)) {
    nlmsghdr h{};
    std::memcpy(&h, batch.data(), sizeof h);
    if (h.nlmsg_len < sizeof h || h.nlmsg_len > batch.size()) break;
    if (h.nlmsg_seq == sequence && h.nlmsg_type >= message_type(0) &&
        h.nlmsg_len > sizeof h + sizeof(nfgenmsg)) {
      const auto kind = h.nlmsg_type & 0xffU;
      const bool chain = kind == NFT_MSG_NEWCHAIN || kind == NFT_MSG_DELCHAIN;
      std::string table, name;
      netlink::for_each_attribute(
          batch.subspan(sizeof h + sizeof(nfgenmsg), h.nlmsg_len - sizeof h - sizeof(nfgenmsg)),
          [&](std::uint16_t type, ByteView data) {
            const std::string text(data.begin(), data.empty() ? data.end() : data.end() - 1);
            if (type == 1) table = text;
            if (type == (chain ? 3 : 2) && kind > NFT_MSG_DELTABLE) name = text;
          });
      return fmt::format("nftables: {} {}{}{}", verb(h.nlmsg_type), table, name.empty() ? "" : " ",
                         name);
    }
    batch = batch.subspan(std::min<std::size_t>((h.nlmsg_len + 3U) & ~3U, batch.size()));
  }
  return "nftables: the transaction";
}

}  // namespace

Result<void> commit(netlink::Socket& socket, Batch batch, std::size_t* bytes) {
  const Bytes datagram = batch.finish();
  if (bytes != nullptr) *bytes = datagram.size();
  auto reply = socket.exchange(datagram, netlink::Until::sent);
  if (!reply) return annotate(reply.error(), "nftables");
  if (reply->refusals.empty()) return {};
  const auto& first = reply->refusals.front();
  return netlink::refusal_error(first, describe(datagram, first.sequence));
}

Result<void> probe(netlink::Socket& socket) {
  const Reg a{0}, b{1}, c{2}, d{3};
  Batch batch(Family::ipv4, "skiff-probe");
  batch.add_table();
  batch.add_set({.name = "m", .key = {Part::mark, Part::mark}, .value = {Part::ipv4, Part::port}});
  batch.add_set({.name = "s", .key = {Part::ipv4}, .dynamic = true, .timeout = true, .size = 16});
  batch.add_chain("nat", BaseChain{"nat", Hook::prerouting, kPriorityDstnat});
  batch.add_chain("post", BaseChain{"nat", Hook::postrouting, kPrioritySrcnat});
  batch.add_chain("filter", BaseChain{"filter", Hook::forward, kPriorityFilter});
  batch.add_rule("nat", Rule()
                            .destination_type(a)
                            .compare_u32(Compare::eq, a, 2)
                            .random(2, b)
                            .random(2, a)
                            .map("m", a, c)
                            .dnat(Family::ipv4, c, d));
  batch.add_rule("nat", Rule()
                            .payload(Base::network, 12, 4, a)
                            .change_set(Rule::SetOp::update, "s", a, std::nullopt, 1000));
  batch.add_rule("post", Rule().masquerade());
  batch.add_rule("filter", Rule().ct_state(a).reject(Family::ipv4));
  batch.delete_table();
  auto result = commit(socket, std::move(batch));
  if (result) return {};
  Error e = result.error();
  if (e.code == Code::forbidden) {
    e.message = "nftables needs CAP_NET_ADMIN: run skiff as root";
  } else {
    e.code = Code::unavailable;
    e.message = fmt::format(
        "this kernel lacks what services need of nftables ({}): enable CONFIG_NF_TABLES, "
        "NF_TABLES_IPV4, NFT_NAT, NFT_MASQ, NFT_NUMGEN, NFT_FIB_IPV4, NFT_REJECT and NFT_CT",
        e.message);
  }
  return e;
}

}  // namespace skiff::nft
