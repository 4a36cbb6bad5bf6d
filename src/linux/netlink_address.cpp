#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "skiff/linux/netlink.hpp"

namespace skiff::netlink {

Result<IpAddress> IpAddress::parse(std::string_view text) {
  IpAddress a;
  const std::string s(text);
  a.v6 = s.find(':') != std::string::npos;
  if (inet_pton(a.v6 ? AF_INET6 : AF_INET, s.c_str(), a.bytes.data()) != 1) {
    return Error{Code::invalid, fmt::format("\"{}\" is not an IP address", text)};
  }
  return a;
}

IpAddress IpAddress::v4(std::uint32_t host_order) noexcept {
  IpAddress a;
  for (std::size_t i = 0; i < 4; ++i) {
    a.bytes[i] = static_cast<std::uint8_t>(host_order >> (24 - 8 * i));
  }
  return a;
}

std::uint32_t IpAddress::v4_value() const noexcept {
  return static_cast<std::uint32_t>(bytes[0]) << 24U | static_cast<std::uint32_t>(bytes[1]) << 16U |
         static_cast<std::uint32_t>(bytes[2]) << 8U | bytes[3];
}

bool IpAddress::loopback() const noexcept {
  if (!v6) return bytes[0] == 127;
  return bytes[15] == 1 && std::all_of(bytes.begin(), bytes.end() - 1, [](auto b) { return !b; });
}

bool IpAddress::unspecified() const noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](auto b) { return b == 0; });
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text.data(), text.size());
  return text.data();
}

Result<Prefix> Prefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  const Error bad{Code::invalid, fmt::format("\"{}\" is not a CIDR such as 10.42.0.0/24", text)};
  if (slash == std::string_view::npos) return bad;
  auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return bad;
  unsigned length = 0;
  const auto digits = text.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), length);
  if (error != std::errc{} || end != digits.end() || length > address->view().size() * 8) {
    return bad;
  }
  return Prefix{*address, static_cast<std::uint8_t>(length)};
}

Bytes Prefix::mask() const {
  Bytes mask(address.view().size());
  for (std::size_t i = 0; i < mask.size(); ++i) {
    const int bits = std::clamp(static_cast<int>(length) - static_cast<int>(i) * 8, 0, 8);
    mask[i] = static_cast<std::uint8_t>(0xff00U >> static_cast<unsigned>(bits));
  }
  return mask;
}

bool Prefix::contains(const IpAddress& a) const noexcept {
  if (a.v6 != address.v6) return false;
  for (unsigned bit = 0; bit < length; bit += 8) {
    const unsigned take = std::min<unsigned>(8, length - bit);
    const auto mask = static_cast<std::uint8_t>(0xff00U >> take);
    if (((a.bytes[bit / 8] ^ address.bytes[bit / 8]) & mask) != 0) return false;
  }
  return true;
}

std::string Prefix::to_string() const { return fmt::format("{}/{}", address.to_string(), length); }

}  // namespace skiff::netlink
