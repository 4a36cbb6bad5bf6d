#include "step_runner.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

namespace skiff::runtime::shim {

bool StepRunner::run(std::string_view plan) {
  StepReader reader(plan);
  Step step{};
  std::string_view payload;
  while (reader.next(step, payload)) {
    StepFields fields(payload);
    error_.clear();
    int r = apply(step, fields);
    if (r >= 0 && !fields.ok()) r = -EBADMSG;
    if (r >= 0) continue;
    if (!error_.empty()) return false;
    error_ = describe(step);
    if (step == Step::place_bind || step == Step::open_bind) {
      StepFields again(payload);
      again.number();
      error_.append(" ").append(again.view());
    } else if (r == -ENOSYS) {
      error_ += " " + std::to_string(static_cast<int>(step));
    } else {
      StepFields again(payload);
      auto subject = again.view();
      if (again.ok() && step != Step::seccomp && step != Step::exec) {
        error_.append(" ").append(subject);
      }
    }
    error_.append(": ").append(sys::error_text(r));
    return false;
  }
  if (!reader.damaged()) return true;
  error_ = "damaged launch plan";
  return false;
}

int StepRunner::apply(Step step, StepFields& f) {
  switch (step) {
    case Step::join_cgroup:
      return join_cgroup(f);
    case Step::unshare:
      return system_.unshare(static_cast<int>(f.number()));
    case Step::join_namespace: {
      const char* path = f.text();
      return join_namespace(path, static_cast<int>(f.number()));
    }
    case Step::join_root:
      return join_root(f.number());
    case Step::write:
      return write_value(f);
    case Step::hostname:
      return system_.set_hostname(f.view());
    case Step::loopback:
      return system_.loopback_up();
    case Step::pin:
      return pin(f);
    case Step::session:
      ::setsid();
      return 0;
    case Step::exec:
      return execute(f);
    case Step::rlimit:
    case Step::oom_score_adj:
    case Step::terminal:
    case Step::umask:
    case Step::directory:
    case Step::credentials:
    case Step::capabilities:
    case Step::no_new_privileges:
    case Step::seccomp:
    case Step::stdio_owner:
      return apply_identity(step, f);
    default:
      return apply_mount(step, f);
  }
}

int StepRunner::apply_identity(Step step, StepFields& f) {
  switch (step) {
    case Step::rlimit: {
      auto resource = static_cast<int>(f.number());
      auto soft = f.number();
      int r = system_.set_rlimit(resource, soft, f.number());
      return r == -EPERM ? 0 : r;  // raising needs CAP_SYS_RESOURCE: keep what there is
    }
    case Step::oom_score_adj: {
      std::string value = std::to_string(static_cast<std::int64_t>(f.number()));
      int r = system_.write_file("/proc/self/oom_score_adj", value);
      return r == -EACCES || r == -EPERM ? 0 : r;  // as above, for lowering
    }
    case Step::terminal: {
      auto uid = static_cast<uid_t>(f.number());
      return terminal(uid, f.number() != 0);
    }
    case Step::umask:
      ::umask(static_cast<mode_t>(f.number()));
      return 0;
    case Step::directory:
      return working_directory(f.text());
    case Step::credentials:
      return credentials(f);
    case Step::capabilities:
      return capabilities(f);
    case Step::no_new_privileges:
      return system_.prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
    case Step::seccomp:
      return seccomp(f);
    case Step::stdio_owner: {
      auto uid = static_cast<uid_t>(f.number());
      // So that /dev/stdout can be opened anew by a user who is not root.
      for (int fd = 0; fd < 3; ++fd) {
        struct stat st;
        if (::fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_uid != uid) {
          if (::fchown(fd, uid, static_cast<gid_t>(-1)) < 0) return -errno;
        }
      }
      return 0;
    }
    default:
      return -ENOSYS;
  }
}

int StepRunner::join_cgroup(StepFields& f) {
  const char* path = f.text();
  return system_.write_file(path, "0");
}

int StepRunner::join_namespace(const char* path, int type) {
  int fd = system_.open_at(AT_FDCWD, path, O_RDONLY, 0, 0);
  if (fd < 0) return fd;
  int r = system_.setns(fd, type);
  system_.close(fd);
  return r;
}

int StepRunner::join_root(std::uint64_t flags) {
  return system_.setns(root_, static_cast<int>(flags));  // all of them at once (Linux 5.8)
}

int StepRunner::write_value(StepFields& f) {
  const char* path = f.text();
  return system_.write_file(path, f.view());
}

int StepRunner::pin(StepFields& f) {
  std::string source = f.text();
  std::string path = f.text();
  auto r = sys::pin_namespace(source, path);
  if (r) return 0;
  error_ = r.error().message;
  return -EIO;
}

int StepRunner::terminal(uid_t uid, bool console) {
  int master = system_.open_at(AT_FDCWD, "/dev/ptmx", O_RDWR | O_NOCTTY, 0, 0);
  if (master < 0) return master;
  int unlock = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) < 0) return -errno;
  int slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) return -errno;
  if (::fchown(slave, uid, static_cast<gid_t>(-1)) < 0) return -errno;
  unsigned number = 0;
  if (console && ::ioctl(master, TIOCGPTN, &number) == 0) {
    char path[32];
    std::snprintf(path, sizeof path, "/dev/pts/%u", number);
    int tree = system_.open_tree(AT_FDCWD, path, 1U /* OPEN_TREE_CLONE */);
    int target = ensure("/dev/console", false);
    if (tree < 0 || target < 0) return tree < 0 ? tree : target;
    // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    int r = system_.move_mount(tree, "", target, "", 0x44U);
    system_.close(tree);
    system_.close(target);
    if (r < 0) return r;
  }
  ::setsid();
  if (::ioctl(slave, TIOCSCTTY, 0) < 0) return -errno;
  for (int fd = 0; fd < 3; ++fd) ::dup2(slave, fd);
  char kind = terminal_message;
  iovec part{&kind, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &master, sizeof master);
  return ::sendmsg(report_, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int StepRunner::working_directory(const char* path) {
  int fd = ensure(path, true);
  if (fd < 0 && fd != -EACCES) return fd;
  if (fd >= 0) system_.close(fd);
  int r = system_.change_directory(path);
  if (r == -EACCES || r == -EPERM) {
    late_directory_ = path;
    return 0;
  }
  return r;
}

int StepRunner::credentials(StepFields& f) {
  auto uid = static_cast<uid_t>(f.number());
  auto gid = static_cast<gid_t>(f.number());
  std::uint64_t bounding = f.number();
  std::size_t count = f.number();
  gid_t groups[256];
  if (count > std::size(groups)) return -E2BIG;
  for (std::size_t i = 0; i < count; ++i) groups[i] = static_cast<gid_t>(f.number());
  if (!f.ok()) return -EBADMSG;
  for (unsigned cap = 0; cap < 64; ++cap) {
    if (((bounding >> cap) & 1U) != 0) continue;
    int r = system_.prctl(PR_CAPBSET_DROP, cap, 0);
    if (r == -EINVAL) break;  // past the last one this kernel knows
    if (r < 0) return r;
  }
  int r = system_.prctl(PR_SET_KEEPCAPS, 1, 0);
  if (r >= 0) r = system_.set_groups(groups, count);
  if (r >= 0) r = system_.set_gid(gid);
  if (r >= 0) r = system_.set_uid(uid);
  if (r >= 0) r = system_.prctl(PR_SET_KEEPCAPS, 0, 0);
  return r;
}

int StepRunner::capabilities(StepFields& f) {
  auto effective = f.number();
  auto permitted = f.number();
  auto inheritable = f.number();
  auto ambient = f.number();
  int r = system_.set_capabilities(effective, permitted, inheritable);
  for (unsigned cap = 0; r >= 0 && cap < 64; ++cap) {
    if (((ambient >> cap) & 1U) == 0) continue;
    r = ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0 ? -errno : 0;
  }
  return r;
}

int StepRunner::seccomp(StepFields& f) {
  auto flags = static_cast<unsigned>(f.number());
  auto program = f.view();
  // The plan is packed; the kernel wants instructions aligned.
  std::string aligned(program);
  sock_fprog filter{static_cast<unsigned short>(program.size() / sizeof(sock_filter)),
                    reinterpret_cast<sock_filter*>(aligned.data())};
  return system_.load_seccomp(filter, flags);
}

// As shells and Go's exec.LookPath search, with their words for what is wrong.
int StepRunner::find_program(const std::string& name, const char* search_path, std::string& out) {
  auto check = [](const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) < 0) return -errno;
    if (S_ISDIR(st.st_mode)) return -EISDIR;
    return (st.st_mode & 0111) != 0 ? 0 : -EACCES;
  };
  if (name.find('/') != std::string::npos) {
    int r = check(name);
    out = name;
    if (r == 0) return 0;
    error_ = "exec: \"" + name + "\": ";
    if (r == -ENOENT || r == -ENOTDIR) {
      error_ +=
          "stat " + name + (r == -ENOENT ? ": no such file or directory" : ": not a directory");
    } else {
      error_ += r == -EISDIR ? "is a directory" : "permission denied";
    }
    return r;
  }
  std::string_view rest = search_path ? search_path : "/usr/sbin:/usr/bin:/sbin:/bin";
  while (true) {
    auto end = rest.find(':');
    std::string directory(rest.substr(0, end));
    out = (directory.empty() ? "." : directory) + "/" + name;
    if (!name.empty() && check(out) == 0) return 0;
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  error_ = "exec: \"" + name + "\": executable file not found in $PATH";
  return -ENOENT;
}

int StepRunner::execute(StepFields& f) {
  if (late_directory_) {
    if (int r = system_.change_directory(late_directory_); r < 0) {
      error_ = std::string("changing to the working directory ") + late_directory_ + ": " +
               sys::error_text(r);
      return r;
    }
  }
  std::vector<char*> argv;
  std::vector<char*> envp;
  const char* search_path = nullptr;
  for (auto n = f.number(); n > 0 && f.ok(); --n) argv.push_back(const_cast<char*>(f.text()));
  for (auto n = f.number(); n > 0 && f.ok(); --n) {
    envp.push_back(const_cast<char*>(f.text()));
    if (std::string_view(envp.back()).starts_with("PATH=")) search_path = envp.back() + 5;
  }
  if (!f.ok() || argv.empty()) return -EBADMSG;
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  std::string program;
  if (int r = find_program(argv[0], search_path, program); r < 0) return r;
  for (int number = 1; number < 32; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (report_ >= 0) (void)::send(report_, &about_to_exec, 1, MSG_NOSIGNAL);
  ::execve(program.c_str(), argv.data(), envp.data());
  int error = errno;
  // What Go prints: lower case, as upstream's messages have it.
  std::string reason = sys::error_text(error);
  if (!reason.empty() && reason[0] >= 'A' && reason[0] <= 'Z') reason[0] += 'a' - 'A';
  error_ = "exec " + program + ": " + reason;
  return -error;
}

}  // namespace skiff::runtime::shim
