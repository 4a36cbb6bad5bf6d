#include "skiff/linux/system.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

// <sys/mount.h> and <linux/mount.h> define the same names; only the classic calls are needed.
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*);
extern "C" int umount2(const char*, int);

namespace skiff::sys {
namespace {

int checked(long r) noexcept { return r < 0 ? -errno : static_cast<int>(r); }

class RealSystem final : public System {
 public:
  int read_file(const char* path, std::string& out, std::size_t max) override {
    int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    out.clear();
    char chunk[4096];
    int status = 0;
    while (out.size() < max) {
      ssize_t n = ::read(fd, chunk, std::min(sizeof chunk, max - out.size()));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) status = -errno;
      if (n <= 0) break;
      out.append(chunk, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return status;
  }

  int write_file(const char* path, std::string_view data) override {
    int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int status = ::write(fd, data.data(), data.size()) < 0 ? -errno : 0;
    ::close(fd);
    return status;
  }

  int make_directory(const char* path, mode_t mode) override {
    return checked(::mkdir(path, mode));
  }
  int make_directory_at(int at, const char* path, mode_t mode) override {
    return checked(::mkdirat(at, path, mode));
  }
  int read_link(int at, const char* path, std::string& out) override {
    char buffer[4096];
    ssize_t n = ::readlinkat(at, path, buffer, sizeof buffer);
    if (n < 0) return -errno;
    out.assign(buffer, static_cast<std::size_t>(n));
    return 0;
  }
  int is_directory(int fd) override {
    struct stat st;
    if (::fstat(fd, &st) < 0) return -errno;
    return S_ISDIR(st.st_mode) ? 1 : 0;
  }
  int remove_directory(const char* path) override { return checked(::rmdir(path)); }

  int list_directory(const char* path, std::vector<std::string>& out,
                     bool directories_only) override {
    DIR* dir = ::opendir(path);
    if (!dir) return -errno;
    out.clear();
    while (dirent* entry = ::readdir(dir)) {
      std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (directories_only && !is_directory(::dirfd(dir), entry)) continue;
      out.emplace_back(name);
    }
    ::closedir(dir);
    return 0;
  }

  int make_node(int at, const char* path, mode_t mode, dev_t device) override {
    return checked(::mknodat(at, path, mode, device));
  }
  int make_symlink(const char* target, int at, const char* path) override {
    return checked(::symlinkat(target, at, path));
  }
  int change_owner(int at, const char* path, uid_t uid, gid_t gid, int flags) override {
    return checked(::fchownat(at, path, uid, gid, flags));
  }
  int open_at(int at, const char* path, int flags, mode_t mode, std::uint64_t resolve) override {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0;
    how.resolve = resolve;
    return checked(::syscall(SYS_openat2, at, path, &how, sizeof how));
  }
  void close(int fd) override { ::close(fd); }

  int mount(const char* source, const char* target, const char* type, unsigned long flags,
            const char* data) override {
    return checked(::mount(source, target, type, flags, data));
  }
  int unmount(const char* target, int flags) override { return checked(::umount2(target, flags)); }
  int open_tree(int at, const char* path, unsigned flags) override {
    return checked(::syscall(SYS_open_tree, at, path, flags | OPEN_TREE_CLOEXEC));
  }
  int move_mount(int from, const char* from_path, int to, const char* to_path,
                 unsigned flags) override {
    return checked(::syscall(SYS_move_mount, from, from_path, to, to_path, flags));
  }
  int mount_setattr(int at, const char* path, unsigned flags, const mount_attr& attr) override {
    return checked(::syscall(SYS_mount_setattr, at, path, flags, &attr, sizeof attr));
  }
  int mount_overlay(const std::vector<std::string>& lower_top_first, const char* upper,
                    const char* work, const char* target) override;
  int pivot_root(const char* new_root, const char* put_old) override {
    return checked(::syscall(SYS_pivot_root, new_root, put_old));
  }
  int change_directory(const char* path) override { return checked(::chdir(path)); }
  int change_directory(int fd) override { return checked(::fchdir(fd)); }

  int unshare(int flags) override { return checked(::unshare(flags)); }
  int setns(int fd, int type) override { return checked(::setns(fd, type)); }
  int set_hostname(std::string_view name) override {
    return checked(::sethostname(name.data(), name.size()));
  }
  int loopback_up() override {
    int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    int status = checked(::ioctl(fd, SIOCSIFFLAGS, &request));
    ::close(fd);
    return status;
  }

  pid_t fork_into(std::uint64_t flags, int cgroup_fd, int* pidfd) override {
    clone_args args{};
    args.flags = flags;
    args.exit_signal = SIGCHLD;
    if (pidfd) {
      args.flags |= CLONE_PIDFD;
      args.pidfd = reinterpret_cast<std::uint64_t>(pidfd);
    }
    if (cgroup_fd >= 0) {
      args.flags |= CLONE_INTO_CGROUP;
      args.cgroup = static_cast<std::uint64_t>(cgroup_fd);
    }
    return checked(::syscall(SYS_clone3, &args, sizeof args));
  }
  int pidfd_open(pid_t pid) override { return checked(::syscall(SYS_pidfd_open, pid, 0)); }
  int pidfd_signal(int pidfd, int signal) override {
    return checked(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
  }
  int kill(pid_t pid, int signal) override { return checked(::kill(pid, signal)); }

  // The raw calls: glibc's wrappers signal every thread, which a forked child must not try.
  int set_groups(const gid_t* groups, std::size_t count) override {
    return checked(::syscall(SYS_setgroups, count, groups));
  }
  int set_gid(gid_t gid) override { return checked(::syscall(SYS_setresgid, gid, gid, gid)); }
  int set_uid(uid_t uid) override { return checked(::syscall(SYS_setresuid, uid, uid, uid)); }
  int set_rlimit(int resource, std::uint64_t soft, std::uint64_t hard) override {
    rlimit limit{soft, hard};
    return checked(::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit));
  }
  int set_capabilities(std::uint64_t effective, std::uint64_t permitted,
                       std::uint64_t inheritable) override {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2];
    for (int i = 0; i < 2; ++i) {
      data[i].effective = static_cast<std::uint32_t>(effective >> (32 * i));
      data[i].permitted = static_cast<std::uint32_t>(permitted >> (32 * i));
      data[i].inheritable = static_cast<std::uint32_t>(inheritable >> (32 * i));
    }
    return checked(::syscall(SYS_capset, &header, data));
  }
  int prctl(int option, unsigned long a, unsigned long b) override {
    return checked(::prctl(option, a, b, 0, 0));
  }
  int load_seccomp(const sock_fprog& program, unsigned flags) override {
    return checked(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
  }

 private:
  static bool is_directory(int dir, const dirent* entry) {
    if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
    struct stat st;
    return ::fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
  }
};

int RealSystem::mount_overlay(const std::vector<std::string>& lower_top_first, const char* upper,
                              const char* work, const char* target) {
  int fs = checked(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC));
  if (fs < 0) return fs;
  auto set = [fs](const char* key, const char* value) {
    return checked(::syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0));
  };
  int status = 0;
  for (std::size_t i = 0; status >= 0 && i < lower_top_first.size(); ++i) {
    status = set("lowerdir+", lower_top_first[i].c_str());
  }
  if (status >= 0) status = set("upperdir", upper);
  if (status >= 0) status = set("workdir", work);
  if (status >= 0) {
    status = checked(::syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "volatile", nullptr, 0));
  }
  if (status >= 0) {
    status = checked(::syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0));
  }
  int tree = -1;
  if (status >= 0) status = tree = checked(::syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0));
  if (status >= 0) {
    status = move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
    ::close(tree);
  }
  ::close(fs);
  return status < 0 ? status : 0;
}

}  // namespace

System& real_system() noexcept {
  static RealSystem system;
  return system;
}

const char* error_text(int number) noexcept {
  const char* text = ::strerrordesc_np(number < 0 ? -number : number);
  return text ? text : "Unknown error";
}

}  // namespace skiff::sys
