#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "shim.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::runtime::shim {
namespace {

// How long nothing must have happened before the program's pages are given back: starting a
// container reads code all over a large program, and waiting needs little of it.
constexpr int quiet_milliseconds = 500;

std::int64_t read_clock(clockid_t id) noexcept {
  timespec t{};
  ::clock_gettime(id, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

}  // namespace

std::int64_t wall_nanoseconds() noexcept { return read_clock(CLOCK_REALTIME); }
std::int64_t monotonic_nanoseconds() noexcept { return read_clock(CLOCK_MONOTONIC); }

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

void Loop::watch(int fd, Watcher& watcher, bool writable) {
  epoll_event event{};
  event.events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.ptr = &watcher;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void Loop::change(int fd, Watcher& watcher, bool writable) {
  epoll_event event{};
  event.events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.ptr = &watcher;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Loop::forget(int fd) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Loop::turn(std::int64_t deadline) {
  int timeout = bulky_ ? quiet_milliseconds : -1;
  if (deadline > 0) {
    std::int64_t wait = deadline - monotonic_nanoseconds();
    int until = wait <= 0 ? 0 : static_cast<int>(wait / 1'000'000 + 1);
    if (timeout < 0 || until < timeout) timeout = until;
  }
  // One at a time: a handler may destroy other watchers.
  epoll_event event{};
  const int events = ::epoll_wait(epoll_.get(), &event, 1, timeout);
  if (events == 1) {
    static_cast<Watcher*>(event.data.ptr)->ready();
  } else if (events == 0 && bulky_ && timeout == quiet_milliseconds) {
    bulky_ = false;
    sys::forget_program_pages();
  }
}

void Client::ready() {
  if (waiting_) flush();
  if (!dead_) receive();
}

void Client::receive() {
  static char buffer[16384];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * protocol::max_descriptors)];
  iovec part{buffer, sizeof buffer};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    dead_ = true;
    return;
  }
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      received_.emplace_back(fd);
    }
  }
  if (received_.size() > 2 * protocol::max_descriptors) {
    dead_ = true;
    return;
  }
  input_.append(buffer, static_cast<std::size_t>(n));
  handle_input();
}

void Client::handle_input() {
  std::size_t at = 0;
  protocol::Message m;
  std::size_t used = 0;
  while (!dead_) {
    auto outcome = protocol::parse(std::string_view(input_).substr(at), m, used);
    if (outcome == protocol::Parse::more) break;
    if (outcome == protocol::Parse::damaged || m.descriptors > received_.size()) {
      dead_ = true;
      return;
    }
    std::vector<Fd> descriptors;
    for (int i = 0; i < m.descriptors; ++i) {
      descriptors.push_back(std::move(received_.front()));
      received_.pop_front();
    }
    shim_.handle(*this, m, std::move(descriptors));
    at += used;
  }
  if (at == input_.size()) {
    std::string().swap(input_);  // launch plans are large and rare: give the memory back
  } else {
    input_.erase(0, at);
  }
}

void Client::send(std::string frame, std::vector<Fd> descriptors) {
  queued_ += frame.size();
  if (queued_ > max_queued) {
    dead_ = true;
    return;
  }
  Outgoing out;
  out.bytes = std::move(frame);
  out.descriptors = std::move(descriptors);
  output_.push_back(std::move(out));
  flush();
}

void Client::flush() {
  while (!output_.empty() && !dead_) {
    Outgoing& out = output_.front();
    iovec part{out.bytes.data() + out.sent, out.bytes.size() - out.sent};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * protocol::max_descriptors)] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!out.descriptors.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * out.descriptors.size());
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * out.descriptors.size());
      for (std::size_t i = 0; i < out.descriptors.size(); ++i) {
        int fd = out.descriptors[i].get();
        std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
      }
    }
    ssize_t n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      dead_ = true;
      return;
    }
    out.descriptors.clear();
    out.sent += static_cast<std::size_t>(n);
    if (out.sent < out.bytes.size()) continue;
    queued_ -= out.bytes.size();
    output_.pop_front();
  }
  bool wait = !output_.empty();
  if (wait != waiting_) {
    waiting_ = wait;
    shim_.loop().change(fd_.get(), *this, wait);
  }
}

void Client::fail(std::uint64_t request, std::string_view message, int exit_code) {
  protocol::Frame frame(protocol::Type::failed, request);
  frame.put(protocol::Tag::message, message);
  frame.put(protocol::Tag::exit_code, static_cast<std::uint64_t>(exit_code));
  send(frame.finish());
}

}  // namespace skiff::runtime::shim
