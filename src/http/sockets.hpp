// TCP sockets: listening, accepting, connecting. All of them non-blocking and closed on exec, so
// that no container inherits one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/http/message.hpp"

namespace skiff::http {

struct Listener {
  int fd = -1;
  std::uint16_t port = 0;
};
// `port_flag` is named in the message when the port is taken.
Result<Listener> listen_on(const std::string& address, std::uint16_t port,
                           const std::string& port_flag);

// The next waiting connection; -1 and errno when there is none or on trouble.
int accept_one(int listener) noexcept;

ConnectionInfo addresses_of(int fd);

// A numeric address and port, ready for connect(2).
struct Endpoint {
  std::vector<std::uint8_t> bytes;  // struct sockaddr_in or sockaddr_in6
  std::string text;
};
// Numeric hosts at once, names by getaddrinfo: blocks then, belongs in env.blocking.
bool is_numeric(const std::string& host);
Result<std::vector<Endpoint>> resolve(const std::string& host, std::uint16_t port);

// Starts to connect: the socket, which becomes writable when it is done; see connect_error.
Result<int> start_connect(const Endpoint& endpoint);
int connect_error(int fd) noexcept;

// A kept connection that the peer has closed, or has sent something unasked on, is of no use.
bool is_stale(int fd) noexcept;

}  // namespace skiff::http
