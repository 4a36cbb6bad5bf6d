#include "skiff/linux/netlink.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace skiff::netlink {
namespace {

constexpr std::size_t padded(std::size_t n) { return (n + 3U) & ~std::size_t{3}; }

template <class T>
T big_endian(T v) {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(v);
}

template <class T>
ByteView bytes_of(const T& v) {
  return {reinterpret_cast<const std::uint8_t*>(&v), sizeof v};
}

}  // namespace

void Writer::begin_message(std::uint16_t type, std::uint16_t flags) {
  message_ = out_.size();
  nlmsghdr h{};
  h.nlmsg_type = type;
  h.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
  h.nlmsg_seq = next_sequence_++;
  raw(bytes_of(h));
}

void Writer::end_message() {
  const auto length = static_cast<std::uint32_t>(out_.size() - message_);
  std::memcpy(out_.data() + message_, &length, sizeof length);
}

void Writer::raw(ByteView data) {
  out_.insert(out_.end(), data.begin(), data.end());
  out_.resize(padded(out_.size()));
}

void Writer::attribute(std::uint16_t type, ByteView data) {
  nlattr a{};
  a.nla_len = static_cast<std::uint16_t>(sizeof a + data.size());
  a.nla_type = type;
  SKIFF_ASSERT(sizeof a + data.size() <= 0xffff, "a netlink attribute is at most 64 KiB");
  const auto head = bytes_of(a);
  out_.insert(out_.end(), head.begin(), head.end());
  raw(data);
}

void Writer::attribute(std::uint16_t type, std::string_view text) {
  Bytes data(text.begin(), text.end());
  data.push_back(0);
  attribute(type, ByteView(data));
}

void Writer::u8(std::uint16_t type, std::uint8_t v) { attribute(type, bytes_of(v)); }
void Writer::u16(std::uint16_t type, std::uint16_t v) { attribute(type, bytes_of(v)); }
void Writer::u32(std::uint16_t type, std::uint32_t v) { attribute(type, bytes_of(v)); }
void Writer::be16(std::uint16_t type, std::uint16_t v) { attribute(type, bytes_of(big_endian(v))); }
void Writer::be32(std::uint16_t type, std::uint32_t v) { attribute(type, bytes_of(big_endian(v))); }
void Writer::be64(std::uint16_t type, std::uint64_t v) { attribute(type, bytes_of(big_endian(v))); }

std::size_t Writer::begin_nest(std::uint16_t type, bool flagged) {
  const std::size_t mark = out_.size();
  nlattr a{};
  a.nla_type = flagged ? static_cast<std::uint16_t>(type | NLA_F_NESTED) : type;
  raw(bytes_of(a));
  return mark;
}

void Writer::end_nest(std::size_t mark) {
  const std::size_t length = out_.size() - mark;
  SKIFF_ASSERT(length <= 0xffff, "a nested netlink attribute is at most 64 KiB");
  const auto l = static_cast<std::uint16_t>(length);
  std::memcpy(out_.data() + mark, &l, sizeof l);
}

void for_each_attribute(ByteView attributes,
                        const std::function<void(std::uint16_t, ByteView)>& visit) {
  while (attributes.size() >= sizeof(nlattr)) {
    nlattr a{};
    std::memcpy(&a, attributes.data(), sizeof a);
    if (a.nla_len < sizeof a || a.nla_len > attributes.size()) return;
    visit(a.nla_type & NLA_TYPE_MASK, attributes.subspan(sizeof a, a.nla_len - sizeof a));
    attributes = attributes.subspan(std::min(padded(a.nla_len), attributes.size()));
  }
}

namespace {

// The text of an extended acknowledgement: attributes behind the (possibly capped) request.
std::string extended_text(const nlmsghdr& head, ByteView payload) {
  if ((head.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return "";
  std::size_t skip = sizeof(nlmsgerr);
  if ((head.nlmsg_flags & NLM_F_CAPPED) == 0) {
    nlmsgerr e{};
    std::memcpy(&e, payload.data(), sizeof e);
    if (e.error != 0 && e.msg.nlmsg_len > sizeof(nlmsghdr)) {
      skip += padded(e.msg.nlmsg_len) - sizeof(nlmsghdr);
    }
  }
  if (skip >= payload.size()) return "";
  std::string text;
  for_each_attribute(payload.subspan(skip), [&](std::uint16_t type, ByteView data) {
    if (type == NLMSGERR_ATTR_MSG && !data.empty()) {
      text.assign(data.begin(), data.end() - 1);
    }
  });
  return text;
}

class KernelSocket final : public Socket {
 public:
  explicit KernelSocket(int fd) noexcept : fd_(fd), buffer_(64U << 10U) {}
  KernelSocket(const KernelSocket&) = delete;
  KernelSocket& operator=(const KernelSocket&) = delete;
  ~KernelSocket() override { ::close(fd_); }

  Result<Reply> exchange(ByteView request, Until until) override {
    drain();
    SKIFF_CHECK(send(request));
    nlmsghdr first{};
    SKIFF_ASSERT(request.size() >= sizeof first, "a netlink request has at least a header");
    std::memcpy(&first, request.data(), sizeof first);
    Reply reply;
    bool ended = false;
    while (!ended) {
      const ssize_t n = receive(until == Until::sent ? MSG_DONTWAIT : 0);
      if (n < 0) {
        if (errno == EAGAIN && until == Until::sent) break;
        if (errno == EINTR) continue;
        return errno_error(errno, "reading from netlink");
      }
      ended = parse({buffer_.data(), static_cast<std::size_t>(n)}, first.nlmsg_seq, until, reply);
    }
    return reply;
  }

 private:
  // Late answers of an exchange that failed half-way must not be taken for this one's.
  void drain() {
    while (::recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC) > 0) {
    }
  }

  Result<void> send(ByteView request) {
    // The whole request is one datagram, and the kernel wants it within the send buffer.
    if (request.size() > send_buffer_) {
      const auto wanted = static_cast<int>(request.size() + request.size() / 8 + 4096);
      if (::setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted) != 0) {
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
      }
      send_buffer_ = request.size();
    }
    while (::send(fd_, request.data(), request.size(), 0) < 0) {
      if (errno != EINTR) return errno_error(errno, "writing to netlink");
    }
    return {};
  }

  ssize_t receive(int flags) {
    const ssize_t size = ::recv(fd_, buffer_.data(), 0, MSG_PEEK | MSG_TRUNC | flags);
    if (size < 0) return size;
    if (static_cast<std::size_t>(size) > buffer_.size()) {
      buffer_.resize(static_cast<std::size_t>(size));
    }
    return ::recv(fd_, buffer_.data(), buffer_.size(), flags);
  }

  // True when the conversation is over.
  static bool parse(ByteView data, std::uint32_t first, Until until, Reply& reply) {
    bool ended = false;
    while (data.size() >= sizeof(nlmsghdr)) {
      nlmsghdr h{};
      std::memcpy(&h, data.data(), sizeof h);
      if (h.nlmsg_len < sizeof h || h.nlmsg_len > data.size()) break;
      const ByteView payload = data.subspan(sizeof h, h.nlmsg_len - sizeof h);
      data = data.subspan(std::min(padded(h.nlmsg_len), data.size()));
      if (until != Until::sent && h.nlmsg_seq != first) continue;
      if (h.nlmsg_type == NLMSG_ERROR || h.nlmsg_type == NLMSG_DONE) {
        int number = 0;
        if (payload.size() >= sizeof number) std::memcpy(&number, payload.data(), sizeof number);
        if (number != 0) reply.refusals.push_back({h.nlmsg_seq, -number, extended(h, payload)});
        ended = ended || until != Until::sent;
      } else if (h.nlmsg_type >= NLMSG_MIN_TYPE) {
        reply.messages.push_back(
            {h.nlmsg_type, h.nlmsg_flags, h.nlmsg_seq, Bytes(payload.begin(), payload.end())});
      }
    }
    return ended;
  }

  static std::string extended(const nlmsghdr& h, ByteView payload) {
    return h.nlmsg_type == NLMSG_ERROR && payload.size() >= sizeof(nlmsgerr)
               ? extended_text(h, payload)
               : "";
  }

  int fd_;
  std::size_t send_buffer_ = 32U << 10U;
  Bytes buffer_;
};

}  // namespace

Error refusal_error(const Refusal& refusal, std::string_view what) {
  Error e = errno_error(refusal.number, what);
  switch (refusal.number) {
    case ENODEV:
    case ESRCH:  // a route
      e.code = Code::not_found;
      break;
    case EBUSY:
      e.code = Code::conflict;
      break;
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
    case EAFNOSUPPORT:
      e.code = Code::unavailable;
      break;
    default:
      break;
  }
  if (!refusal.message.empty()) e.message += fmt::format(" ({})", refusal.message);
  return e;
}

Result<std::unique_ptr<Socket>> open_socket(Protocol protocol, const std::string& netns_path) {
  int fd = -1;
  const auto open = [&]() -> Result<void> {
    fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
                  protocol == Protocol::route ? NETLINK_ROUTE : NETLINK_NETFILTER);
    if (fd >= 0) return {};
    Error e = errno_error(errno, protocol == Protocol::route ? "opening a rtnetlink socket"
                                                             : "opening a netfilter socket");
    if (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT) e.code = Code::unavailable;
    return e;
  };
  SKIFF_CHECK(netns_path.empty() ? open() : in_netns(netns_path, open));
  const int on = 1;
  // Both are conveniences: without them errors only lack the kernel's explanation.
  ::setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  const int receive = 1 << 20;
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  auto socket = std::make_unique<KernelSocket>(fd);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return errno_error(errno, "binding a netlink socket");
  }
  return std::unique_ptr<Socket>(std::move(socket));
}

Result<void> in_netns(const std::string& path, const std::function<Result<void>()>& function) {
  const int own = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0) return errno_error(errno, "opening this thread's network namespace");
  const int target = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (target < 0) {
    const Error e = errno_error(errno, "opening network namespace " + path);
    ::close(own);
    return e;
  }
  Result<void> result;
  if (::setns(target, CLONE_NEWNET) != 0) {
    result = errno_error(errno, "entering network namespace " + path);
  } else {
    result = function();
    // A pool thread left in a pod's namespace would do its next work there.
    SKIFF_ASSERT(::setns(own, CLONE_NEWNET) == 0, "could not return to the own network namespace");
  }
  ::close(target);
  ::close(own);
  return result;
}

Result<void> write_sysctl(const std::string& name, std::string_view value) {
  const std::string path = "/proc/sys/" + name;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "reading " + path);
  std::array<char, 256> now{};
  const ssize_t n = ::read(fd, now.data(), now.size());
  ::close(fd);
  std::string_view text(now.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text == value) return {};
  const int out = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (out < 0) return errno_error(errno, "writing " + path);
  const ssize_t written = ::write(out, value.data(), value.size());
  const int number = errno;
  ::close(out);
  if (written != static_cast<ssize_t>(value.size())) return errno_error(number, "writing " + path);
  return {};
}

}  // namespace skiff::netlink
