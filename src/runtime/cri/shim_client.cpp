#include "shim_client.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

namespace skiff::runtime {
namespace {

using protocol::Message;
using protocol::Tag;
using protocol::Type;

constexpr std::size_t max_queued = 16U << 20U;

}  // namespace

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void OwnedFd::reset() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

ShimClient::ShimClient(Executor executor)
    : executor_(executor), socket_(executor), writer_(executor) {}

ShimClient::~ShimClient() = default;

Result<void> ShimClient::connect(const std::string& directory) {
  // By way of a descriptor: the address of a socket is short, a state directory may not be.
  OwnedFd dir(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return errno_error(errno, "opening " + directory);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = "/proc/self/fd/" + std::to_string(dir.get()) + "/shim.sock";
  std::memcpy(address.sun_path, path.data(), path.size());
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    int error = errno;
    Error e = errno_error(error, "connecting to " + directory + "/shim.sock");
    if (error == ECONNREFUSED) e.code = Code::unavailable;
    return e;
  }
  boost::system::error_code ec;
  socket_.assign(asio::local::stream_protocol(), fd.get(), ec);
  if (ec) return Error{Code::internal, "using the shim's socket: " + ec.message()};
  (void)fd.release();
  connected_ = true;
  return {};
}

void ShimClient::post(std::string frame, std::vector<OwnedFd> descriptors) {
  if (!connected_) return;
  queued_ += frame.size();
  if (queued_ > max_queued) return lose();  // a shim that does not read is as good as gone
  Outgoing out;
  out.bytes = std::move(frame);
  out.descriptors = std::move(descriptors);
  output_.push_back(std::move(out));
  if (writer_.size() == 0 && !flush() && connected_) {
    writer_.spawn("shim writer", write_rest(shared_from_this()));
  }
}

Task<void> ShimClient::write_rest(std::shared_ptr<ShimClient> self) {
  while (self->connected_ && !self->flush() && self->connected_) {
    boost::system::error_code ec;
    co_await self->socket_.async_wait(asio::socket_base::wait_write,
                                      asio::redirect_error(asio::use_awaitable, ec));
  }
}

bool ShimClient::flush() {
  while (!output_.empty()) {
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
    ssize_t n = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return false;
    if (n < 0) {
      lose();
      return true;
    }
    out.descriptors.clear();
    out.sent += static_cast<std::size_t>(n);
    if (out.sent < out.bytes.size()) continue;
    queued_ -= out.bytes.size();
    output_.pop_front();
  }
  return true;
}

Task<Result<ShimClient::AnswerPtr>> ShimClient::call(std::uint64_t request, std::string frame,
                                                     std::vector<OwnedFd> descriptors) {
  auto self = shared_from_this();
  auto pending = std::make_shared<Pending>(executor_);
  if (!connected_) co_return Error{Code::unavailable, "the pod's shim is gone"};
  // Also when the caller is cancelled.
  struct Forget {
    ShimClient& client;
    std::uint64_t request;
    ~Forget() { client.pending_.erase(request); }
  } forget{*this, request};
  pending_[request] = pending;
  post(std::move(frame), std::move(descriptors));
  while (!pending->answer && !pending->lost) co_await pending->done.wait();
  if (!pending->answer) co_return Error{Code::unavailable, "the pod's shim is gone"};
  if (pending->answer->message.type == Type::failed) {
    co_return Error{Code::internal, std::string(pending->answer->message.text(Tag::message))};
  }
  pending->answer->entries = std::move(pending->entries);
  co_return pending->answer;
}

std::shared_ptr<ShimClient::ExecEnd> ShimClient::expect_exec(const std::string& id) {
  return execs_[id] = std::make_shared<ExecEnd>(executor_);
}

Task<void> ShimClient::run(std::shared_ptr<ShimClient> self,
                           std::function<void(const Message&)> on_exit,
                           std::function<void()> on_lost) {
  while (self->connected_) {
    boost::system::error_code ec;
    co_await self->socket_.async_wait(asio::socket_base::wait_read,
                                      asio::redirect_error(asio::use_awaitable, ec));
    if (ec || !self->connected_) break;
    if (!self->receive(on_exit)) break;
  }
  self->lose();
  co_await self->writer_.join();
  on_lost();
}

bool ShimClient::receive(const std::function<void(const Message&)>& on_exit) {
  char buffer[16384];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * protocol::max_descriptors)];
  iovec part{buffer, sizeof buffer};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = ::recvmsg(socket_.native_handle(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      received_.emplace_back(fd);
    }
  }
  input_.append(buffer, static_cast<std::size_t>(n));
  std::size_t at = 0;
  Message m;
  std::size_t used = 0;
  while (true) {
    auto rest = std::string_view(input_).substr(at);
    auto outcome = protocol::parse(rest, m, used);
    if (outcome == protocol::Parse::more) break;
    if (outcome == protocol::Parse::damaged || m.descriptors > received_.size()) return false;
    std::vector<OwnedFd> descriptors;
    for (int i = 0; i < m.descriptors; ++i) {
      descriptors.push_back(std::move(received_.front()));
      received_.pop_front();
    }
    dispatch(rest.substr(0, used), m, std::move(descriptors), on_exit);
    at += used;
  }
  if (at == input_.size()) {
    std::string().swap(input_);
  } else {
    input_.erase(0, at);
  }
  return true;
}

void ShimClient::dispatch(std::string_view bytes, const Message& m,
                          std::vector<OwnedFd> descriptors,
                          const std::function<void(const Message&)>& on_exit) {
  if (m.type == Type::exited) {
    if (!m.has(Tag::exec)) return on_exit(m);
    auto it = execs_.find(std::string(m.text(Tag::exec)));
    if (it == execs_.end()) return;
    it->second->ended = true;
    it->second->exit_code = static_cast<int>(m.number(Tag::exit_code));
    it->second->changed.notify_all();
    execs_.erase(it);
    return;
  }
  auto it = pending_.find(m.request);
  if (it == pending_.end()) return;
  auto answer = std::make_shared<Answer>();
  answer->bytes = bytes;
  std::size_t used = 0;
  protocol::parse(answer->bytes, answer->message, used);
  answer->descriptors = std::move(descriptors);
  if (m.type == Type::entry) {
    it->second->entries.push_back(std::move(answer));
    return;
  }
  it->second->answer = std::move(answer);
  it->second->done.notify_all();
}

void ShimClient::lose() {
  if (!connected_) return;
  connected_ = false;
  boost::system::error_code ignored;
  socket_.close(ignored);
  for (auto& [request, pending] : pending_) {
    pending->lost = true;
    pending->done.notify_all();
  }
  for (auto& [id, end] : execs_) {
    end->lost = true;
    end->changed.notify_all();
  }
  execs_.clear();
  output_.clear();
}

void ShimClient::close() { lose(); }

}  // namespace skiff::runtime
