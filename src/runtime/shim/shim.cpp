#include "shim.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "skiff/linux/system.hpp"

namespace skiff::runtime::shim {
namespace {

using protocol::Frame;
using protocol::Message;
using protocol::State;
using protocol::Tag;
using protocol::Type;

constexpr std::int64_t millisecond = 1'000'000;
constexpr std::int64_t abandoned_after = 60'000 * millisecond;
constexpr std::size_t max_clients = 16;

}  // namespace

Shim::Shim(Fd listener, Fd signals, pid_t pause, std::string directory) noexcept
    : listener_(std::move(listener)),
      signals_(std::move(signals)),
      pause_(pause),
      directory_(std::move(directory)),
      on_connect_(*this),
      on_signal_(*this),
      abandoned_at_(monotonic_nanoseconds() + abandoned_after) {
  loop_.watch(listener_.get(), on_connect_);
  loop_.watch(signals_.get(), on_signal_);
}

void Shim::run() {
  while (true) {
    loop_.turn(next_deadline());
    check_deadlines();
    drop_clients();
    if (shutting_down_ && finished_shutdown()) return;
  }
}

void Shim::accept() {
  Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd || clients_.size() >= max_clients) return;
  abandoned_at_ = 0;
  Client& client = clients_.emplace_back(*this, std::move(fd));
  loop_.watch(client.fd(), client);
}

void Shim::drop_clients() {
  for (auto it = clients_.begin(); it != clients_.end();) {
    if (!it->dead()) {
      ++it;
      continue;
    }
    Client* gone = &*it;
    for (auto& c : containers_) {
      if (c.starter == gone) c.starter = nullptr;
    }
    for (auto& e : execs_) {
      if (e.client != gone) continue;
      e.client = nullptr;
      if (e.pid > 0) ::kill(e.pid, SIGKILL);  // nobody is there for its result
    }
    if (shutdown_client_ == gone) shutdown_client_ = nullptr;
    loop_.forget(gone->fd());
    it = clients_.erase(it);
  }
}

void Shim::handle(Client& client, const Message& m, std::vector<Fd> descriptors) {
  switch (m.type) {
    case Type::hello: {
      Frame frame(Type::ok, m.request);
      frame.put(Tag::version, protocol::version);
      frame.put(Tag::pid, static_cast<std::uint64_t>(::getpid()));
      frame.put(Tag::pause_pid, static_cast<std::uint64_t>(pause_));
      return client.send(frame.finish());
    }
    case Type::start:
      return start(client, m);
    case Type::exec:
      return exec(client, m, std::move(descriptors));
    case Type::signal:
      return signal(client, m);
    case Type::stop:
      return stop(client, m);
    case Type::list:
      return list(client, m);
    case Type::remove:
      return remove(client, m);
    case Type::reopen:
      return reopen(client, m);
    case Type::attach:
      return attach(client, m, std::move(descriptors));
    case Type::dial:
      return dial(client, m);
    case Type::shutdown:
      return shut_down(client, m);
    default:
      return client.fail(m.request, "this shim is older than the request");
  }
}

void Shim::reap() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) > 0) {
  }
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == pause_) {
      // With the namespace's first process every container in it was killed.
      pause_ = 0;
      continue;
    }
    auto c = std::find_if(containers_.begin(), containers_.end(),
                          [pid](const Container& other) { return other.pid == pid; });
    if (c != containers_.end()) {
      ended(*c, status);
      continue;
    }
    auto e = std::find_if(execs_.begin(), execs_.end(),
                          [pid](const Exec& other) { return other.pid == pid; });
    if (e != execs_.end()) ended(*e, status);
  }
}

void Shim::signal(Client& client, const Message& m) {
  pid_t pid = 0;
  if (m.has(Tag::exec)) {
    Exec* e = find_exec(m.text(Tag::exec));
    pid = e ? e->pid : 0;
  } else {
    Container* c = find(m.text(Tag::container));
    pid = c && c->state != State::exited ? c->pid : 0;
  }
  if (pid > 0) ::kill(pid, static_cast<int>(m.number(Tag::signal)));
  client.ok(m.request);
}

void Shim::stop(Client& client, const Message& m) {
  Container* c = find(m.text(Tag::container));
  if (!c || c->state == State::exited || c->pid <= 0) return client.ok(m.request);
  auto grace = static_cast<std::int64_t>(m.number(Tag::grace_ms)) * millisecond;
  std::int64_t at = monotonic_nanoseconds() + grace;
  // The signal once; the deadline can only come nearer.
  if (c->kill_at == 0 && grace > 0) ::kill(c->pid, static_cast<int>(m.number(Tag::signal)));
  if (c->kill_at == 0 || at < c->kill_at) c->kill_at = at;
  client.ok(m.request);
}

void Shim::list(Client& client, const Message& m) {
  for (const auto& c : containers_) {
    Frame frame(Type::entry, m.request);
    frame.put(Tag::container, c.id);
    frame.put(Tag::state, static_cast<std::uint64_t>(c.state));
    frame.put(Tag::pid, static_cast<std::uint64_t>(c.pid));
    frame.put(Tag::started_at, static_cast<std::uint64_t>(c.started_at));
    frame.put(Tag::finished_at, static_cast<std::uint64_t>(c.finished_at));
    frame.put(Tag::exit_code, static_cast<std::uint64_t>(c.exit_code));
    frame.put(Tag::signal, static_cast<std::uint64_t>(c.signal));
    frame.put(Tag::oom, static_cast<std::uint64_t>(c.oom ? 1 : 0));
    frame.put(Tag::message, c.message);
    client.send(frame.finish());
  }
  client.ok(m.request);
}

void Shim::remove(Client& client, const Message& m) {
  Container* c = find(m.text(Tag::container));
  if (c && (c->state != State::exited || c->pid > 0)) {
    return client.fail(m.request, "the container still runs");
  }
  if (c) std::erase_if(containers_, [c](const Container& other) { return &other == c; });
  client.ok(m.request);
}

void Shim::reopen(Client& client, const Message& m) {
  Container* c = find(m.text(Tag::container));
  if (!c || !c->log) return client.fail(m.request, "the container is not running");
  int r = c->log->reopen();
  if (r < 0) return client.fail(m.request, std::string("opening the log: ") + sys::error_text(r));
  client.ok(m.request);
}

void Shim::attach(Client& client, const Message& m, std::vector<Fd> descriptors) {
  Container* c = find(m.text(Tag::container));
  if (!c || c->state != State::running) {
    return client.fail(m.request, "the container is not running");
  }
  Output* streams[] = {c->out.get(), c->err.get()};
  for (std::size_t i = 0; i < descriptors.size() && i < 2; ++i) {
    ::fcntl(descriptors[i].get(), F_SETFL, O_NONBLOCK);
    ::fcntl(descriptors[i].get(), F_SETPIPE_SZ, 1 << 20);
    if (streams[i]) streams[i]->sinks.push_back(std::move(descriptors[i]));
  }
  std::vector<Fd> answer;
  int input = c->terminal ? c->terminal.get() : c->input.get();
  if (input >= 0) answer.emplace_back(::fcntl(input, F_DUPFD_CLOEXEC, 3));
  if (c->flags & protocol::flag_stdin_once) c->input.reset();
  Frame frame(Type::ok, m.request, static_cast<std::uint16_t>(answer.size()));
  client.send(frame.finish(), std::move(answer));
}

// The socket is made here because here is the pod's network; who asked waits for the connection.
void Shim::dial(Client& client, const Message& m) {
  const bool v6 = m.number(Tag::flags) == 6;
  std::vector<Fd> answer;
  answer.emplace_back(
      ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  auto port = htons(static_cast<std::uint16_t>(m.number(Tag::port)));
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = port;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = port;
  six.sin6_addr = in6addr_loopback;
  auto* address = v6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
  int fd = answer.front().get();
  if (fd < 0 ||
      (::connect(fd, address, v6 ? sizeof six : sizeof four) < 0 && errno != EINPROGRESS)) {
    return client.fail(m.request, sys::error_text(errno));
  }
  client.send(Frame(Type::ok, m.request, 1).finish(), std::move(answer));
}

void Shim::shut_down(Client& client, const Message& m) {
  shutting_down_ = true;
  shutdown_client_ = &client;
  shutdown_request_ = m.request;
  kill_everything();
}

void Shim::kill_everything() {
  for (auto& e : execs_) {
    if (e.pid > 0) ::kill(e.pid, SIGKILL);
  }
  for (auto& c : containers_) {
    if (c.pid > 0) ::kill(c.pid, SIGKILL);
  }
}

bool Shim::finished_shutdown() {
  bool busy = std::any_of(containers_.begin(), containers_.end(),
                          [](const Container& c) { return c.pid > 0; });
  if (busy || !execs_.empty()) return false;
  if (pause_ > 0) {
    ::kill(pause_, SIGKILL);
    ::waitpid(std::exchange(pause_, 0), nullptr, 0);
  }
  // Before the answer: from then on the directory is skiff's to remove.
  ::unlink((directory_ + "/shim.sock").c_str());
  if (shutdown_client_) {
    ::fcntl(shutdown_client_->fd(), F_SETFL, 0);  // the last words are waited for
    shutdown_client_->ok(shutdown_request_);
  }
  return true;
}

void Shim::check_deadlines() {
  std::int64_t now = monotonic_nanoseconds();
  for (auto& c : containers_) {
    if (c.kill_at == 0 || c.kill_at > now || c.pid <= 0) continue;
    ::kill(c.pid, SIGKILL);
    // Should the kernel take its time, once more later: SIGKILL cannot be lost, only late.
    c.kill_at = now + 1000 * millisecond;
  }
  if (abandoned_at_ > 0 && abandoned_at_ <= now) {
    abandoned_at_ = 0;
    shutting_down_ = true;
    kill_everything();
  }
}

std::int64_t Shim::next_deadline() const {
  std::int64_t next = abandoned_at_;
  for (const auto& c : containers_) {
    if (c.kill_at > 0 && c.pid > 0 && (next == 0 || c.kill_at < next)) next = c.kill_at;
  }
  return next;
}

Container* Shim::find(std::string_view id) {
  for (auto& c : containers_) {
    if (c.id == id) return &c;
  }
  return nullptr;
}

Exec* Shim::find_exec(std::string_view id) {
  for (auto& e : execs_) {
    if (e.id == id) return &e;
  }
  return nullptr;
}

}  // namespace skiff::runtime::shim
