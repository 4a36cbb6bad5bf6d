#include "addresses.hpp"

#include <fmt/format.h>

namespace skiff::network {

using netlink::IpAddress;

Result<AddressPool> AddressPool::create(const netlink::Prefix& prefix) {
  if (prefix.address.v6 || prefix.length > 30 || prefix.length < 8) {
    return Error{Code::invalid, fmt::format("the pod CIDR must be an IPv4 prefix from /8 to /30, "
                                            "such as 10.42.0.0/24; it is {}",
                                            prefix.to_string())};
  }
  const std::uint32_t mask = ~std::uint32_t{0} << (32U - prefix.length);
  const std::uint32_t network = prefix.address.v4_value() & mask;
  return AddressPool(network + 2, (network | ~mask) - 1);
}

Result<IpAddress> AddressPool::take() {
  const std::uint32_t count = last_ - first_ + 1;
  for (std::uint32_t tried = 0; tried < count; ++tried) {
    const std::uint32_t candidate = next_;
    next_ = next_ == last_ ? first_ : next_ + 1;
    if (taken_.insert(candidate).second) return IpAddress::v4(candidate);
  }
  return Error{Code::unavailable,
               fmt::format("no IP addresses available in range set: {}-{}; delete pods on this "
                           "node or give it a larger pod CIDR",
                           IpAddress::v4(first_).to_string(), IpAddress::v4(last_).to_string())};
}

bool AddressPool::take(const IpAddress& address) {
  return taken_.insert(address.v4_value()).second;
}

void AddressPool::give_back(const IpAddress& address) { taken_.erase(address.v4_value()); }

std::string host_interface(std::string_view pod_id) {
  std::uint64_t hash = 14'695'981'039'346'656'037ULL;  // FNV-1a
  for (const char c : pod_id) {
    hash = (hash ^ static_cast<std::uint8_t>(c)) * 1'099'511'628'211ULL;
  }
  return fmt::format("skf{:012x}", hash >> 16U);
}

netlink::MacAddress mac_of(const IpAddress& address) {
  return {0x0a, 0x58, address.bytes[0], address.bytes[1], address.bytes[2], address.bytes[3]};
}

std::string alias_of(const Owner& owner) {
  return fmt::format("skiff {} {}", owner.address.to_string(), owner.pod_id);
}

std::optional<Owner> owner_of(std::string_view alias) {
  constexpr std::string_view kMark = "skiff ";
  if (!alias.starts_with(kMark)) return std::nullopt;
  alias.remove_prefix(kMark.size());
  const auto space = alias.find(' ');
  if (space == std::string_view::npos || space + 1 == alias.size()) return std::nullopt;
  const auto address = IpAddress::parse(alias.substr(0, space));
  if (!address || address->v6) return std::nullopt;
  return Owner{*address, std::string(alias.substr(space + 1))};
}

}  // namespace skiff::network
