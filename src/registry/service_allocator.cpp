#include "service_allocator.hpp"

#include <boost/asio/ip/address.hpp>

namespace skiff::registry {
namespace {

using asio::ip::address;

std::optional<address> parse_address(std::string_view text) {
  boost::system::error_code error;
  const address parsed = asio::ip::make_address(std::string(text), error);
  if (error) return std::nullopt;
  return parsed;
}

std::array<std::uint8_t, 16> bytes_of(const address& a) {
  std::array<std::uint8_t, 16> out{};
  if (a.is_v4()) {
    const auto v4 = a.to_v4().to_bytes();
    std::copy(v4.begin(), v4.end(), out.begin());
  } else {
    const auto v6 = a.to_v6().to_bytes();
    std::copy(v6.begin(), v6.end(), out.begin());
  }
  return out;
}

std::size_t width(IpFamily family) { return family == IpFamily::v4 ? 4 : 16; }

// Offsets [0, band) are left for choices by hand while there is room above.
std::uint64_t band(std::uint64_t size, std::uint64_t lowest, std::uint64_t highest,
                   std::uint64_t share) {
  if (size < lowest) return 0;
  return std::min(std::max(size / share, lowest), highest);
}

}  // namespace

std::string_view name_of(IpFamily family) noexcept {
  return family == IpFamily::v4 ? "IPv4" : "IPv6";
}

std::optional<IpFamily> family_of(std::string_view text) {
  const auto parsed = parse_address(text);
  if (!parsed) return std::nullopt;
  return parsed->is_v4() ? IpFamily::v4 : IpFamily::v6;
}

Result<ServiceAllocator::Pool> ServiceAllocator::parse_pool(std::string_view cidr) {
  const auto slash = cidr.find('/');
  const auto parsed = parse_address(cidr.substr(0, slash));
  int bits = -1;
  if (slash != std::string_view::npos) {
    const std::string_view tail = cidr.substr(slash + 1);
    const auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), bits);
    if (error != std::errc() || end != tail.data() + tail.size()) bits = -1;
  }
  const int most = parsed && parsed->is_v4() ? 32 : 128;
  if (!parsed || bits < 0 || bits > most - 2) {
    return Error{Code::invalid, "service CIDR \"" + std::string(cidr) +
                                    "\" is not a range of at least four addresses; write it like "
                                    "10.96.0.0/16"};
  }
  Pool pool;
  pool.family = parsed->is_v4() ? IpFamily::v4 : IpFamily::v6;
  pool.base = bytes_of(*parsed);
  for (int bit = bits; bit < most; ++bit) {  // host bits to zero
    pool.base[static_cast<std::size_t>(bit / 8)] &=
        static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
  }
  pool.size = std::uint64_t{1} << std::min(most - bits, 32);
  pool.cidr = address_at(pool, 0) + "/" + std::to_string(bits);
  return pool;
}

Result<ServiceAllocator> ServiceAllocator::make(Random& random, std::string_view cidrs,
                                                int port_min, int port_max) {
  ServiceAllocator out;
  out.random_ = &random;
  out.port_min_ = port_min;
  out.port_max_ = port_max;
  while (true) {
    const auto comma = cidrs.find(',');
    SKIFF_TRY(Pool pool, parse_pool(cidrs.substr(0, comma)));
    if (out.pool(pool.family)) {
      return Error{Code::invalid, "two service CIDRs of the same address family"};
    }
    out.order_.push_back(pool.family);
    out.pools_.push_back(std::move(pool));
    if (comma == std::string_view::npos) break;
    cidrs.remove_prefix(comma + 1);
  }
  return out;
}

ServiceAllocator::Pool* ServiceAllocator::pool(IpFamily family) {
  for (Pool& p : pools_) {
    if (p.family == family) return &p;
  }
  return nullptr;
}

std::string_view ServiceAllocator::cidr(IpFamily family) const {
  for (const Pool& p : pools_) {
    if (p.family == family) return p.cidr;
  }
  return {};
}

std::string ServiceAllocator::address_at(const Pool& pool, std::uint64_t offset) {
  auto bytes = pool.base;
  for (std::size_t i = width(pool.family); i-- > 0 && offset != 0; offset >>= 8U) {
    const unsigned sum = bytes[i] + static_cast<unsigned>(offset & 0xFFU);
    bytes[i] = static_cast<std::uint8_t>(sum);
    offset += (sum >> 8U) << 8U;  // carry into the next byte
  }
  if (pool.family == IpFamily::v4) {
    return asio::ip::address_v4({bytes[0], bytes[1], bytes[2], bytes[3]}).to_string();
  }
  return asio::ip::address_v6(bytes).to_string();
}

std::optional<std::uint64_t> ServiceAllocator::offset_of(const Pool& pool, std::string_view text) {
  const auto parsed = parse_address(text);
  if (!parsed || parsed->is_v4() != (pool.family == IpFamily::v4)) return std::nullopt;
  const auto bytes = bytes_of(*parsed);
  const std::size_t n = width(pool.family);
  __extension__ typedef unsigned __int128 Wide;
  Wide value = 0;
  Wide base = 0;
  for (std::size_t i = 0; i < n; ++i) {
    value = value << 8U | bytes[i];
    base = base << 8U | pool.base[i];
  }
  if (value < base || value - base >= pool.size) return std::nullopt;
  return static_cast<std::uint64_t>(value - base);
}

Result<std::string> ServiceAllocator::next_ip(IpFamily family) {
  Pool* p = pool(family);
  if (!p) {
    return Error{Code::unavailable, "no service address range of family " +
                                        std::string(name_of(family)) + " is configured"};
  }
  // The first address names the network; IPv4's last one is its broadcast address.
  const std::uint64_t first = 1;
  const std::uint64_t end = family == IpFamily::v4 ? p->size - 1 : p->size;
  const std::uint64_t low = std::clamp(band(p->size, 16, 256, 16), first, end);
  for (const auto& [from, to] : {std::pair(low, end), std::pair(first, low)}) {
    if (from >= to) continue;
    const std::uint64_t start = random_->below(to - from);
    for (std::uint64_t i = 0; i < to - from; ++i) {
      const std::uint64_t offset = from + (start + i) % (to - from);
      if (p->used.insert(offset).second) return address_at(*p, offset);
      if (p->used.size() >= end - first) break;
    }
  }
  return Error{Code::unavailable, "range is full"};
}

Result<void> ServiceAllocator::claim_ip(std::string_view text) {
  const auto family = family_of(text);
  if (!family) return Error{Code::invalid, "must be a valid IP address"};
  Pool* p = pool(*family);
  const auto offset = p ? offset_of(*p, text) : std::nullopt;
  const bool usable = offset && *offset != 0 && (*family == IpFamily::v6 || *offset != p->size - 1);
  if (!usable) {
    return Error{Code::invalid, "the provided IP (" + std::string(text) +
                                    ") is not in the valid range. The range of valid IPs is " +
                                    std::string(cidr(*family))};
  }
  if (!p->used.insert(*offset).second) {
    return Error{Code::already_exists, "provided IP is already allocated"};
  }
  return {};
}

void ServiceAllocator::release_ip(std::string_view text) {
  const auto family = family_of(text);
  Pool* p = family ? pool(*family) : nullptr;
  if (!p) return;
  if (const auto offset = offset_of(*p, text)) p->used.erase(*offset);
}

std::string ServiceAllocator::first_ip() const { return address_at(pools_.front(), 1); }

Result<int> ServiceAllocator::next_port() {
  const int count = port_max_ - port_min_ + 1;
  const int low = static_cast<int>(band(static_cast<std::uint64_t>(count), 16, 128, 32));
  for (const auto& [from, to] : {std::pair(low, count), std::pair(0, low)}) {
    if (from >= to) continue;
    const int start = static_cast<int>(random_->below(static_cast<std::uint64_t>(to - from)));
    for (int i = 0; i < to - from; ++i) {
      const int port = port_min_ + from + (start + i) % (to - from);
      if (ports_.insert(port).second) return port;
    }
  }
  return Error{Code::unavailable, "range is full"};
}

Result<void> ServiceAllocator::claim_port(int port) {
  if (port < port_min_ || port > port_max_) {
    return Error{Code::invalid,
                 "provided port is not in the valid range. The range of valid "
                 "ports is " +
                     std::to_string(port_min_) + "-" + std::to_string(port_max_)};
  }
  if (!ports_.insert(port).second) {
    return Error{Code::already_exists, "provided port is already allocated"};
  }
  return {};
}

void ServiceAllocator::release_port(int port) { ports_.erase(port); }

}  // namespace skiff::registry
