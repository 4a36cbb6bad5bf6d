// The default allow-list as data. It grants what container engines grant (their common default
// profile for OCI runtimes), so that images built for them run unchanged.
#include <cerrno>

#include "skiff/linux/security.hpp"

namespace skiff::sys {
namespace {

// One name a word; grouped by what they are about.
constexpr const char* always_allowed = R"(
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64
fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lchown32
lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek _llseek lsetxattr lstat
lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv
preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv removexattr
removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat
stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2
arm_sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
utimensat_time64 utimes vmsplice write writev cachestat file_getattr file_setattr listmount
statmount fanotify_mark

epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select _newselect
signalfd signalfd4 pipe pipe2 ioctl io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ioprio_get ioprio_set

brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
process_mrelease remap_file_pages

execve execveat exit exit_group fork vfork get_robust_list set_robust_list get_thread_area
set_thread_area set_tid_address gettid getpid getppid getpgid getpgrp setpgid getsid setsid wait4
waitid waitpid kill tkill tgkill pidfd_open pidfd_send_signal pause rseq restart_syscall futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake uretprobe arch_prctl modify_ldt prctl

rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending
sigprocmask sigreturn sigsuspend

capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32
setreuid setreuid32 setuid setuid32 landlock_add_rule landlock_create_ruleset
landlock_restrict_self lsm_get_self_attr lsm_list_modules lsm_set_self_attr seccomp

alarm adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer
time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
times

getcpu getpriority getrandom getrlimit getrusage prlimit64 sched_getaffinity sched_getattr
sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield setpriority setrlimit sysinfo ugetrlimit uname

ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget

ptrace process_vm_readv process_vm_writev riscv_hwprobe riscv_flush_icache
)";

struct Grant {
  std::string_view capability;
  const char* names;
};
constexpr Grant with_capability[] = {
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
     "mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname "
     "sethostname setns syslog umount umount2 unshare"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYS_MODULE", "delete_module init_module finit_module"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE",
     "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    {"CAP_SYS_RAWIO", "iopl ioperm"},
    {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
    {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_BPF", "bpf"},
    {"CAP_PERFMON", "perf_event_open"},
};

// Execution domains that change nothing but how addresses are laid out or `uname` answers.
constexpr std::uint64_t harmless_personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
// The namespace flags of clone(2): a new user namespace would hand out every capability.
constexpr std::uint64_t namespace_flags = 0x7e020000;
constexpr std::uint64_t vsock_family = 40;

std::vector<std::string> words(const char* text) {
  std::vector<std::string> out;
  std::string word;
  for (const char* p = text;; ++p) {
    if (*p != ' ' && *p != '\n' && *p != '\0') {
      word.push_back(*p);
      continue;
    }
    if (!word.empty()) out.push_back(std::move(word));
    word.clear();
    if (*p == '\0') return out;
  }
}

SeccompRule allow(std::vector<std::string> names, std::vector<SeccompArg> args = {}) {
  SeccompRule rule;
  rule.names = std::move(names);
  rule.action = "SCMP_ACT_ALLOW";
  rule.args = std::move(args);
  return rule;
}

}  // namespace

SeccompProfile default_seccomp_profile(CapabilitySet capabilities) {
  SeccompProfile profile;
  profile.default_action = "SCMP_ACT_ERRNO";
  profile.default_errno_ret = EPERM;
#if defined(__x86_64__)
  profile.architectures = {"SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#elif defined(__aarch64__)
  profile.architectures = {"SCMP_ARCH_ARM"};
#endif
  profile.rules.push_back(allow(words(always_allowed)));
  for (auto value : harmless_personalities) {
    profile.rules.push_back(allow({"personality"}, {{0, value, 0, "SCMP_CMP_EQ"}}));
  }
  profile.rules.push_back(allow({"socket"}, {{0, vsock_family, 0, "SCMP_CMP_NE"}}));
  bool admin = false;
  for (const auto& grant : with_capability) {
    auto number = capability_number(grant.capability);
    if (((capabilities >> static_cast<unsigned>(*number)) & 1U) == 0) continue;
    profile.rules.push_back(allow(words(grant.names)));
    admin |= grant.capability == "CAP_SYS_ADMIN";
  }
  if (!admin) {
    profile.rules.push_back(allow({"clone"}, {{0, namespace_flags, 0, "SCMP_CMP_MASKED_EQ"}}));
    // A filter cannot look into clone3's structure; ENOSYS makes C libraries fall back to clone.
    SeccompRule rule;
    rule.names = {"clone3"};
    rule.action = "SCMP_ACT_ERRNO";
    rule.errno_ret = ENOSYS;
    profile.rules.push_back(std::move(rule));
  }
  return profile;
}

}  // namespace skiff::sys
