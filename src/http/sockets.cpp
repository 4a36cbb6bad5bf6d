#include "sockets.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace skiff::http {
namespace {

constexpr int kBacklog = 4096;

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

void set_option(int fd, int level, int name, int value) noexcept {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

// Small messages leave at once; a peer that vanished without a word is noticed within two minutes.
void tune(int fd) noexcept {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

bool parse_address(const std::string& text, std::uint16_t port, SocketAddress& out,
                   socklen_t& size) {
  out = SocketAddress{};
  if (::inet_pton(AF_INET, text.c_str(), &out.v4.sin_addr) == 1) {
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(port);
    size = sizeof out.v4;
    return true;
  }
  if (::inet_pton(AF_INET6, text.c_str(), &out.v6.sin6_addr) == 1) {
    out.v6.sin6_family = AF_INET6;
    out.v6.sin6_port = htons(port);
    size = sizeof out.v6;
    return true;
  }
  return false;
}

// IPv4 clients of an IPv6 socket keep their IPv4 address.
std::pair<std::string, std::uint16_t> text_of(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.any.sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text);
    return {text, ntohs(address.v4.sin_port)};
  }
  if (address.any.sa_family != AF_INET6) return {"", 0};
  const in6_addr& a = address.v6.sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&a)) {
    ::inet_ntop(AF_INET, a.s6_addr + 12, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, &a, text, sizeof text);
  }
  return {text, ntohs(address.v6.sin6_port)};
}

Error listen_error(int number, const std::string& address, std::uint16_t port,
                   const std::string& port_flag) {
  const std::string where = address + ":" + std::to_string(port);
  switch (number) {
    case EADDRINUSE:
      return {Code::unavailable, "address already in use: " + where +
                                     ": another program listens there; stop it or choose another "
                                     "port with " +
                                     port_flag};
    case EACCES:
      return {Code::forbidden, "not allowed to listen on " + where +
                                   ": ports below 1024 belong to root; choose another with " +
                                   port_flag};
    case EADDRNOTAVAIL:
      return {Code::bad_request,
              "cannot listen on " + where + ": this machine does not have the address " + address};
    case EAFNOSUPPORT:
      return {Code::bad_request, "cannot listen on " + where + ": this machine has no IPv6"};
    default:
      return errno_error(number, "cannot listen on " + where);
  }
}

}  // namespace

Result<Listener> listen_on(const std::string& address, std::uint16_t port,
                           const std::string& port_flag) {
  SocketAddress where;
  socklen_t size = 0;
  if (!parse_address(address, port, where, size)) {
    return Error{Code::bad_request, "\"" + address + "\" is no IP address to listen on"};
  }
  const int family = where.any.sa_family;
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return listen_error(errno, address, port, port_flag);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (::bind(fd, &where.any, size) != 0 || ::listen(fd, kBacklog) != 0) {
    const int number = errno;
    ::close(fd);
    return listen_error(number, address, port, port_flag);
  }
  ::getsockname(fd, &where.any, &size);
  return Listener{fd, text_of(where).second};
}

int accept_one(int listener) noexcept {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) tune(fd);
  return fd;
}

ConnectionInfo addresses_of(int fd) {
  ConnectionInfo info;
  SocketAddress address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, &address.any, &size) == 0) {
    std::tie(info.peer_address, info.peer_port) = text_of(address);
  }
  size = sizeof address;
  if (::getsockname(fd, &address.any, &size) == 0) {
    std::tie(info.local_address, info.local_port) = text_of(address);
  }
  return info;
}

bool is_numeric(const std::string& host) {
  SocketAddress address;
  socklen_t size = 0;
  return parse_address(host, 0, address, size);
}

Result<std::vector<Endpoint>> resolve(const std::string& host, std::uint16_t port) {
  const auto endpoint = [&](const void* bytes, std::size_t size) {
    SocketAddress address{};
    std::memcpy(&address, bytes, std::min(size, sizeof address));
    const auto* first = static_cast<const std::uint8_t*>(bytes);
    return Endpoint{{first, first + size}, text_of(address).first + ":" + std::to_string(port)};
  };
  std::vector<Endpoint> endpoints;
  SocketAddress numeric;
  socklen_t size = 0;
  if (parse_address(host, port, numeric, size)) {
    endpoints.push_back(endpoint(&numeric, size));
    return endpoints;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int rc = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (rc != 0) {
    return Error{Code::unavailable,
                 "cannot find the address of \"" + host + "\": " + ::gai_strerror(rc)};
  }
  for (const addrinfo* i = found; i != nullptr; i = i->ai_next) {
    endpoints.push_back(endpoint(i->ai_addr, i->ai_addrlen));
  }
  ::freeaddrinfo(found);
  return endpoints;
}

Result<int> start_connect(const Endpoint& endpoint) {
  SocketAddress address{};
  std::memcpy(&address, endpoint.bytes.data(), std::min(endpoint.bytes.size(), sizeof address));
  const int fd =
      ::socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return errno_error(errno, "cannot open a socket");
  tune(fd);
  const auto size = static_cast<socklen_t>(endpoint.bytes.size());
  if (::connect(fd, &address.any, size) == 0 || errno == EINPROGRESS) return fd;
  const int number = errno;
  ::close(fd);
  return Error{Code::unavailable,
               errno_error(number, "cannot connect to " + endpoint.text).message};
}

int connect_error(int fd) noexcept {
  int number = 0;
  socklen_t size = sizeof number;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 ? number : errno;
}

bool is_stale(int fd) noexcept {
  char byte = 0;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
         (errno != EAGAIN && errno != EWOULDBLOCK);
}

}  // namespace skiff::http
