#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "shim.hpp"
#include "skiff/runtime/shim.hpp"
#include "step_runner.hpp"

namespace skiff::runtime {
namespace {

using shim::Fd;

int complain(const std::string& what) {
  std::string line = "skiff shim: " + what + "\n";
  (void)!::write(2, line.data(), line.size());
  return 1;
}

std::string with_errno(std::string_view what) {
  return std::string(what) + ": " + sys::error_text(errno);
}

// The first process of a shared PID namespace: it collects zombies, and holds nothing else. Its
// root is empty, for a container with CAP_SYS_PTRACE may look at it.
[[noreturn]] void be_pause(const std::string& directory, int alive) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "pause");
  std::string plan = StepWriter()
                         .begin(Step::propagation)
                         .text("/")
                         .number((1UL << 14U) | (1UL << 18U))  // MS_REC | MS_PRIVATE
                         .begin(Step::tmpfs_root)
                         .text(directory + "/empty")
                         .begin(Step::pivot)
                         .text(directory + "/empty")
                         .finish();
  shim::StepRunner runner(sys::real_system());
  bool ready = runner.run(plan);
  (void)!::write(alive, ready ? "1" : "0", 1);
  if (!ready) ::_exit(1);
  ::close_range(0, ~0U, 0);
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &wanted, nullptr);
  while (true) {
    int number = 0;
    sigwait(&wanted, &number);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

// The pid, or a negative errno.
pid_t start_pause(const std::string& directory) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) < 0) return -errno;
  Fd near(pipe[0]);
  Fd far(pipe[1]);
  pid_t pid = sys::real_system().fork_into(CLONE_NEWPID | CLONE_NEWNS, -1, nullptr);
  if (pid == 0) be_pause(directory, far.get());
  if (pid < 0) return pid;
  far.reset();
  char answer = '0';
  if (::read(near.get(), &answer, 1) == 1 && answer == '1') return pid;
  ::waitpid(pid, nullptr, 0);
  return -EIO;
}

// Bound by a relative name: socket addresses are short, state directories may not be.
Fd listen_in(const std::string& directory, std::string& error) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "shim.sock");
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::umask(0077);
  if (!fd || ::chdir(directory.c_str()) < 0 ||
      (::unlink(address.sun_path) < 0 && errno != ENOENT) ||
      ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
      ::listen(fd.get(), 16) < 0) {
    error = with_errno("listening in " + directory);
    return {};
  }
  return fd;
}

// Runs as a shim in a child of the starting process. `ready` is told once the pause process runs.
[[noreturn]] void be_shim(Fd listener, const std::string& directory, bool share_pid, Fd ready) {
  ::setsid();
  ::prctl(PR_SET_NAME, "skiff-shim");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd < 2; ++fd) ::dup2(null.get(), fd);
  // Only what kills for sure ends a shim: skiff asks it to end over the socket.
  for (int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2}) {
    ::signal(number, SIG_IGN);
  }
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &wanted, nullptr);
  Fd signals(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  pid_t pause = 0;
  if (share_pid) {
    pause = start_pause(directory);
    if (pause < 0) {
      complain(std::string("starting the pause process: ") + sys::error_text(pause));
      ::_exit(1);
    }
  }
  ::dup2(null.get(), 2);
  null.reset();
  (void)!::write(ready.get(), "1", 1);
  ready.reset();
  ::chdir("/") < 0 ? ::_exit(1) : void();
  shim::Shim shim(std::move(listener), std::move(signals), pause, directory);
  shim.run();
  ::_exit(0);
}

}  // namespace

int shim_main(int argc, char** argv) {
  if (argc != 2) return complain("usage: skiff shim DIR (skiff itself starts this for each pod)");
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // until ready; a forked child does not inherit it
  ::prctl(PR_SET_DUMPABLE, 0);
  std::string directory = argv[1];
  std::string plan;
  auto& system = sys::real_system();
  int r = system.read_file((directory + "/shim.plan").c_str(), plan, protocol::max_frame);
  if (r < 0) return complain("reading " + directory + "/shim.plan: " + sys::error_text(r));
  protocol::Message m;
  std::size_t used = 0;
  if (protocol::parse(plan, m, used) != protocol::Parse::message) {
    return complain(directory + "/shim.plan is damaged");
  }
  shim::StepRunner runner(system);
  if (!runner.run(m.text(protocol::Tag::steps))) return complain(runner.error());
  std::string error;
  Fd listener = listen_in(directory, error);
  if (!listener) return complain(error);
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) < 0) return complain(with_errno("pipe"));
  Fd near(pipe[0]);
  Fd far(pipe[1]);
  pid_t pid = ::fork();
  if (pid < 0) return complain(with_errno("fork"));
  if (pid == 0) {
    near.reset();
    const bool share_pid = m.number(protocol::Tag::flags) != 0;
    std::string().swap(plan);
    be_shim(std::move(listener), directory, share_pid, std::move(far));
  }
  far.reset();
  char answer = 0;
  return ::read(near.get(), &answer, 1) == 1 ? 0 : 1;
}

}  // namespace skiff::runtime
