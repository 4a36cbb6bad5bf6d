#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "skiff/linux/system.hpp"

namespace skiff::sys {
namespace {

struct SignalName {
  std::string_view name;
  int number;
};
constexpr SignalName signal_names[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},
    {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},
    {"KILL", SIGKILL}, {"USR1", SIGUSR1},     {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"PWR", SIGPWR},       {"SYS", SIGSYS},   {"CLD", SIGCHLD},
    {"POLL", SIGPOLL}, {"IOT", SIGABRT},
};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

// Real-time signals as glibc numbers them for programs: 34 to 64.
constexpr int rt_min = 34;
constexpr int rt_max = 64;

int parse_realtime(std::string_view name) noexcept {
  int base = 0;
  int sign = 1;
  if (name.starts_with("RTMIN")) {
    base = rt_min;
  } else if (name.starts_with("RTMAX")) {
    base = rt_max;
    sign = -1;
  } else {
    return 0;
  }
  name.remove_prefix(5);
  int offset = 0;
  if (!name.empty()) {
    if (name.front() != (sign > 0 ? '+' : '-')) return 0;
    auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), offset);
    if (error != std::errc{} || end != name.data() + name.size()) return 0;
  }
  int number = base + sign * offset;
  return number >= rt_min && number <= rt_max ? number : 0;
}

// A read-only, detached bind mount of the running executable; -1 on kernels before 5.12.
int open_self_read_only() {
  System& system = real_system();
  int fd = system.open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE);
  if (fd < 0) return -1;
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (system.mount_setattr(fd, "", AT_EMPTY_PATH, attr) < 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

[[noreturn]] void become(int exe, char* const* argv, char* const* envp, const int (&stdio)[3]) {
  ::setsid();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  int moved[3];
  for (int i = 0; i < 3; ++i) moved[i] = ::fcntl(stdio[i], F_DUPFD, 10);
  for (int i = 0; i < 3; ++i) ::dup2(moved[i], i);
  ::syscall(SYS_close_range, 3U, ~0U, 1U << 2U);  // CLOSE_RANGE_CLOEXEC
  if (exe >= 0) ::syscall(SYS_execveat, exe, "", argv, envp, AT_EMPTY_PATH);
  ::execve("/proc/self/exe", argv, envp);
  ::_exit(127);
}

// A function of its own: after vfork nothing may change what the parent still reads. vfork copies
// no page tables; being born in a group takes clone3, which does. The pid, or a negative errno.
[[gnu::noinline]] pid_t fork_self(int group, int exe, char* const* argv, char* const* envp,
                                  const int (&stdio)[3]) {
  if (group < 0) {
    pid_t pid = ::vfork();
    if (pid == 0) become(exe, argv, envp, stdio);
    return pid < 0 ? -errno : pid;
  }
  pid_t pid = real_system().fork_into(0, group, nullptr);
  if (pid == 0) become(exe, argv, envp, stdio);
  return pid;
}

}  // namespace

int parse_signal(std::string_view text) noexcept {
  int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) {
    return number >= 1 && number <= rt_max ? number : 0;
  }
  std::string name = upper(text);
  std::string_view bare = name;
  if (bare.starts_with("SIG")) bare.remove_prefix(3);
  for (const auto& known : signal_names) {
    if (known.name == bare) return known.number;
  }
  return parse_realtime(bare);
}

std::string signal_name(int number) {
  for (const auto& known : signal_names) {
    if (known.number == number) return "SIG" + std::string(known.name);
  }
  if (number >= rt_min && number <= rt_max) {
    return "SIGRTMIN" + (number == rt_min ? "" : "+" + std::to_string(number - rt_min));
  }
  return "SIG" + std::to_string(number);
}

Result<pid_t> spawn_self(const std::vector<std::string>& argv, const int (&stdio)[3],
                         const std::string& cgroup) {
  std::vector<char*> arguments;
  for (const auto& a : argv) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  // Nothing of skiff's environment is a pod's business, and a secret could be among it.
  char* environment[] = {const_cast<char*>("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nullptr};
  int group = -1;
  if (!cgroup.empty()) {
    group = ::open(cgroup.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (group < 0) return errno_error(errno, "opening the control group " + cgroup);
  }
  int exe = open_self_read_only();
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = fork_self(group, exe, arguments.data(), environment, stdio);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (exe >= 0) ::close(exe);
  if (group >= 0) ::close(group);
  if (pid < 0) return errno_error(-pid, "starting a process");
  return pid;
}

}  // namespace skiff::sys
