#include "server_address.hpp"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace skiff::app {
namespace {

using netlink::IpAddress;

std::string address_of_default_route() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  sockaddr_in far{};
  far.sin_family = AF_INET;
  far.sin_port = htons(9);
  far.sin_addr.s_addr = htonl(0xC0000201);  // 192.0.2.1, RFC 5737
  sockaddr_in here{};
  socklen_t size = sizeof here;
  std::string out;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&far), sizeof far) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &size) == 0) {
    out = IpAddress::v4(ntohl(here.sin_addr.s_addr)).to_string();
  }
  ::close(fd);
  return out;
}

std::string any_address(const std::string& but_not_on) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return "";
  std::string out;
  for (const ifaddrs* a = list; a != nullptr && out.empty(); a = a->ifa_next) {
    if (a->ifa_addr == nullptr || a->ifa_addr->sa_family != AF_INET) continue;
    if ((a->ifa_flags & IFF_LOOPBACK) != 0 || but_not_on == a->ifa_name) continue;
    const auto* in = reinterpret_cast<const sockaddr_in*>(a->ifa_addr);
    out = IpAddress::v4(ntohl(in->sin_addr.s_addr)).to_string();
  }
  ::freeifaddrs(list);
  return out;
}

}  // namespace

std::string nth_address(const netlink::Prefix& range, std::uint32_t n) {
  return IpAddress::v4(range.address.v4_value() + n).to_string();
}

std::string own_address(const std::string& but_not_on) {
  const std::string routed = address_of_default_route();
  return routed.empty() ? any_address(but_not_on) : routed;
}

}  // namespace skiff::app
