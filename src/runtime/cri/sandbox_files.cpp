#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "../protocol.hpp"
#include "../steps.hpp"
#include "codec.hpp"
#include "files.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

// A shim is small; it is to be the last thing the kernel kills for memory.
constexpr std::int64_t shim_oom_score_adj = -998;
constexpr mode_t private_mode = 0700;

std::string resolv_conf(const DnsConfig& dns) {
  std::string text;
  auto line = [&text](const char* keyword, const std::vector<std::string>& words) {
    if (words.empty()) return;
    text += keyword;
    for (const auto& w : words) text += " " + w;
    text += "\n";
  };
  line("search", dns.searches);
  for (const auto& server : dns.servers) text += "nameserver " + server + "\n";
  line("options", dns.options);
  return text;
}

constexpr const char* default_hosts =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::string host_file(const char* path) {
  auto text = read_text(path);
  return text ? *text : std::string();
}

Result<void> write_pod_files(const SandboxStart& s, const std::string& dir) {
  SKIFF_CHECK(write_text(dir + "/resolv.conf", s.config.dns ? resolv_conf(*s.config.dns)
                                                            : host_file("/etc/resolv.conf")));
  std::string name = s.config.hostname.empty() ? host_name() : s.config.hostname;
  SKIFF_CHECK(write_text(dir + "/hostname", name + "\n"));
  return write_text(dir + "/hosts",
                    s.config.host_network ? host_file("/etc/hosts") : std::string(default_hosts));
}

// What engines set for pods of their own network: any port and ping without privilege. A pod's
// own settings come later and win.
constexpr std::pair<const char*, const char*> pod_network_sysctls[] = {
    {"net/ipv4/ip_unprivileged_port_start", "0"},
    {"net/ipv4/ping_group_range", "0 2147483647"},
};

std::string shim_plan(const SandboxStart& s) {
  StepWriter steps;
  auto entry = s.cgroups->entry(shims_group);
  for (const auto& file : entry.task_files) steps.begin(Step::join_cgroup).text(file);
  steps.begin(Step::oom_score_adj).number(static_cast<std::uint64_t>(shim_oom_score_adj));
  std::uint64_t flags = 0;
  if (!s.config.host_network) flags |= CLONE_NEWNET | CLONE_NEWUTS;
  if (!s.config.host_ipc) flags |= CLONE_NEWIPC;
  if (flags) steps.begin(Step::unshare).number(flags);
  if (!s.config.host_network) {
    if (!s.config.hostname.empty()) steps.begin(Step::hostname).text(s.config.hostname);
    steps.begin(Step::loopback);
    steps.begin(Step::pin).text("/proc/self/ns/net").text(s.layout.netns(s.id));
    for (const auto& [name, value] : pod_network_sysctls) {
      steps.begin(Step::write).text(std::string("/proc/sys/") + name).text(value);
    }
  }
  for (const auto& [name, value] : s.config.sysctls) {
    std::string path = name;
    std::replace(path.begin(), path.end(), '.', '/');
    steps.begin(Step::write).text("/proc/sys/" + path).text(value);
  }
  protocol::Frame frame(protocol::Type::hello, 0);
  frame.put(protocol::Tag::steps, steps.finish());
  const bool share = s.config.share_process_namespace && !s.config.host_pid;
  frame.put(protocol::Tag::flags, static_cast<std::uint64_t>(share ? 1 : 0));
  return frame.finish();
}

// Starts the shim and waits until it is ready. What it says on standard error is the error.
Result<void> launch_shim(const SandboxStart& s, const std::string& dir) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) < 0) return errno_error(errno, "pipe");
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  std::vector<std::string> argv = s.shim_command;
  argv.push_back(dir);
  const int stdio[3] = {null, null, pipe[1]};
  auto pid = sys::spawn_self(argv, stdio, s.cgroups->entry(shims_group).unified_directory);
  ::close(pipe[1]);
  ::close(null);
  std::string complaint;
  if (pid) {
    char buffer[512];
    ssize_t n = 0;
    while ((n = ::read(pipe[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR)) {
      if (n > 0) complaint.append(buffer, static_cast<std::size_t>(n));
    }
  }
  ::close(pipe[0]);
  if (!pid) return pid.error();
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (complaint.ends_with('\n')) complaint.pop_back();
  if (complaint.empty()) {
    complaint = WIFSIGNALED(status)
                    ? "the shim was killed by " + sys::signal_name(WTERMSIG(status))
                    : "the shim ended with code " + std::to_string(WEXITSTATUS(status));
  }
  bool privilege = complaint.find("not permitted") != std::string::npos;
  return Error{privilege ? Code::forbidden : Code::internal, "starting the pod: " + complaint};
}

Result<void> mount_shm(const SandboxStart& s, const std::string& dir) {
  std::string shm = dir + "/shm";
  SKIFF_CHECK(make_directories(shm, 01777));
  std::string options = "mode=1777,size=" + std::to_string(s.config.shm_size_bytes);
  int r = sys::real_system().mount("shm", shm.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                                   options.c_str());
  if (r < 0) return errno_error(-r, "mounting the pod's /dev/shm");
  return {};
}

Result<void> start_steps(const SandboxStart& s, const std::string& dir) {
  SKIFF_CHECK(make_directories(dir, private_mode));
  // Containers' users reach their own files by bind mounts, never by this path.
  SKIFF_CHECK(make_directories(s.layout.containers(s.id), private_mode));
  SKIFF_CHECK(make_directories(dir + "/empty", 0555));
  SKIFF_CHECK(make_directories(s.layout.namespaces(), 0755));
  Value record = Value::object();
  record.set("id", s.id);
  record.set("createdAt", format_micro_time(s.created_at));
  record.set("config", to_value(s.config));
  SKIFF_CHECK(write_text(dir + "/sandbox.json", api::to_json(record)));
  SKIFF_CHECK(write_pod_files(s, dir));
  SKIFF_CHECK(s.cgroups->create(shims_group));
  SKIFF_CHECK(s.cgroups->create(pod_group(s.config)));
  SKIFF_CHECK(s.cgroups->set_limits(pod_group(s.config), cgroup_limits(s.config.resources)));
  if (!s.config.host_ipc) SKIFF_CHECK(mount_shm(s, dir));
  SKIFF_CHECK(write_text(dir + "/shim.plan", shim_plan(s)));
  return launch_shim(s, dir);
}

}  // namespace

Result<void> start_sandbox(const SandboxStart& s) {
  std::string dir = s.layout.sandbox(s.id);
  auto started = start_steps(s, dir);
  if (started) return {};
  (void)release_sandbox(s.layout, s.config, s.id, {}, *s.cgroups);
  (void)remove_all(dir);
  return started.error();
}

Result<void> release_sandbox(const Layout& layout, const SandboxConfig& config,
                             const std::string& id, const std::vector<std::string>& containers,
                             sys::Cgroups& cgroups) {
  for (const auto& c : containers) SKIFF_CHECK(cgroups.kill(container_group(config, c)));
  SKIFF_CHECK(sys::unpin_namespace(layout.netns(id)));
  std::string shm = layout.sandbox(id) + "/shm";
  int r = sys::real_system().unmount(shm.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  if (r < 0 && r != -EINVAL && r != -ENOENT) return errno_error(-r, "unmounting " + shm);
  return {};
}

}  // namespace skiff::runtime
