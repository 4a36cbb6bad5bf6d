// From a request to a running process, and from its end to a record.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sched.h>
#include <algorithm>
#include <cerrno>

#include "shim.hpp"
#include "step_runner.hpp"

namespace skiff::runtime::shim {
namespace {

using protocol::Frame;
using protocol::Message;
using protocol::State;
using protocol::Tag;
using protocol::Type;

constexpr int start_error_code = 128;  // what CRI runtimes report for a container that never ran

struct Pipe {
  Fd read;
  Fd write;
};

bool make_pipe(Pipe& pipe, bool read_nonblocking) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return false;
  pipe.read = Fd(fds[0]);
  pipe.write = Fd(fds[1]);
  if (read_nonblocking) ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return true;
}

// Enters a PID namespace for children only; the destructor returns to our own.
class PidNamespaceScope {
 public:
  explicit PidNamespaceScope(const std::string& path) {
    if (path.empty()) return;
    auto& system = sys::real_system();
    own_ = Fd(system.open_at(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY, 0, 0));
    Fd other(system.open_at(AT_FDCWD, path.c_str(), O_RDONLY, 0, 0));
    error_ = !own_ || !other ? -ESRCH : system.setns(other.get(), CLONE_NEWPID);
  }
  ~PidNamespaceScope() {
    if (own_) sys::real_system().setns(own_.get(), CLONE_NEWPID);
  }
  PidNamespaceScope(const PidNamespaceScope&) = delete;
  PidNamespaceScope& operator=(const PidNamespaceScope&) = delete;
  int error() const noexcept { return error_; }

 private:
  Fd own_;
  int error_ = 0;
};

bool oom_killed(const std::string& file) {
  std::string text;
  if (file.empty() || sys::real_system().read_file(file.c_str(), text) < 0) return false;
  auto at = text.find("oom_kill ");
  return at != std::string::npos && text[at + 9] != '0';
}

}  // namespace

pid_t Shim::fork_process(const Launch& launch, Fd& report) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  report = Fd(pair[0]);
  Fd far_end(pair[1]);
  auto& system = sys::real_system();
  Fd cgroup;
  if (!launch.cgroup_directory.empty()) {
    cgroup = Fd(system.open_at(AT_FDCWD, launch.cgroup_directory.c_str(), O_PATH, 0, 0));
    if (!cgroup) return -ENOENT;
  }
  PidNamespaceScope scope(launch.pid_namespace);
  if (scope.error() < 0) return scope.error();
  pid_t pid = system.fork_into(launch.clone_flags, cgroup.get(), nullptr);
  if (pid == 0) child(launch, far_end.get());
  return pid;
}

void Shim::child(const Launch& launch, int report) {
  int null = -1;
  for (int i = 0; i < 3; ++i) {
    int fd = launch.stdio[i];
    if (fd < 0 && null < 0) null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(fd < 0 ? null : fd, i);
  }
  StepRunner runner(sys::real_system());
  runner.set_report(report);
  runner.set_root(launch.root);
  if (runner.run(launch.steps)) ::_exit(0);
  std::string text = "F" + runner.error();
  (void)::send(report, text.data(), std::min<std::size_t>(text.size(), 4000), MSG_NOSIGNAL);
  ::_exit(127);
}

void Shim::start(Client& client, const Message& m) {
  std::string id(m.text(Tag::container));
  loop_.used_much();
  if (shutting_down_) return client.fail(m.request, "the sandbox is being stopped");
  if (id.empty() || find(id)) return client.fail(m.request, "the container was started before");
  containers_.emplace_back();
  Container& c = containers_.back();
  c.id = std::move(id);
  c.directory = m.text(Tag::directory);
  c.oom_file = m.text(Tag::oom_file);
  c.flags = m.number(Tag::flags);
  c.starter = &client;
  c.start_request = m.request;
  c.started_at = wall_nanoseconds();
  c.log =
      std::make_unique<LogFile>(std::string(m.text(Tag::log_path)), m.number(Tag::log_max_bytes),
                                static_cast<unsigned>(m.number(Tag::log_max_files)));
  int r = c.log->open();
  if (r < 0) {
    return launch_failed(
        &c, nullptr,
        "opening the log file " + std::string(m.text(Tag::log_path)) + ": " + sys::error_text(r));
  }
  Launch launch;
  launch.clone_flags = m.number(Tag::clone_flags);
  launch.cgroup_directory = m.text(Tag::cgroup_directory);
  launch.pid_namespace = m.text(Tag::pid_namespace);
  launch.steps = m.text(Tag::steps);
  Pipe in;
  Pipe out;
  Pipe err;
  const bool tty = (c.flags & protocol::flag_tty) != 0;
  bool made = tty || (make_pipe(out, true) && make_pipe(err, true));
  if (!tty && (c.flags & protocol::flag_stdin)) made = made && make_pipe(in, false);
  if (!made) return launch_failed(&c, nullptr, std::string("pipe: ") + sys::error_text(errno));
  launch.stdio[0] = in.read.get();
  launch.stdio[1] = out.write.get();
  launch.stdio[2] = err.write.get();
  Fd report;
  c.pid = fork_process(launch, report);
  if (c.pid < 0) {
    r = std::exchange(c.pid, 0);
    return launch_failed(&c, nullptr, std::string("clone3: ") + sys::error_text(r));
  }
  c.input = std::move(in.write);
  c.report = std::make_unique<Report>(*this, std::move(report), &c, nullptr);
  loop_.watch(c.report->fd(), *c.report);
  if (!tty) watch_streams(c, std::move(out.read), std::move(err.read));
}

void Shim::watch_streams(Container& c, Fd out, Fd err) {
  c.out = std::make_unique<Output>(*this, c, std::move(out), "stdout");
  loop_.watch(c.out->fd(), *c.out);
  if (!err) return;
  c.err = std::make_unique<Output>(*this, c, std::move(err), "stderr");
  loop_.watch(c.err->fd(), *c.err);
}

void Shim::exec(Client& client, const Message& m, std::vector<Fd> descriptors) {
  Container* c = find(m.text(Tag::container));
  if (!c || c->state != State::running) {
    return client.fail(m.request, "the container is not running");
  }
  execs_.emplace_back();
  Exec& e = execs_.back();
  e.id = m.text(Tag::exec);
  e.container = c;
  e.client = &client;
  e.request = m.request;
  Launch launch;
  launch.clone_flags = m.number(Tag::clone_flags);
  launch.cgroup_directory = m.text(Tag::cgroup_directory);
  launch.pid_namespace = "/proc/" + std::to_string(c->pid) + "/ns/pid";
  Fd root(sys::real_system().pidfd_open(c->pid));
  launch.root = root.get();
  launch.steps = m.text(Tag::steps);
  for (std::size_t i = 0; i < descriptors.size() && i < 3; ++i) {
    launch.stdio[i] = descriptors[i].get();
  }
  Fd report;
  e.pid = fork_process(launch, report);
  if (e.pid < 0) {
    int r = std::exchange(e.pid, 0);
    return launch_failed(nullptr, &e, std::string("clone3: ") + sys::error_text(r));
  }
  e.report = std::make_unique<Report>(*this, std::move(report), nullptr, &e);
  loop_.watch(e.report->fd(), *e.report);
}

void Shim::launched(Container* c, Exec* e) {
  if (e) {
    e->report.reset();
    e->launched = true;
    Frame frame(Type::ok, e->request, e->terminal ? 1 : 0);
    frame.put(Tag::pid, static_cast<std::uint64_t>(e->pid));
    std::vector<Fd> descriptors;
    if (e->terminal) descriptors.push_back(std::move(e->terminal));
    if (e->client) e->client->send(frame.finish(), std::move(descriptors));
    return;
  }
  c->report.reset();
  if (c->terminal) {
    ::fcntl(c->terminal.get(), F_SETFL, O_NONBLOCK);
    watch_streams(*c, Fd(c->terminal.get()), Fd());
  }
  c->state = State::running;
  c->started_at = wall_nanoseconds();
  write_record(*c, "start", false);
  if (!c->starter) return;
  Frame frame(Type::ok, c->start_request);
  frame.put(Tag::pid, static_cast<std::uint64_t>(c->pid));
  frame.put(Tag::started_at, static_cast<std::uint64_t>(c->started_at));
  c->starter->send(frame.finish());
  c->starter = nullptr;
}

void Shim::launch_failed(Container* c, Exec* e, const std::string& why) {
  if (e) {
    if (e->client) e->client->fail(e->request, why, 126);
    e->report.reset();
    e->client = nullptr;  // its end is nobody's business
    if (e->pid == 0) std::erase_if(execs_, [e](const Exec& other) { return &other == e; });
    return;
  }
  c->report.reset();
  c->message = why;
  c->exit_code = start_error_code;
  c->state = State::exited;
  if (c->starter) c->starter->fail(c->start_request, why, start_error_code);
  c->starter = nullptr;
  finish(*c);
}

void Shim::ended(Container& c, int status) {
  if (c.report) c.report->drain();
  if (c.state == State::exited) {  // it could not be launched, and that is on record
    c.pid = 0;
    return;
  }
  c.state = State::exited;
  c.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  c.exit_code = c.signal ? 128 + c.signal : WEXITSTATUS(status);
  c.oom = oom_killed(c.oom_file);
  finish(c);
}

void Shim::ended(Exec& e, int status) {
  if (e.report) e.report->drain();
  if (e.client) {
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    Frame frame(Type::exited, 0);
    frame.put(Tag::exec, e.id).put(Tag::exit_code, static_cast<std::uint64_t>(code));
    e.client->send(frame.finish());
  }
  std::erase_if(execs_, [&e](const Exec& other) { return &other == &e; });
}

// Everything it wrote is in the pipes: the log is complete before its end is known.
void Shim::finish(Container& c) {
  c.finished_at = wall_nanoseconds();
  c.kill_at = 0;
  for (auto* stream : {c.out.get(), c.err.get()}) {
    if (!stream) continue;
    stream->drain();
    stream->close();
  }
  c.input.reset();
  c.terminal.reset();
  // First where skiff finds it after a crash, then to whoever listens, then to the platter.
  std::string file = c.directory + "/exit";
  bool written = write_record(c, "exit", true);
  publish(c);
  c.pid = 0;
  c.out.reset();
  c.err.reset();
  c.log.reset();
  if (!written) return;
  Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) ::fdatasync(fd.get());
}

void Shim::publish(const Container& c) {
  Frame frame(Type::exited, 0);
  frame.put(Tag::container, c.id);
  frame.put(Tag::pid, static_cast<std::uint64_t>(c.pid));
  frame.put(Tag::started_at, static_cast<std::uint64_t>(c.started_at));
  frame.put(Tag::finished_at, static_cast<std::uint64_t>(c.finished_at));
  frame.put(Tag::exit_code, static_cast<std::uint64_t>(c.exit_code));
  frame.put(Tag::signal, static_cast<std::uint64_t>(c.signal));
  frame.put(Tag::oom, static_cast<std::uint64_t>(c.oom ? 1 : 0));
  frame.put(Tag::message, c.message);
  std::string bytes = frame.finish();
  for (auto& client : clients_) client.send(bytes);
}

// key=value lines; the message comes last and may have several.
bool Shim::write_record(const Container& c, const char* name, bool ended) const {
  std::string text = "pid=" + std::to_string(c.pid);
  text += "\nstarted_at=" + std::to_string(c.started_at);
  if (ended) {
    text += "\nfinished_at=" + std::to_string(c.finished_at);
    text += "\nexit_code=" + std::to_string(c.exit_code);
    text += "\nsignal=" + std::to_string(c.signal);
    text += "\noom=" + std::to_string(c.oom ? 1 : 0);
    text += "\nmessage=" + c.message;
  }
  text += "\n";
  std::string path = c.directory + "/" + name;
  std::string temporary = path + ".tmp";
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return false;
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return false;
  return ::rename(temporary.c_str(), path.c_str()) == 0;
}

}  // namespace skiff::runtime::shim
