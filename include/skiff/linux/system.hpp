// Every process-side system call skiff makes goes through this seam, so that tests can stand in
// for the kernel. Calls return 0 (or a descriptor, pid or count) or a negative errno and do
// not throw: they run between fork and exec. Names and arguments are the kernel's own
// (section 2 of the manual). All descriptors are opened close-on-exec.
//
// Threading: System is stateless; any thread may call it. Namespace calls affect the calling
// thread only.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/result.hpp"

struct mount_attr;
struct sock_fprog;

namespace skiff::sys {

class System {
 public:
  virtual ~System() = default;

  // Files. read() fills `out` with at most `max` bytes; write_file opens an existing file
  // (write-only, no create, no truncation) and writes it in one call, as kernel files want.
  virtual int read_file(const char* path, std::string& out, std::size_t max = 1 << 20) = 0;
  virtual int write_file(const char* path, std::string_view data) = 0;
  virtual int make_directory(const char* path, mode_t mode) = 0;
  virtual int make_directory_at(int at, const char* path, mode_t mode) = 0;
  virtual int remove_directory(const char* path) = 0;
  virtual int read_link(int at, const char* path, std::string& out) = 0;
  virtual int is_directory(int fd) = 0;  // 1 or 0
  // Names in a directory, without . and .., directories only when asked.
  virtual int list_directory(const char* path, std::vector<std::string>& out,
                             bool directories_only = false) = 0;
  virtual int make_node(int at, const char* path, mode_t mode, dev_t device) = 0;
  virtual int make_symlink(const char* target, int at, const char* path) = 0;
  virtual int change_owner(int at, const char* path, uid_t uid, gid_t gid, int flags) = 0;
  // openat2(2); `resolve` are RESOLVE_* flags.
  virtual int open_at(int at, const char* path, int flags, mode_t mode, std::uint64_t resolve) = 0;
  virtual void close(int fd) = 0;

  // Mounts: the classic call and the descriptor-based ones.
  virtual int mount(const char* source, const char* target, const char* type, unsigned long flags,
                    const char* data) = 0;
  virtual int unmount(const char* target, int flags) = 0;
  virtual int open_tree(int at, const char* path, unsigned flags) = 0;
  virtual int move_mount(int from, const char* from_path, int to, const char* to_path,
                         unsigned flags) = 0;
  virtual int mount_setattr(int at, const char* path, unsigned flags, const mount_attr& attr) = 0;
  // Overlay with more lower directories than a page of options holds (Linux 6.5).
  virtual int mount_overlay(const std::vector<std::string>& lower_top_first, const char* upper,
                            const char* work, const char* target) = 0;
  virtual int pivot_root(const char* new_root, const char* put_old) = 0;
  virtual int change_directory(const char* path) = 0;
  virtual int change_directory(int fd) = 0;

  // Namespaces and processes.
  virtual int unshare(int flags) = 0;
  virtual int setns(int fd, int type) = 0;
  virtual int set_hostname(std::string_view name) = 0;
  // Brings `lo` up in the calling thread's network namespace.
  virtual int loopback_up() = 0;
  // fork with namespaces: clone3(2) without sharing memory. `cgroup_fd` >= 0 is CLONE_INTO_CGROUP;
  // `pidfd` receives a descriptor. Returns 0 in the child. Single-threaded callers only.
  virtual pid_t fork_into(std::uint64_t flags, int cgroup_fd, int* pidfd) = 0;
  virtual int pidfd_open(pid_t pid) = 0;
  virtual int pidfd_signal(int pidfd, int signal) = 0;
  virtual int kill(pid_t pid, int signal) = 0;

  // Credentials and limits.
  virtual int set_groups(const gid_t* groups, std::size_t count) = 0;
  virtual int set_gid(gid_t gid) = 0;
  virtual int set_uid(uid_t uid) = 0;
  virtual int set_rlimit(int resource, std::uint64_t soft, std::uint64_t hard) = 0;
  virtual int set_capabilities(std::uint64_t effective, std::uint64_t permitted,
                               std::uint64_t inheritable) = 0;
  virtual int prctl(int option, unsigned long a, unsigned long b) = 0;
  virtual int load_seccomp(const sock_fprog& program, unsigned flags) = 0;
};

// The kernel itself.
System& real_system() noexcept;

// errno's text: "No such file or directory".
const char* error_text(int number) noexcept;

// A namespace that lives without a process: a bind mount on a file.
// Makes a network namespace (with lo up) and pins it at `path`, which is created. Works in a
// short-lived thread: the caller's own namespace is untouched.
Result<void> make_pinned_netns(const std::string& path);
// Pins the namespace file `source` (/proc/PID/ns/net) at `path`.
Result<void> pin_namespace(const std::string& source, const std::string& path);
// Whether a namespace is to be found at `path`.
bool is_namespace(const std::string& path) noexcept;
// Unmounts and removes the pin; success when there is none.
Result<void> unpin_namespace(const std::string& path);

// One line of /proc/PID/mountinfo, unescaped.
struct MountEntry {
  int id = 0, parent = 0;
  std::string root;
  std::string mount_point;
  std::string type;
  std::string source;
  std::string super_options;
  bool shared = false;
};
std::vector<MountEntry> parse_mountinfo(std::string_view text);

// "SIGTERM", "TERM", "15", "SIGRTMIN+3": 0 when it is none.
int parse_signal(std::string_view text) noexcept;
// "SIGTERM", "SIGRTMIN+3"; "SIG32" for those without a name.
std::string signal_name(int number);

// Starts the running executable again as a process of its own session with `argv`, descriptors
// 0-2 from `stdio`, everything else closed; returns its pid, which the caller must wait for. The
// image is executed from a read-only mount, so that nobody who reaches it through /proc/PID/exe
// can write to it (CVE-2019-5736). `cgroup` is the v2 group it is born in; "" for ours.
Result<pid_t> spawn_self(const std::vector<std::string>& argv, const int (&stdio)[3],
                         const std::string& cgroup = "");

// Forgets the clean pages of the running program, code and constants: what was read once, while
// starting, counts as resident for as long as the process lives. What is still needed comes back
// from the page cache by itself, at a microsecond or so a page. Thread-safe.
void forget_program_pages() noexcept;

// Whether overlayfs takes directories below `directory` as its layers: mounts one for a moment, in
// a child's own mount namespace.
Result<void> probe_overlay(const std::string& directory);

}  // namespace skiff::sys
