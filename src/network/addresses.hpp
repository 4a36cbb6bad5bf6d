// Which addresses of a prefix are taken. Pure; no kernel, no loop.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "skiff/base/result.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::network {

// Hands out addresses round robin, so that one just given back is the last to be used again: late
// packets and stale caches of its former owner have time to die.
class AddressPool {
 public:
  // IPv4, at most /30. The network, its first host (the gateway) and the broadcast are never given.
  static Result<AddressPool> create(const netlink::Prefix& prefix);

  // Code::unavailable when none is free.
  Result<netlink::IpAddress> take();
  // Marks an address as taken; false when it was already. One outside the prefix is remembered too.
  bool take(const netlink::IpAddress& address);
  void give_back(const netlink::IpAddress& address);

  netlink::IpAddress gateway() const { return netlink::IpAddress::v4(first_ - 1); }
  std::size_t taken() const noexcept { return taken_.size(); }

 private:
  AddressPool(std::uint32_t first, std::uint32_t last) : first_(first), last_(last), next_(first) {}
  std::uint32_t first_, last_, next_;
  std::set<std::uint32_t> taken_;
};

// The host's end of a pod's veth pair: "skf" and twelve hex digits made from the pod's id.
std::string host_interface(std::string_view pod_id);
// A locally administered MAC that follows from the address: when an address is used again, caches
// that still know it stay right.
netlink::MacAddress mac_of(const netlink::IpAddress& address);

// What the host's end carries as its alias, and back. Empty when it is not ours.
struct Owner {
  netlink::IpAddress address;
  std::string pod_id;
};
std::string alias_of(const Owner& owner);
std::optional<Owner> owner_of(std::string_view alias);

}  // namespace skiff::network
