// nf_tables messages, written by ourselves: tables, chains, rules, sets, maps and their elements,
// gathered in a Batch that the kernel applies as one transaction or not at all.
//
// Only what skiff needs of the expression language is here; a Rule is a row of expressions working
// on sixteen 4-byte registers. Newer kernels refuse to read a register the same rule did not write.
//
// Threading and errors: as in netlink.hpp. A kernel without nf_tables answers Code::unavailable.
// Sources: linux/netfilter/nf_tables.h; the nft(8) manual for what the expressions mean.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/result.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::nft {

using netlink::Bytes;
using netlink::ByteView;

enum class Family : std::uint8_t { inet = 1, ipv4 = 2, ipv6 = 10 };
enum class Hook : std::uint8_t { prerouting, input, forward, output, postrouting };

// Well-known priorities (nft(8), "Standard priority names").
inline constexpr int kPriorityRaw = -300;
inline constexpr int kPriorityDstnat = -100;
inline constexpr int kPriorityFilter = 0;
inline constexpr int kPrioritySrcnat = 100;

// A 4-byte register, 0..15; longer values continue in the following ones.
struct Reg {
  std::uint8_t index = 0;
};

enum class Meta : std::uint8_t {  // linux/netfilter/nf_tables.h, enum nft_meta_keys
  mark = 3,
  iif = 4,
  oif = 5,
  iifname = 6,
  oifname = 7,
  l4proto = 16,
};
enum class Base : std::uint8_t { network = 1, transport = 2 };
enum class Compare : std::uint8_t { eq, neq, lt, lte, gt, gte };

struct Verdict {
  enum class Type : std::int8_t { drop, accept, jump, go, ret };
  Type type = Type::accept;
  std::string chain;  // of jump and go
  auto operator<=>(const Verdict&) const = default;
};

class Rule {
 public:
  Rule& payload(Base base, std::uint32_t offset, std::uint32_t length, Reg to);
  Rule& meta(Meta key, Reg to);
  Rule& set_meta(Meta key, Reg from);
  Rule& ct_state(Reg to);   // bits: kCtInvalid, kCtEstablished, kCtRelated, kCtNew
  Rule& ct_status(Reg to);  // bits of enum ip_conntrack_status
  Rule& compare(Compare op, Reg reg, ByteView value);
  Rule& compare_u32(Compare op, Reg reg, std::uint32_t host_order);
  Rule& compare_name(Reg reg, std::string_view interface);  // whole interface name, equal
  // to = (from & mask) ^ flip, over mask.size() bytes.
  Rule& bitwise(Reg from, Reg to, ByteView mask, ByteView flip);
  Rule& load(Reg to, ByteView value);
  // Goes on only when the key at `key` is in the set (or is not, when inverted).
  Rule& in_set(std::string_view set, Reg key, bool inverted = false);
  // The map's value goes to `to`; the rule ends here when the key is absent.
  Rule& map(std::string_view map, Reg key, Reg to);
  Rule& verdict_map(std::string_view map, Reg key);
  Rule& random(std::uint32_t modulus, Reg to);  // uniform in [0, modulus)
  // The type of the packet's source or destination address, as routing sees it (RTN_LOCAL, ...).
  Rule& source_type(Reg to);
  Rule& destination_type(Reg to);
  Rule& dnat(Family family, Reg address, std::optional<Reg> port);
  Rule& masquerade(bool random_ports = true);
  Rule& reject(Family family);  // ICMP port unreachable; the kernel limits how often
  Rule& reject_tcp();           // a reset; for TCP only
  enum class SetOp : std::uint8_t { add, update, remove };
  // Changes a dynamic set or map from the packet path. timeout 0: the set's own.
  Rule& change_set(SetOp op, std::string_view set, Reg key, std::optional<Reg> data,
                   std::uint64_t timeout_ms);
  Rule& verdict(Verdict v);
  Rule& counter();
  Rule& comment(std::string_view text);  // shown by `nft list`; up to 128 bytes

  ByteView expressions() const noexcept { return expressions_; }
  std::string_view comment_text() const noexcept { return comment_; }
  bool operator==(const Rule&) const = default;

 private:
  Bytes expressions_;
  std::string comment_;
};

inline constexpr std::uint32_t kCtInvalid = 1;
inline constexpr std::uint32_t kCtEstablished = 2;
inline constexpr std::uint32_t kCtRelated = 4;
inline constexpr std::uint32_t kCtNew = 8;

struct BaseChain {
  std::string type;  // "filter" or "nat"
  Hook hook = Hook::prerouting;
  int priority = 0;
};

// The parts keys and values are made of; each takes whole registers. Lets `nft list` print them.
enum class Part : std::uint8_t { ipv4, ipv6, protocol, port, mark };

struct Set {
  std::string name;
  std::vector<Part> key;
  std::vector<Part> value;  // empty for a set
  bool verdicts = false;    // a map to verdicts
  bool dynamic = false;     // changed by rules
  bool timeout = false;     // elements may expire
  std::uint32_t size = 0;   // bound of a dynamic set's size, 0 for none
};

struct Element {
  Bytes key;
  Bytes value;                     // of a map
  std::optional<Verdict> verdict;  // of a verdict map
  std::string comment;
};

// Appends parts as registers hold them: addresses and ports in network order, padded to 4 bytes;
// marks in host order.
void append_part(Bytes& to, const netlink::IpAddress& address);
void append_protocol(Bytes& to, std::uint8_t protocol);
void append_port(Bytes& to, std::uint16_t port);
void append_mark(Bytes& to, std::uint32_t mark);

// One transaction on one table. Operations apply in the order they were added.
class Batch {
 public:
  Batch(Family family, std::string table);

  void add_table();  // no error when it is there
  void delete_table();
  void add_chain(std::string_view name, const std::optional<BaseChain>& base = std::nullopt,
                 std::string_view comment = "");
  void flush_chain(std::string_view name);
  void delete_chain(std::string_view name);
  void add_rule(std::string_view chain, const Rule& rule);
  void add_set(const Set& set);
  void delete_set(std::string_view name);
  void add_elements(std::string_view set, std::span<const Element> elements);
  void delete_elements(std::string_view set, std::span<const Element> elements);

  bool empty() const noexcept { return operations_ == 0; }
  std::size_t operations() const noexcept { return operations_; }
  std::size_t size() const noexcept;  // bytes on the wire
  // The datagram: batch begin, operations, batch end. The batch is spent.
  Bytes finish();

 private:
  void begin(std::uint16_t type, std::uint16_t flags);
  void elements(std::uint16_t type, std::uint16_t flags, std::string_view set,
                std::span<const Element> elements);
  Family family_;
  std::string table_;
  netlink::Writer writer_;
  std::size_t operations_ = 0;
  std::uint32_t next_set_id_ = 1;
};

// Applies the batch as one transaction. The error names the first refused operation. `bytes`, when
// given, receives the size of the datagram.
Result<void> commit(netlink::Socket& socket, Batch batch, std::size_t* bytes = nullptr);

// Whether this kernel has nf_tables with all the expressions above, and we may use it: tries a
// small transaction that it takes back. The error says what is missing and what to do.
Result<void> probe(netlink::Socket& socket);

}  // namespace skiff::nft
