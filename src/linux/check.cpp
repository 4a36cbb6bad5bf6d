#include "skiff/linux/check.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>

#include "skiff/linux/cgroup.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/linux/security.hpp"

namespace skiff::sys {
namespace {

// Runs `attempt` in a forked child, which may change its namespaces freely; 0 or an errno.
// Everything in the child is plain system calls: other threads may hold the allocator's lock.
template <class F>
int in_child(F attempt) {
  pid_t pid = ::fork();
  if (pid < 0) return errno;
  if (pid == 0) ::_exit(attempt() & 0xff);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return EFAULT;
  return WEXITSTATUS(status);
}

Finding finding(std::string what, int error, std::string good, std::string advice) {
  Finding f;
  f.what = std::move(what);
  f.ok = error == 0;
  f.detail = f.ok ? std::move(good) : std::string(error_text(error));
  if (!f.ok) f.advice = std::move(advice);
  return f;
}

Finding check_namespaces() {
  int error = in_child([] {
    int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    return ::unshare(flags | CLONE_NEWCGROUP) == 0 ? 0 : errno;
  });
  return finding("namespaces", error, "mount, pid, net, ipc, uts and cgroup namespaces can be made",
                 "pods cannot run: start skiff as root (or with CAP_SYS_ADMIN); inside another "
                 "container, make that one privileged");
}

Finding check_user_namespaces() {
  int error = in_child([] { return ::unshare(CLONE_NEWUSER) == 0 ? 0 : errno; });
  return finding("user namespaces", error, "can be made",
                 "pods with hostUsers: false cannot run; set sysctl user.max_user_namespaces "
                 "above 0 and kernel.unprivileged_userns_clone to 1 where it exists");
}

// In `directory`, in a mount namespace that ends with the child.
int try_overlay(const char* directory) {
  if (::unshare(CLONE_NEWNS) != 0) return errno;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  if (::chdir(directory) != 0) return errno;
  for (const char* dir : {"l", "u", "w", "m"}) {
    if (::mkdir(dir, 0755) != 0 && errno != EEXIST) return errno;
  }
  const char* options = "lowerdir=l,upperdir=u,workdir=w";
  if (::mount("overlay", "m", "overlay", 0, options) != 0) return errno;
  int fd = ::open("m/probe", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  return fd >= 0 ? 0 : errno;
}

int try_overlay_on_tmpfs() {
  if (::unshare(CLONE_NEWNS) != 0) return errno;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  if (::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) != 0) return errno;
  return try_overlay("/tmp");
}

Finding check_overlay() {
  return finding("overlayfs", in_child(try_overlay_on_tmpfs), "mounted and written to",
                 "each container gets a full copy of its image instead: slower starts, more disk; "
                 "load the overlay module, or use a data directory that overlayfs accepts");
}

// `ip netns exec` puts a fresh /sys over the one that shows the hierarchies. skiff mounts them
// elsewhere then; tried here in a mount namespace that ends with the child.
bool mountable_cgroups() {
  return in_child([] {
           if (::unshare(CLONE_NEWNS) != 0) return errno;
           if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
           if (::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) != 0) return errno;
           if (!mount_cgroup_hierarchies(real_system(), "/tmp/cgroup")) return EPERM;
           const auto seen = detect_cgroup_layout(real_system());
           const bool all = seen && seen->has("cpu") && seen->has("memory") && seen->has("pids");
           return all ? 0 : ENOENT;
         }) == 0;
}

Finding check_cgroups() {
  auto layout = detect_cgroup_layout(real_system());
  Finding f;
  f.what = "cgroups";
  if (!layout && mountable_cgroups()) {
    f.ok = true;
    f.detail = "not mounted here (inside ip netns exec?); skiff mounts them for itself";
    return f;
  }
  if (!layout) {
    f.detail = layout.error().message;
    f.advice = "resource limits and statistics are not available, and pods cannot run";
    return f;
  }
  std::string missing;
  for (const char* c : {"cpu", "memory", "pids"}) {
    if (!layout->has(c)) missing += std::string(missing.empty() ? "" : ", ") + c;
  }
  bool v1 = std::any_of(layout->hierarchies.begin(), layout->hierarchies.end(),
                        [](const auto& h) { return !h.unified; });
  f.detail = layout->unified() ? "version 2" : (v1 ? "version 1" : "hybrid");
  f.ok = missing.empty();
  if (!f.ok) {
    f.detail += ", without " + missing;
    f.advice = "limits on " + missing +
               " have no effect; enable the controllers (cgroup_enable=memory on the kernel's "
               "command line is what some boards need)";
    return f;
  }
  const auto& h = layout->hierarchies.front();
  std::string probe = h.mount_point + h.own_path + "/skiff-check-" + std::to_string(::getpid());
  int r = real_system().make_directory(probe.c_str(), 0755);
  if (r == 0) real_system().remove_directory(probe.c_str());
  if (r < 0) {
    f.ok = false;
    f.detail += ", not writable: " + std::string(error_text(r));
    f.advice = "pods cannot run: start skiff as root, or delegate a writable cgroup to it";
  }
  return f;
}

Finding check_seccomp() {
  int error = in_child([] {
    // An empty filter: allow everything.
    sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    sock_fprog program{1, &allow};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
    int r = real_system().load_seccomp(program, 0);
    return r < 0 ? -r : 0;
  });
  return finding("seccomp", error, "filters can be loaded",
                 "containers run without system-call filter; use a kernel with "
                 "CONFIG_SECCOMP_FILTER");
}

Finding check_nftables() {
  int error = in_child([] {
    int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0) return errno;
    // NFT_MSG_GETGEN (type 0x0a10): answered by any kernel with nf_tables.
    struct {
      nlmsghdr header;
      unsigned char family, version;
      unsigned short resource;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = 0x0a10;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    if (::send(fd, &request, sizeof request, 0) < 0) return errno;
    alignas(nlmsghdr) char reply[512];
    ssize_t n = ::recv(fd, reply, sizeof reply, 0);
    if (n < static_cast<ssize_t>(sizeof(nlmsghdr))) return EPROTO;
    auto* header = reinterpret_cast<const nlmsghdr*>(reply);
    if (header->nlmsg_type != NLMSG_ERROR) return 0;
    int status = 0;
    std::memcpy(&status, reply + sizeof(nlmsghdr), sizeof status);
    return -status;
  });
  return finding("nftables", error, "the kernel answers",
                 "services fall back to a userspace balancer and network policies have no effect; "
                 "load nf_tables and give skiff CAP_NET_ADMIN");
}

Finding check_forwarding() {
  std::string text;
  int r = real_system().read_file("/proc/sys/net/ipv4/ip_forward", text);
  bool on = r >= 0 && text.starts_with('1');
  // skiff switches it on itself where it may.
  bool may = on || ::access("/proc/sys/net/ipv4/ip_forward", W_OK) == 0;
  Finding f;
  f.what = "ip_forward";
  f.ok = may;
  f.detail = on ? "on" : (may ? "off; skiff switches it on" : "off and not writable");
  if (!may) f.advice = "pods reach nothing beyond their node: set sysctl net.ipv4.ip_forward=1";
  return f;
}

Finding check_mount_calls() {
  int error = in_child([] {
    int fd = real_system().open_tree(AT_FDCWD, "/proc", 1 /* OPEN_TREE_CLONE */);
    return fd < 0 ? -fd : 0;
  });
  return finding("mount descriptors", error, "open_tree works (Linux 5.12 or later is needed)",
                 "containers cannot be started: skiff needs Linux 5.12 or later and CAP_SYS_ADMIN");
}

Finding check_capabilities() {
  Finding f;
  f.what = "capabilities";
  CapabilitySet missing = default_capabilities() & ~bounding_capabilities();
  f.ok = missing == 0 && ::geteuid() == 0;
  f.detail = ::geteuid() == 0 ? "root" : "user " + std::to_string(::geteuid());
  for (int i = 0; i < 64; ++i) {
    if (((missing >> static_cast<unsigned>(i)) & 1U) != 0) {
      f.detail += ", without " + std::string(capability_name(i));
    }
  }
  if (!f.ok) {
    f.advice = ::geteuid() == 0 ? "containers run without those capabilities"
                                : "pods cannot run: start skiff as root";
  }
  return f;
}

}  // namespace

Result<void> probe_overlay(const std::string& directory) {
  std::string probe = directory + "/overlay-probe";
  std::error_code ignored;
  std::filesystem::remove_all(probe, ignored);
  if (::mkdir(probe.c_str(), 0700) != 0) return errno_error(errno, "making " + probe);
  int error = in_child([&probe] { return try_overlay(probe.c_str()); });
  std::filesystem::remove_all(probe, ignored);
  if (error) return errno_error(error, "mounting an overlay below " + directory);
  return {};
}

namespace {

// nf_tables' own numbers (linux/netfilter/nf_tables.h).
constexpr std::uint16_t kGetChain = 0x0a04;
constexpr std::uint16_t kChainTable = 1;
constexpr std::uint16_t kChainName = 3;
constexpr std::uint16_t kChainHook = 4;
constexpr std::uint16_t kChainPolicy = 5;
constexpr std::uint32_t kForwardHook = 2;
constexpr std::size_t kFamilyHeader = 4;

std::uint32_t big_endian(netlink::ByteView bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4 && i < bytes.size(); ++i) value = value << 8U | bytes[i];
  return value;
}

std::string text_of(netlink::ByteView bytes) {
  std::string out(bytes.begin(), bytes.end());
  out.resize(std::min(out.size(), out.find('\0')));
  return out;
}

// "table chain" when this is a chain of the forward hook that drops what nothing accepts.
std::string dropping_chain(const netlink::Message& message) {
  if (message.payload.size() < kFamilyHeader) return "";
  std::string table;
  std::string name;
  std::uint32_t hook = ~0U;
  std::uint32_t policy = 1;  // accept
  netlink::for_each_attribute(netlink::ByteView(message.payload).subspan(kFamilyHeader),
                              [&](std::uint16_t type, netlink::ByteView value) {
                                if (type == kChainTable) table = text_of(value);
                                if (type == kChainName) name = text_of(value);
                                if (type == kChainPolicy) policy = big_endian(value);
                                if (type != kChainHook) return;
                                netlink::for_each_attribute(
                                    value, [&](std::uint16_t inner, netlink::ByteView number) {
                                      if (inner == 1) hook = big_endian(number);
                                    });
                              });
  return hook == kForwardHook && policy == 0 ? table + " " + name : "";
}

}  // namespace

Finding check_firewall() {
  Finding f;
  f.what = "forwarded packets";
  f.ok = true;
  f.detail = "no rule of others drops them as a matter of course";
  auto socket = netlink::open_socket(netlink::Protocol::netfilter);
  if (!socket) return f;
  for (const std::uint8_t family : {std::uint8_t{1} /* inet */, std::uint8_t{2} /* ip */}) {
    netlink::Writer writer;
    writer.begin_message(kGetChain, NLM_F_REQUEST | NLM_F_DUMP);
    const std::array<std::uint8_t, kFamilyHeader> header{family, 0, 0, 0};
    writer.raw(header);
    writer.end_message();
    const auto reply = (*socket)->exchange(writer.bytes(), netlink::Until::done);
    if (!reply) continue;  // without nf_tables, or the right to look: said elsewhere
    for (const netlink::Message& message : reply->messages) {
      const std::string chain = dropping_chain(message);
      if (chain.empty() || !f.ok) continue;
      f.ok = false;
      f.detail = "the chain \"" + chain + "\" drops what no rule accepts";
      f.advice =
          "pods may reach nothing beyond their node, and node ports may not answer: accept traffic "
          "from and to the pods' addresses (10.42.0.0/16) and the bridge skiff0 there";
    }
  }
  return f;
}

std::vector<Finding> check_host() {
  return {check_capabilities(), check_namespaces(), check_user_namespaces(),
          check_mount_calls(),  check_overlay(),    check_cgroups(),
          check_seccomp(),      check_nftables(),   check_forwarding()};
}

}  // namespace skiff::sys
