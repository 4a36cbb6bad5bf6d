#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <csignal>

#include "body.hpp"

namespace skiff::runtime {
namespace {

using asio::posix::stream_descriptor;
using protocol::Frame;
using protocol::Tag;
using protocol::Type;

struct Pipe {
  OwnedFd read;
  OwnedFd write;
};

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return errno_error(errno, "pipe");
  Pipe pipe;
  pipe.read = OwnedFd(fds[0]);
  pipe.write = OwnedFd(fds[1]);
  return pipe;
}

void set_nonblocking(const OwnedFd& fd) {
  if (fd) ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// One output stream of exec_sync: kept up to a limit, read to the end in any case.
struct Gathered {
  Gathered(skiff::Executor executor, OwnedFd fd, std::size_t keep)
      : descriptor(executor, fd.release()), limit(keep) {
    descriptor.non_blocking(true);
  }
  // False when nothing more is there now.
  bool take() {
    char buffer[16384];
    ssize_t n = ::read(descriptor.native_handle(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) return true;
    if (n <= 0) {
      ended = n == 0 || errno != EAGAIN;
      return false;
    }
    text.append(buffer, std::min(static_cast<std::size_t>(n), limit - text.size()));
    return true;
  }
  stream_descriptor descriptor;
  std::size_t limit;
  std::string text;
  bool ended = false;
};

Task<void> gather(std::shared_ptr<Gathered> g) {
  while (!g->ended) {
    boost::system::error_code ec;
    co_await g->descriptor.async_wait(stream_descriptor::wait_read,
                                      asio::redirect_error(asio::use_awaitable, ec));
    if (ec) break;
    while (g->take()) {
    }
  }
}

// Kills a process nobody waits for any more: the waiting task was cancelled, or took too long.
class KillUnlessEnded {
 public:
  KillUnlessEnded(std::shared_ptr<ShimClient> shim, std::string exec_id,
                  std::shared_ptr<ShimClient::ExecEnd> end)
      : shim_(std::move(shim)), exec_id_(std::move(exec_id)), end_(std::move(end)) {}
  KillUnlessEnded(const KillUnlessEnded&) = delete;
  KillUnlessEnded& operator=(const KillUnlessEnded&) = delete;
  void release() { end_.reset(); }
  ~KillUnlessEnded() {
    if (!end_ || end_->ended || end_->lost) return;
    Frame frame(Type::signal, shim_->next_request());
    frame.put(Tag::exec, exec_id_).put(Tag::signal, std::uint64_t{SIGKILL});
    shim_->post(frame.finish());
    shim_->forget_exec(exec_id_);
  }

 private:
  std::shared_ptr<ShimClient> shim_;
  std::string exec_id_;
  std::shared_ptr<ShimClient::ExecEnd> end_;
};

Task<Result<int>> wait_end(std::shared_ptr<ShimClient::ExecEnd> end) {
  while (!end->ended && !end->lost) co_await end->changed.wait();
  if (!end->ended) co_return Error{Code::unavailable, "the pod's shim went away meanwhile"};
  co_return end->exit_code;
}

// The shared part of the streams to exec'd processes and to containers.
class StreamBody : public Stream {
 public:
  int take_stdin() override { return in.release(); }
  int take_stdout() override { return out.release(); }
  int take_stderr() override { return err.release(); }
  Result<void> resize(TerminalSize size) override {
    if (!terminal) return Error{Code::invalid, "there is no terminal to resize"};
    winsize w{};
    w.ws_col = size.width;
    w.ws_row = size.height;
    if (::ioctl(terminal.get(), TIOCSWINSZ, &w) < 0) return errno_error(errno, "TIOCSWINSZ");
    return {};
  }
  OwnedFd in, out, err, terminal;
};

class ExecStream final : public StreamBody {
 public:
  ExecStream(std::shared_ptr<ShimClient> shim, const std::string& exec_id,
             std::shared_ptr<ShimClient::ExecEnd> end)
      : end_(end), killer_(std::make_unique<KillUnlessEnded>(std::move(shim), exec_id, end)) {}
  Task<Result<int>> wait() override { return wait_end(end_); }
  void kill() override { killer_.reset(); }

 private:
  std::shared_ptr<ShimClient::ExecEnd> end_;
  std::unique_ptr<KillUnlessEnded> killer_;
};

Task<Result<int>> wait_container(ContainerPtr c) {
  while (c->status.state == ContainerState::running) co_await c->changed.wait();
  co_return c->status.exit_code;
}

class AttachStream final : public StreamBody {
 public:
  explicit AttachStream(ContainerPtr c) : container_(std::move(c)) {}
  Task<Result<int>> wait() override { return wait_container(container_); }
  void kill() override {}

 private:
  ContainerPtr container_;
};

}  // namespace

Task<Result<RuntimeBody::Started>> RuntimeBody::start_exec(ContainerPtr c,
                                                           std::vector<std::string> command,
                                                           bool tty, std::vector<OwnedFd> stdio) {
  if (command.empty()) co_return Error{Code::invalid, "exec: no command"};
  auto owner = find_sandbox(c->status.sandbox_id);
  if (!owner) co_return owner.error();
  SandboxPtr sandbox = *owner;
  if (c->status.state != ContainerState::running || !sandbox->shim) {
    co_return Error{Code::conflict, "container \"" + c->status.id + "\" is not running"};
  }
  auto work = [start = container_start(*sandbox, *c), command, tty] {
    return exec_plan(start, command, tty);
  };
  SKIFF_CO_TRY(LaunchPlan plan, co_await env_.blocking->run(work));
  Started started;
  started.shim = sandbox->shim;
  if (!started.shim) co_return Error{Code::unavailable, "the pod's shim is gone"};
  auto request = started.shim->next_request();
  started.exec_id = std::to_string(request);
  started.end = started.shim->expect_exec(started.exec_id);
  KillUnlessEnded guard(started.shim, started.exec_id, started.end);
  Frame frame(Type::exec, request, static_cast<std::uint16_t>(stdio.size()));
  frame.put(Tag::container, c->status.id).put(Tag::exec, started.exec_id);
  frame.put(Tag::clone_flags, plan.clone_flags);
  frame.put(Tag::cgroup_directory, plan.cgroup_directory);
  frame.put(Tag::steps, plan.steps);
  auto answer = co_await started.shim->call(request, frame.finish(), std::move(stdio));
  if (!answer) {
    started.end->lost = true;
    started.shim->forget_exec(started.exec_id);
    co_return answer.error();
  }
  if (!(*answer)->descriptors.empty()) {
    started.terminal = std::move((*answer)->descriptors.front());
  }
  // From here on it is the caller's to kill.
  guard.release();
  co_return started;
}

Task<Result<ExecResult>> RuntimeBody::exec_sync(std::string id, std::vector<std::string> command,
                                                Duration timeout) {
  auto found = find_container(id);
  if (!found) co_return found.error();
  SKIFF_CO_TRY(Pipe out, make_pipe());
  SKIFF_CO_TRY(Pipe err, make_pipe());
  OwnedFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<OwnedFd> stdio;
  stdio.push_back(std::move(null));
  stdio.push_back(std::move(out.write));
  stdio.push_back(std::move(err.write));
  std::string shown = command.front();
  auto start = start_exec(*found, std::move(command), false, std::move(stdio));
  auto started = co_await std::move(start);
  if (!started) co_return annotate(started.error(), "failed to exec in container");
  KillUnlessEnded guard(started->shim, started->exec_id, started->end);
  auto limit = options_.exec_output_limit;
  auto gathered_out = std::make_shared<Gathered>(env_.executor, std::move(out.read), limit);
  auto gathered_err = std::make_shared<Gathered>(env_.executor, std::move(err.read), limit);
  // They end with the pipes, or when the descriptors are closed below.
  struct Closer {
    std::shared_ptr<Gathered> a, b;
    ~Closer() {
      boost::system::error_code ignored;
      a->descriptor.close(ignored);
      b->descriptor.close(ignored);
    }
  } closer{gathered_out, gathered_err};
  tasks_.spawn("exec output", gather(gathered_out));
  tasks_.spawn("exec output", gather(gathered_err));
  Result<int> code = 0;
  auto wait = wait_end(started->end);
  if (timeout > Duration{0}) {
    code =
        co_await with_timeout(*env_.clock, timeout, "command \"" + shown + "\"", std::move(wait));
  } else {
    code = co_await std::move(wait);
  }
  if (!code) co_return code.error();
  // What it wrote is in the pipes by now, even if a child of its own keeps them open.
  for (const auto& g : {gathered_out, gathered_err}) {
    while (!g->ended && g->take()) {
    }
  }
  ExecResult result;
  result.exit_code = *code;
  result.out = std::move(gathered_out->text);
  result.err = std::move(gathered_err->text);
  co_return result;
}

Task<Result<std::unique_ptr<Stream>>> RuntimeBody::exec(std::string id, ExecRequest request) {
  auto found = find_container(id);
  if (!found) co_return found.error();
  Pipe in;
  Pipe out;
  Pipe err;
  std::vector<OwnedFd> stdio;
  if (!request.tty) {
    SKIFF_CO_TRY(out, make_pipe());
    SKIFF_CO_TRY(err, make_pipe());
    if (request.stdin_open) {
      SKIFF_CO_TRY(in, make_pipe());
    } else {
      in.read = OwnedFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    stdio.push_back(std::move(in.read));
    stdio.push_back(std::move(out.write));
    stdio.push_back(std::move(err.write));
  }
  auto start = start_exec(*found, std::move(request.command), request.tty, std::move(stdio));
  auto started = co_await std::move(start);
  if (!started) co_return annotate(started.error(), "failed to exec in container");
  auto stream = std::make_unique<ExecStream>(started->shim, started->exec_id, started->end);
  if (request.tty) {
    stream->terminal = std::move(started->terminal);
    set_nonblocking(stream->terminal);
    stream->out = OwnedFd(::fcntl(stream->terminal.get(), F_DUPFD_CLOEXEC, 3));
    if (request.stdin_open) {
      stream->in = OwnedFd(::fcntl(stream->terminal.get(), F_DUPFD_CLOEXEC, 3));
    }
  } else {
    stream->in = std::move(in.write);
    stream->out = std::move(out.read);
    stream->err = std::move(err.read);
    set_nonblocking(stream->in);
    set_nonblocking(stream->out);
    set_nonblocking(stream->err);
  }
  co_return std::unique_ptr<Stream>(std::move(stream));
}

Task<Result<std::unique_ptr<Stream>>> RuntimeBody::attach(std::string id) {
  auto found = find_container(id);
  if (!found) co_return found.error();
  ContainerPtr c = *found;
  auto owner = find_sandbox(c->status.sandbox_id);
  auto shim = owner ? (*owner)->shim : nullptr;
  if (!shim || c->status.state != ContainerState::running) {
    co_return Error{Code::conflict, "container \"" + id + "\" is not running"};
  }
  const bool tty = c->status.config.tty;
  SKIFF_CO_TRY(Pipe out, make_pipe());
  SKIFF_CO_TRY(Pipe err, make_pipe());
  std::vector<OwnedFd> sinks;
  sinks.push_back(std::move(out.write));
  if (!tty) sinks.push_back(std::move(err.write));
  auto request = shim->next_request();
  Frame frame(Type::attach, request, static_cast<std::uint16_t>(sinks.size()));
  frame.put(Tag::container, id);
  auto answer = co_await shim->call(request, frame.finish(), std::move(sinks));
  if (!answer) co_return answer.error();
  auto stream = std::make_unique<AttachStream>(c);
  stream->out = std::move(out.read);
  set_nonblocking(stream->out);
  if (!tty) {
    stream->err = std::move(err.read);
    set_nonblocking(stream->err);
  }
  auto& received = (*answer)->descriptors;
  if (!received.empty()) {
    if (tty) stream->terminal = OwnedFd(::fcntl(received.front().get(), F_DUPFD_CLOEXEC, 3));
    if (c->status.config.stdin_open) stream->in = std::move(received.front());
    set_nonblocking(stream->in);
  }
  co_return std::unique_ptr<Stream>(std::move(stream));
}

Task<Result<int>> RuntimeBody::dial(std::string sandbox_id, std::uint16_t port) {
  auto found = find_sandbox(sandbox_id);
  if (!found) co_return found.error();
  auto shim = (*found)->shim;
  if (!shim) co_return Error{Code::unavailable, "the pod is not running"};
  Error last{Code::unavailable, ""};
  for (std::uint64_t family : {4U, 6U}) {
    auto request = shim->next_request();
    Frame frame(Type::dial, request);
    frame.put(Tag::port, std::uint64_t{port}).put(Tag::flags, family);
    auto answer = co_await shim->call(request, frame.finish());
    if (!answer || (*answer)->descriptors.empty()) {
      if (!answer) last = answer.error();
      continue;
    }
    stream_descriptor socket(env_.executor, (*answer)->descriptors.front().release());
    boost::system::error_code ec;
    co_await socket.async_wait(stream_descriptor::wait_write,
                               asio::redirect_error(asio::use_awaitable, ec));
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (!ec && error == 0) co_return socket.release();
    last = errno_error(error, "connect");
  }
  last.code = Code::unavailable;
  last.message =
      "failed to connect to localhost:" + std::to_string(port) + " inside the pod: " + last.message;
  co_return last;
}

}  // namespace skiff::runtime
