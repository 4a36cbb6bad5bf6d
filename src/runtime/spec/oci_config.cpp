#include "oci_config.hpp"

#include <sys/stat.h>

#include "skiff/linux/security.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

Value strings(const std::vector<std::string>& list) {
  Value out = Value::array();
  for (const auto& s : list) out.push_back(s);
  return out;
}

Value strings(std::initializer_list<const char*> list) {
  Value out = Value::array();
  for (const char* s : list) out.push_back(s);
  return out;
}

// What a container must not see or change of the host's kernel; the lists engines agree on.
const std::vector<std::string>& default_masked_paths() {
  static const std::vector<std::string> paths = {"/proc/acpi",
                                                 "/proc/asound",
                                                 "/proc/interrupts",
                                                 "/proc/kcore",
                                                 "/proc/keys",
                                                 "/proc/latency_stats",
                                                 "/proc/timer_list",
                                                 "/proc/timer_stats",
                                                 "/proc/sched_debug",
                                                 "/proc/scsi",
                                                 "/sys/firmware",
                                                 "/sys/devices/virtual/powercap",
                                                 "/sys/devices/system/cpu/cpu0/thermal_throttle"};
  return paths;
}

const std::vector<std::string>& default_readonly_paths() {
  static const std::vector<std::string> paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                 "/proc/sysrq-trigger"};
  return paths;
}

void set_env(std::vector<std::string>& env, const std::string& name, const std::string& value,
             bool replace = true) {
  for (auto& entry : env) {
    if (!entry.starts_with(name + "=")) continue;
    if (replace) entry = name + "=" + value;
    return;
  }
  env.push_back(name + "=" + value);
}

std::vector<std::string> environment(const OciInputs& in) {
  const auto& c = *in.container;
  std::vector<std::string> env;
  set_env(env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  set_env(env, "HOSTNAME", in.hostname);
  if (c.tty) set_env(env, "TERM", "xterm");
  for (const auto& entry : c.image_config.env) {
    auto equals = entry.find('=');
    if (equals == std::string::npos) continue;
    set_env(env, entry.substr(0, equals), entry.substr(equals + 1));
  }
  for (const auto& [name, value] : c.env) set_env(env, name, value);
  set_env(env, "HOME", in.user.home, false);
  return env;
}

Value capability_names(sys::CapabilitySet set) {
  Value out = Value::array();
  for (int i = 0; i < 64; ++i) {
    if (((set >> static_cast<unsigned>(i)) & 1U) == 0) continue;
    if (auto name = sys::capability_name(i); !name.empty()) out.push_back(name);
  }
  return out;
}

Result<Value> capabilities(const SecurityContext& security) {
  sys::CapabilitySet set = sys::all_capabilities();
  if (!security.privileged) {
    SKIFF_TRY(set, sys::adjust_capabilities(sys::default_capabilities(), security.add_capabilities,
                                            security.drop_capabilities));
  }
  set &= sys::bounding_capabilities();  // nobody can give what it does not have
  Value names = capability_names(set);
  return Value::object({{"bounding", names}, {"effective", names}, {"permitted", names}});
}

Result<Value> rlimits(const StringMap& limits) {
  Value out = Value::array();
  for (const auto& [name, value] : limits) {
    auto colon = value.find(':');
    auto number = [](std::string_view text) -> std::optional<std::int64_t> {
      if (text == "unlimited" || text == "-1") return -1;
      std::int64_t n = 0;
      auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
      if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
      return n;
    };
    auto soft = number(std::string_view(value).substr(0, colon));
    auto hard =
        colon == std::string::npos ? soft : number(std::string_view(value).substr(colon + 1));
    if (!soft || !hard) {
      return Error{Code::invalid, "rlimit " + name + ": \"" + value + "\" is not SOFT:HARD"};
    }
    out.push_back(Value::object({{"type", name}, {"soft", *soft}, {"hard", *hard}}));
  }
  return out;
}

Result<Value> process(const OciInputs& in) {
  const auto& c = *in.container;
  Value user = Value::object({{"uid", in.user.uid}, {"gid", in.user.gid}});
  Value& groups = user.set("additionalGids", Value::array());
  for (auto g : in.user.groups) groups.push_back(g);
  SKIFF_TRY(auto command, effective_command(c));
  std::string cwd = !c.working_dir.empty() ? c.working_dir : c.image_config.working_dir;
  if (!cwd.starts_with('/')) cwd.insert(0, "/");
  SKIFF_TRY(Value caps, capabilities(c.security));
  SKIFF_TRY(Value limits, rlimits(c.rlimits));
  Value out = Value::object();
  if (c.tty) out.set("terminal", true);
  out.set("user", std::move(user));
  out.set("args", strings(command));
  out.set("env", strings(environment(in)));
  out.set("cwd", cwd);
  out.set("capabilities", std::move(caps));
  if (!limits.empty()) out.set("rlimits", std::move(limits));
  out.set("noNewPrivileges", c.security.no_new_privileges && !c.security.privileged);
  out.set("oomScoreAdj", c.resources.oom_score_adj);
  return out;
}

Value mount(std::string_view target, std::string_view type, std::string_view source,
            Value options) {
  return Value::object({{"destination", target},
                        {"type", type},
                        {"source", source},
                        {"options", std::move(options)}});
}

Value bind_mount(const Mount& m) {
  Value options = strings({"rbind"});
  switch (m.propagation) {
    case Propagation::none:
      options.push_back("rprivate");
      break;
    case Propagation::host_to_container:
      options.push_back("rslave");
      break;
    case Propagation::bidirectional:
      options.push_back("rshared");
      break;
  }
  if (m.recursive_read_only) {
    options.push_back("rro");
  } else {
    options.push_back(m.read_only ? "ro" : "rw");
  }
  return mount(m.container_path, "bind", m.host_path, std::move(options));
}

std::ptrdiff_t depth(const std::string& path) {
  return std::count(path.begin(), path.end(), '/') - (path.ends_with('/') ? 1 : 0);
}

void add_system_mounts(const OciInputs& in, Value& out) {
  const bool privileged = in.container->security.privileged;
  const char* access = privileged ? "rw" : "ro";
  out.push_back(mount("/proc", "proc", "proc", strings({"nosuid", "noexec", "nodev"})));
  out.push_back(mount("/dev", "tmpfs", "tmpfs",
                      strings({"nosuid", "strictatime", "mode=755", "size=65536k"})));
  out.push_back(
      mount("/dev/pts", "devpts", "devpts",
            strings({"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"})));
  out.push_back(mount("/dev/mqueue", "mqueue", "mqueue", strings({"nosuid", "noexec", "nodev"})));
  out.push_back(mount("/sys", "sysfs", "sysfs", strings({"nosuid", "noexec", "nodev", access})));
  out.push_back(mount("/sys/fs/cgroup", "cgroup", "cgroup",
                      strings({"nosuid", "noexec", "nodev", "relatime", access})));
}

// What the pod's containers share, unless the container brings its own.
void add_pod_mounts(const OciInputs& in, std::vector<Mount>& mounts) {
  auto add = [&](const char* target, std::string source, bool read_only) {
    bool own = std::any_of(mounts.begin(), mounts.end(),
                           [&](const Mount& m) { return m.container_path == target; });
    if (own) return;
    Mount m;
    m.container_path = target;
    m.host_path = std::move(source);
    m.read_only = read_only;
    mounts.push_back(std::move(m));
  };
  const bool ro = in.container->security.read_only_root;
  add("/dev/shm", in.sandbox->host_ipc ? "/dev/shm" : in.sandbox_dir + "/shm", false);
  add("/etc/hostname", in.sandbox_dir + "/hostname", ro);
  add("/etc/hosts", in.sandbox_dir + "/hosts", ro);
  add("/etc/resolv.conf", in.sandbox_dir + "/resolv.conf", ro);
}

Value all_mounts(const OciInputs& in) {
  Value out = Value::array();
  add_system_mounts(in, out);
  std::vector<Mount> mounts = in.mounts;
  add_pod_mounts(in, mounts);
  // A mount below another one comes after it.
  std::stable_sort(mounts.begin(), mounts.end(), [](const Mount& a, const Mount& b) {
    return depth(a.container_path) < depth(b.container_path);
  });
  // A volume at one of the system's own places takes that place.
  auto& list = out.mutable_items();
  std::erase_if(list, [&](const Value& item) {
    return std::any_of(mounts.begin(), mounts.end(), [&](const Mount& m) {
      return m.container_path == item["destination"].as_string();
    });
  });
  for (const auto& m : mounts) out.push_back(bind_mount(m));
  return out;
}

Value namespaces(const OciInputs& in) {
  Value out = Value::array();
  auto add = [&out](std::string_view type, std::string path = "") {
    Value& item = out.push_back(Value::object({{"type", type}}));
    if (!path.empty()) item.set("path", std::move(path));
  };
  auto held_by = [](int pid, const char* name) {
    return "/proc/" + std::to_string(pid) + "/ns/" + name;
  };
  add("mount");
  add("cgroup");
  if (in.pause_pid > 0) {
    add("pid", held_by(in.pause_pid, "pid"));
  } else if (!in.sandbox->host_pid) {
    add("pid");
  }
  // What has no entry is the shim's, which is the host's for a pod that asked for it.
  if (!in.sandbox->host_ipc) add("ipc", held_by(in.shim_pid, "ipc"));
  if (!in.sandbox->host_network) {
    add("uts", held_by(in.shim_pid, "uts"));
    add("network", in.netns_path);
  }
  return out;
}

Value device_rule(bool allow, std::string_view type, std::int64_t major, std::int64_t minor,
                  std::string_view access) {
  Value rule = Value::object({{"allow", allow}});
  if (type != "a") rule.set("type", type);
  if (major >= 0) rule.set("major", major);
  if (minor >= 0) rule.set("minor", minor);
  rule.set("access", access);
  return rule;
}

Value device_rules(const OciInputs& in) {
  Value out = Value::array();
  if (in.container->security.privileged) {
    out.push_back(device_rule(true, "a", -1, -1, "rwm"));
    return out;
  }
  out.push_back(device_rule(false, "a", -1, -1, "rwm"));
  out.push_back(device_rule(true, "c", -1, -1, "m"));  // nodes may be made, not opened
  out.push_back(device_rule(true, "b", -1, -1, "m"));
  constexpr std::pair<int, int> standard[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},
                                              {1, 9}, {5, 0}, {5, 2}, {136, -1}};
  for (auto [major, minor] : standard) {
    out.push_back(device_rule(true, "c", major, minor, "rwm"));
  }
  for (const auto& d : in.devices) {
    out.push_back(device_rule(true, std::string(1, d.type), d.major, d.minor, d.access));
  }
  return out;
}

Value resources(const OciInputs& in) {
  const Resources& r = in.container->resources;
  Value out = Value::object({{"devices", device_rules(in)}});
  if (r.memory_limit_bytes) out.set("memory", Value::object({{"limit", r.memory_limit_bytes}}));
  Value cpu = Value::object();
  if (r.cpu_shares) cpu.set("shares", static_cast<std::int64_t>(r.cpu_shares));
  if (r.cpu_quota_us) {
    cpu.set("quota", r.cpu_quota_us);
    cpu.set("period", static_cast<std::int64_t>(r.cpu_period_us));
  }
  if (!cpu.empty()) out.set("cpu", std::move(cpu));
  if (r.pids_limit) out.set("pids", Value::object({{"limit", r.pids_limit}}));
  return out;
}

Value linux_section(const OciInputs& in) {
  const SecurityContext& security = in.container->security;
  Value out = Value::object();
  out.set("namespaces", namespaces(in));
  out.set("cgroupsPath", in.cgroups_path);
  out.set("resources", resources(in));
  Value devices = Value::array();
  for (const auto& d : in.devices) {
    devices.push_back(Value::object({{"path", d.path},
                                     {"type", std::string(1, d.type)},
                                     {"major", d.major},
                                     {"minor", d.minor},
                                     {"fileMode", static_cast<std::int64_t>(d.mode)},
                                     {"uid", d.uid},
                                     {"gid", d.gid}}));
  }
  if (!devices.empty()) out.set("devices", std::move(devices));
  if (!in.seccomp.is_null()) out.set("seccomp", in.seccomp);
  if (!security.privileged) {
    out.set("maskedPaths", strings(security.masked_paths.value_or(default_masked_paths())));
    out.set("readonlyPaths", strings(security.readonly_paths.value_or(default_readonly_paths())));
  }
  return out;
}

}  // namespace

Result<std::vector<std::string>> effective_command(const ContainerConfig& c) {
  std::vector<std::string> out = !c.command.empty() ? c.command : c.image_config.entrypoint;
  const auto& args = !c.args.empty() || !c.command.empty() ? c.args : c.image_config.cmd;
  out.insert(out.end(), args.begin(), args.end());
  if (out.empty()) {
    return Error{Code::invalid,
                 "no command specified: neither the container nor its image names one"};
  }
  return out;
}

Result<Value> make_oci_config(const OciInputs& in) {
  SKIFF_TRY(Value process_object, process(in));
  Value out = Value::object();
  out.set("ociVersion", "1.0.2");
  out.set("process", std::move(process_object));
  out.set("root",
          Value::object({{"path", "rootfs"}, {"readonly", in.container->security.read_only_root}}));
  out.set("mounts", all_mounts(in));
  out.set("linux", linux_section(in));
  out.set("annotations",
          Value::object({{"io.kubernetes.cri.container-type", "container"},
                         {"io.kubernetes.cri.container-name", in.container->name},
                         {"io.kubernetes.cri.sandbox-name", in.sandbox->name},
                         {"io.kubernetes.cri.sandbox-namespace", in.sandbox->name_space},
                         {"io.kubernetes.cri.sandbox-uid", in.sandbox->uid}}));
  return out;
}

Value make_exec_process(const Value& config, const std::vector<std::string>& command, bool tty) {
  Value out = config["process"];
  out.set("args", strings(command));
  out.set("terminal", tty);
  if (!tty) return out;
  Value& env = out.member("env");
  bool has_term = std::any_of(env.items().begin(), env.items().end(),
                              [](const Value& v) { return v.as_string().starts_with("TERM="); });
  if (!has_term) env.push_back("TERM=xterm");
  return out;
}

}  // namespace skiff::runtime
