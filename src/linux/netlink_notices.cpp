// rtnetlink's multicast groups: what somebody else did to addresses and routes.
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "skiff/linux/netlink.hpp"

namespace skiff::netlink {

struct RouteNotices::State {
  asio::posix::stream_descriptor socket;
};

RouteNotices::RouteNotices(std::unique_ptr<State> state) : state_(std::move(state)) {}
RouteNotices::~RouteNotices() = default;

Result<std::unique_ptr<RouteNotices>> RouteNotices::open(Executor executor) {
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) return errno_error(errno, "opening a netlink socket");
  sockaddr_nl here{};
  here.nl_family = AF_NETLINK;
  here.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) {
    const Error error = errno_error(errno, "listening for changes of routes");
    ::close(fd);
    return error;
  }
  auto state = std::make_unique<State>(State{asio::posix::stream_descriptor(executor, fd)});
  return std::unique_ptr<RouteNotices>(new RouteNotices(std::move(state)));
}

Task<void> RouteNotices::next() {
  auto& socket = state_->socket;
  co_await socket.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
  // What changed is looked up by whoever wants to know; that more came than the socket could hold
  // (ENOBUFS) is a change like any other.
  char byte = 0;
  while (::recv(socket.native_handle(), &byte, 1, MSG_DONTWAIT | MSG_TRUNC) > 0) {
  }
}

}  // namespace skiff::netlink
