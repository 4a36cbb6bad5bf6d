#include "network_lab.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>

#include "skiff/linux/netlink.hpp"
#include "skiff/linux/nftables.hpp"

namespace skiff::lab {
namespace {

sockaddr_in address_of(const std::string& address, std::uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &a.sin_addr);
  return a;
}

std::string text_of(const sockaddr_in& a) {
  std::array<char, INET_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET, &a.sin_addr, text.data(), text.size());
  return text.data();
}

bool wait_for(int fd, short what, int milliseconds) {
  pollfd p{fd, what, 0};
  return ::poll(&p, 1, milliseconds) == 1;
}

Answer parse(std::string_view text) {
  const auto space = text.find(' ');
  if (space == std::string_view::npos) return {"", "", EPROTO};
  return {std::string(text.substr(0, space)), std::string(text.substr(space + 1)), 0};
}

int current_namespace() { return ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

}  // namespace

std::string missing() {
  if (::geteuid() != 0) return "needs root";
  auto socket = netlink::open_socket(netlink::Protocol::netfilter);
  if (!socket) return socket.error().message;
  int able = 0;
  std::thread([&] { able = ::unshare(CLONE_NEWNET) == 0 ? 0 : errno; }).join();
  return able == 0 ? "" : "can not make network namespaces";
}

Namespace Namespace::enter_fresh() {
  REQUIRE(::unshare(CLONE_NEWNET) == 0);
  auto route = netlink::Route::open();
  REQUIRE(route.has_value());
  netlink::LinkChange up;
  up.up = true;
  REQUIRE(route->change_link(1, up).has_value());
  const auto usable = [] {
    auto socket = netlink::open_socket(netlink::Protocol::netfilter);
    return socket ? nft::probe(**socket) : Result<void>(socket.error());
  }();
  if (!usable) SKIP(usable.error().message);
  return Namespace(current_namespace());
}

Namespace Namespace::make() {
  int fd = -1;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0) fd = current_namespace();
  }).join();
  REQUIRE(fd >= 0);
  return Namespace(fd);
}

Namespace::~Namespace() {
  if (fd_ >= 0) ::close(fd_);
}

std::string Namespace::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

void Namespace::run(const std::function<void()>& function) const {
  std::thread([&] {
    if (::setns(fd_, CLONE_NEWNET) == 0) function();
  }).join();
}

Server::Server(const Namespace& where, std::string name, std::uint16_t port)
    : name_(std::move(name)) {
  where.run([&] {
    tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    udp_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  });
  const auto any = address_of("0.0.0.0", port);
  REQUIRE(::bind(tcp_, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);
  REQUIRE(::bind(udp_, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);
  REQUIRE(::listen(tcp_, 128) == 0);
  thread_ = std::thread([this] { serve(); });
}

Server::~Server() {
  stopped_ = true;
  thread_.join();
  ::close(tcp_);
  ::close(udp_);
}

void Server::serve() {
  while (!stopped_) {
    pollfd fds[2] = {{tcp_, POLLIN, 0}, {udp_, POLLIN, 0}};
    if (::poll(fds, 2, 20) <= 0) continue;
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if ((fds[0].revents & POLLIN) != 0) {
      const int fd = ::accept4(tcp_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const std::string text = name_ + " " + text_of(peer);
      (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      ::close(fd);
    }
    if ((fds[1].revents & POLLIN) != 0) {
      char byte = 0;
      if (::recvfrom(udp_, &byte, 1, 0, reinterpret_cast<sockaddr*>(&peer), &size) < 0) continue;
      const std::string text = name_ + " " + text_of(peer);
      (void)::sendto(udp_, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
    }
  }
}

Answer ask(const Namespace& from, const std::string& address, std::uint16_t port,
           int milliseconds) {
  int fd = -1;
  from.run([&] { fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
  const auto to = address_of(address, port);
  Answer answer;
  answer.number = ETIMEDOUT;
  std::string text;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 &&
      errno != EINPROGRESS) {
    answer.number = errno;
  } else if (wait_for(fd, POLLOUT, milliseconds)) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    answer.number = error;
    std::array<char, 256> buffer{};
    while (answer.number == 0) {
      if (!wait_for(fd, POLLIN, milliseconds)) {
        answer.number = ETIMEDOUT;
        break;
      }
      const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (n < 0) answer.number = errno;
      if (n <= 0) break;
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    if (answer.number == 0) answer = parse(text);
  }
  ::close(fd);
  return answer;
}

UdpClient::UdpClient(const Namespace& from) {
  from.run([&] { fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
}
UdpClient::~UdpClient() { ::close(fd_); }

Answer UdpClient::ask(const std::string& address, std::uint16_t port, int milliseconds) {
  const auto to = address_of(address, port);
  if (::sendto(fd_, "?", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0) {
    return {"", "", errno};
  }
  if (!wait_for(fd_, POLLIN, milliseconds)) return {"", "", ETIMEDOUT};
  std::array<char, 256> buffer{};
  const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
  if (n < 0) return {"", "", errno};
  return parse({buffer.data(), static_cast<std::size_t>(n)});
}

std::map<std::string, int> spread(const Namespace& from, const std::string& address,
                                  std::uint16_t port, int times) {
  std::map<std::string, int> count;
  for (int i = 0; i < times; ++i) {
    const auto answer = ask(from, address, port);
    ++count[answer.number == 0 ? answer.name : fmt::format("error {}", answer.number)];
  }
  return count;
}

void World::run(Task<void> task) {
  auto wrap = [](Task<void> t) -> Task<bool> {
    co_await std::move(t);
    co_return true;
  };
  run(wrap(std::move(task)));
}

}  // namespace skiff::lab
