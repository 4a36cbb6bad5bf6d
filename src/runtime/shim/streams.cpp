// A container's output on its way to the log, and what new processes report before their exec.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "shim.hpp"
#include "step_runner.hpp"

namespace skiff::runtime::shim {

bool Output::read_some() {
  static char buffer[64U << 10U];
  if (!fd_) return false;
  ssize_t n = ::read(fd_.get(), buffer, sizeof buffer);
  if (n > 0) {
    deliver(std::string_view(buffer, static_cast<std::size_t>(n)));
    return true;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
  close();  // the end, or EIO: a terminal whose other side is gone
  return false;
}

void Output::deliver(std::string_view data) {
  std::string lines;
  std::int64_t now = wall_nanoseconds();
  splitter_.feed(data, now, lines);
  if (!lines.empty()) container_.log->write(lines, now);
  std::erase_if(sinks, [data](const Fd& sink) {
    // A reader that is a whole pipe behind is cut off rather than served with holes.
    return ::write(sink.get(), data.data(), data.size()) != static_cast<ssize_t>(data.size());
  });
}

void Output::drain() {
  while (read_some()) {
  }
}

void Output::close() {
  if (!fd_) return;
  shim_.loop().forget(fd_.get());
  if (fd_.get() == container_.terminal.get()) {
    (void)fd_.release();  // the container's to close
  } else {
    fd_.reset();
  }
  std::string lines;
  std::int64_t now = wall_nanoseconds();
  splitter_.finish(now, lines);
  if (!lines.empty()) container_.log->write(lines, now);
  sinks.clear();
}

void Report::drain() {
  while (fd_) {
    char buffer[4096];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec part{buffer, sizeof buffer};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) break;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
      receive_terminal(Fd(fd));
    }
    if (buffer[0] == StepRunner::about_to_exec && n == 1) {
      about_to_exec_ = true;
    } else if (buffer[0] != StepRunner::terminal_message) {
      failure_.assign(buffer + 1, static_cast<std::size_t>(n - 1));
    }
  }
  if (!fd_) return;
  shim_.loop().forget(fd_.get());
  fd_.reset();
  // These destroy this object.
  if (failure_.empty() && about_to_exec_) return shim_.launched(container_, exec_);
  if (failure_.empty()) {
    failure_ =
        "the process was killed before it executed its program (is its memory limit too low?)";
  }
  std::string why = std::move(failure_);
  shim_.launch_failed(container_, exec_, why);
}

void Report::receive_terminal(Fd master) {
  if (exec_) {
    exec_->terminal = std::move(master);
  } else {
    container_->terminal = std::move(master);
  }
}

}  // namespace skiff::runtime::shim
