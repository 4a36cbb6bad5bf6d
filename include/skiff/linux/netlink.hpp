// Netlink without a library: addresses, a message builder, one socket seam, and the three protocols
// skiff speaks: rtnetlink (links, addresses, routes), nf_tables (nftables.hpp) and conntrack.
//
// Threading: every call but RouteNotices' is synchronous. The kernel handles a netlink request
// inside sendmsg(), so most calls cost microseconds, but creating or deleting links waits for RCU
// grace periods (tens of milliseconds) and big nftables batches take their time: callers on the
// loop go through env.blocking. A socket is used by one thread at a time.
//
// Errors: ENOENT/ENODEV/ESRCH -> not_found, EEXIST -> already_exists, EPERM/EACCES -> forbidden,
// EBUSY -> conflict, EOPNOTSUPP/EPROTONOSUPPORT/EAFNOSUPPORT -> unavailable (the kernel lacks it),
// the rest internal; the kernel's extended ack text, where it gives one, is part of the message.
//
// Sources: RFC 3549; linux/netlink.h, rtnetlink.h, if_link.h, nfnetlink.h, nfnetlink_conntrack.h.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/result.hpp"
#include "skiff/base/task.hpp"

namespace skiff::netlink {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

// An IPv4 or IPv6 address in network order.
struct IpAddress {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // IPv4 uses the first four

  // Dotted quad or RFC 4291 text; Code::invalid otherwise.
  static Result<IpAddress> parse(std::string_view text);
  static IpAddress v4(std::uint32_t host_order) noexcept;
  std::uint32_t v4_value() const noexcept;  // host order; IPv4 only
  ByteView view() const noexcept { return {bytes.data(), v6 ? std::size_t{16} : std::size_t{4}}; }
  bool loopback() const noexcept;
  bool unspecified() const noexcept;
  std::string to_string() const;
  auto operator<=>(const IpAddress&) const = default;
};

// An address with a prefix length: "10.42.0.0/24".
struct Prefix {
  IpAddress address;
  std::uint8_t length = 0;

  static Result<Prefix> parse(std::string_view text);
  bool contains(const IpAddress& a) const noexcept;
  Bytes mask() const;  // as many bytes as the address has
  std::string to_string() const;
  auto operator<=>(const Prefix&) const = default;
};

// Builds netlink messages: headers, attributes and nests, each padded to four bytes.
class Writer {
 public:
  // Starts a message; end_message() closes it. Sequence numbers count up from `first_sequence`.
  explicit Writer(std::uint32_t first_sequence = 1) noexcept : next_sequence_(first_sequence) {}

  void begin_message(std::uint16_t type, std::uint16_t flags);
  void end_message();
  // The protocol's fixed header (ifinfomsg, rtmsg, nfgenmsg, ...).
  template <class Header>
  void header(const Header& h) {
    raw({reinterpret_cast<const std::uint8_t*>(&h), sizeof h});
  }
  void raw(ByteView data);  // padded

  void attribute(std::uint16_t type, ByteView data);
  void attribute(std::uint16_t type, std::string_view text);  // NUL-terminated, as netlink wants
  void u8(std::uint16_t type, std::uint8_t v);
  void u16(std::uint16_t type, std::uint16_t v);  // host order, as rtnetlink wants
  void u32(std::uint16_t type, std::uint32_t v);
  void be16(std::uint16_t type, std::uint16_t v);  // network order, as nfnetlink wants
  void be32(std::uint16_t type, std::uint32_t v);
  void be64(std::uint16_t type, std::uint64_t v);
  // Opens a nested attribute; the returned mark closes it.
  std::size_t begin_nest(std::uint16_t type, bool flagged = true);
  void end_nest(std::size_t mark);

  const Bytes& bytes() const noexcept { return out_; }
  Bytes take() noexcept { return std::move(out_); }
  std::uint32_t next_sequence() const noexcept { return next_sequence_; }

 private:
  Bytes out_;
  std::size_t message_ = 0;
  std::uint32_t next_sequence_;
};

// Calls `visit(type, payload)` for each attribute; the nested and byte-order flags are taken off.
void for_each_attribute(ByteView attributes,
                        const std::function<void(std::uint16_t, ByteView)>& visit);

struct Message {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  std::uint32_t sequence = 0;
  Bytes payload;  // after the netlink header
};

// One refusal by the kernel, with the sequence number of the message it refused.
struct Refusal {
  std::uint32_t sequence = 0;
  int number = 0;       // errno
  std::string message;  // extended ack text, may be empty
};

struct Reply {
  std::vector<Message> messages;
  std::vector<Refusal> refusals;
};

// What ends a conversation.
enum class Until : std::uint8_t {
  ack,   // the kernel's acknowledgement of the last message (sent with NLM_F_ACK)
  done,  // the end of a dump
  sent,  // nothing: whatever the kernel had to say is there once the request was sent (batches)
};

// The seam: tests stand in for the kernel here.
class Socket {
 public:
  virtual ~Socket() = default;
  // Sends `request` (whole messages, one datagram) and gathers the answers to it. An Error is a
  // failure of the conversation; refusals are part of the reply.
  virtual Result<Reply> exchange(ByteView request, Until until) = 0;
};

enum class Protocol : std::uint8_t { route, netfilter };

// A socket to the kernel. With `netns_path` (such as /proc/123/ns/net) it speaks for that network
// namespace for as long as it lives; empty: the calling thread's own.
Result<std::unique_ptr<Socket>> open_socket(Protocol protocol, const std::string& netns_path = "");

// An Error for a refusal: "what: text (extended ack)".
Error refusal_error(const Refusal& refusal, std::string_view what);

// Runs `function` on the calling thread inside the network namespace at `path`, then returns to the
// thread's own: for /proc/sys/net, which shows the namespace of whoever looks.
Result<void> in_netns(const std::string& path, const std::function<Result<void>()>& function);

// Writes /proc/sys/<name> ("net/ipv4/ip_forward") unless it already reads so.
Result<void> write_sysctl(const std::string& name, std::string_view value);

using MacAddress = std::array<std::uint8_t, 6>;

struct Link {
  int index = 0;
  std::string name;
  std::string kind;   // "bridge", "veth", "" for hardware and loopback
  std::string alias;  // free text, up to 255 bytes
  MacAddress mac{};
  std::uint32_t mtu = 0;
  bool up = false;
  int master = 0;  // index of the bridge it is a port of, 0 for none
};

// What to change on a link; what is not set stays.
struct LinkChange {
  std::optional<bool> up;
  std::optional<int> master;  // 0 takes it out
  std::optional<std::uint32_t> mtu;
  std::optional<MacAddress> mac;
  std::optional<std::string> alias;
};

struct VethPair {
  std::string name;       // in the socket's namespace
  std::string peer_name;  // in `peer_netns`
  int peer_netns = -1;    // open namespace descriptor; -1: the socket's own
  std::uint32_t mtu = 1500;
  std::optional<MacAddress> peer_mac;
};

struct RouteEntry {
  std::optional<Prefix> destination;  // empty: the default route
  std::optional<IpAddress> gateway;
  int interface = 0;
  bool link_scope = false;  // reachable on the link itself, without a gateway
  std::optional<IpAddress> source;
  std::uint8_t protocol = 0;  // who made it (RTPROT_...); 0: an administrator
  bool operator==(const RouteEntry&) const = default;
};

struct LinkAddress {
  int link = 0;
  Prefix prefix;  // the address itself, not its network
};

// Links, addresses, routes and neighbours of one network namespace.
class Route {
 public:
  explicit Route(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
  static Result<Route> open(const std::string& netns_path = "");

  Result<std::vector<Link>> links();
  Result<Link> link(std::string_view name);  // not_found when there is none
  Result<void> add_bridge(std::string_view name, const MacAddress& mac, std::uint32_t mtu);
  Result<void> add_veth(const VethPair& pair);
  Result<void> change_link(int index, const LinkChange& change);
  Result<void> delete_link(int index);
  // Lets a bridge port send frames back where they came from (a pod reaching itself).
  Result<void> set_hairpin(int port, bool on);

  // add_address and add_route succeed when the same one is there already.
  Result<std::vector<LinkAddress>> addresses();     // IPv4 and IPv6
  Result<std::vector<Prefix>> addresses(int link);  // those of one link
  Result<void> add_address(int link, const Prefix& address);
  Result<void> delete_address(int link, const Prefix& address);
  Result<std::vector<RouteEntry>> routes();  // main table, IPv4
  Result<void> add_route(const RouteEntry& route);
  Result<void> delete_route(const RouteEntry& route);
  Result<void> set_neighbour(int link, const IpAddress& address, const MacAddress& mac);

 private:
  Result<Reply> request(const Writer& writer, Until until, std::string_view what);
  std::unique_ptr<Socket> socket_;
};

// Tells when IPv4 addresses or routes of the network namespace it was opened in have changed, by
// whomever. Belongs to the loop.
class RouteNotices {
 public:
  static Result<std::unique_ptr<RouteNotices>> open(Executor executor);
  RouteNotices(const RouteNotices&) = delete;
  RouteNotices& operator=(const RouteNotices&) = delete;
  ~RouteNotices();
  // Returns once something has changed since it was opened or last returned.
  Task<void> next();

 private:
  struct State;
  explicit RouteNotices(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// One direction of a tracked flow.
struct FlowTuple {
  IpAddress source, destination;
  std::uint16_t source_port = 0, destination_port = 0;
};

// A tracked flow: what the client sent, and whom the answers come from (differs after DNAT).
struct Flow {
  std::uint8_t protocol = 0;  // IPPROTO_UDP, ...
  FlowTuple original, reply;
};

// Connection tracking of one network namespace.
class Conntrack {
 public:
  explicit Conntrack(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
  static Result<Conntrack> open();
  // Calls `visit` for every flow of `protocol`.
  Result<void> for_each(bool v6, std::uint8_t protocol,
                        const std::function<void(const Flow&)>& visit);
  Result<void> remove(const Flow& flow);  // not_found when it is gone already

 private:
  std::unique_ptr<Socket> socket_;
};

}  // namespace skiff::netlink
