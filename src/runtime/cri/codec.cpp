#include "codec.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

Value to_value(const StringMap& map) {
  Value out = Value::object();
  for (const auto& [k, v] : map) out.set(k, v);
  return out;
}

Value to_value(const std::vector<std::string>& list) {
  Value out = Value::array();
  for (const auto& s : list) out.push_back(s);
  return out;
}

StringMap string_map(const Value& v) {
  StringMap out;
  for (const auto& m : v.members()) out[std::string(m.name)] = m.value.as_string();
  return out;
}

std::vector<std::string> strings(const Value& v) {
  std::vector<std::string> out;
  for (const auto& item : v.items()) out.push_back(item.as_string());
  return out;
}

// Reads and writes one field list in both directions, so that the two cannot drift apart.
class Writer {
 public:
  explicit Writer(Value& out) : out_(out) {}
  void operator()(const char* name, const std::string& v) {
    if (!v.empty()) out_.set(name, v);
  }
  void operator()(const char* name, bool v) {
    if (v) out_.set(name, true);
  }
  template <class T>
  requires std::is_integral_v<T>
  void operator()(const char* name, T v) { out_.set(name, static_cast<std::int64_t>(v)); }
  void operator()(const char* name, const StringMap& v) {
    if (!v.empty()) out_.set(name, to_value(v));
  }
  void operator()(const char* name, const std::vector<std::string>& v) {
    if (!v.empty()) out_.set(name, to_value(v));
  }
  void operator()(const char* name, const std::optional<std::int64_t>& v) {
    if (v) out_.set(name, *v);
  }
  void operator()(const char* name, const std::optional<std::vector<std::string>>& v) {
    if (v) out_.set(name, to_value(*v));
  }

 private:
  Value& out_;
};

class Reader {
 public:
  explicit Reader(const Value& in) : in_(in) {}
  void operator()(const char* name, std::string& v) {
    if (auto* f = in_.find(name)) v = f->as_string();
  }
  void operator()(const char* name, bool& v) {
    if (auto* f = in_.find(name)) v = f->as_bool();
  }
  template <class T>
  requires std::is_integral_v<T>
  void operator()(const char* name, T& v) {
    if (auto* f = in_.find(name)) v = static_cast<T>(f->as_int());
  }
  void operator()(const char* name, StringMap& v) {
    if (auto* f = in_.find(name)) v = string_map(*f);
  }
  void operator()(const char* name, std::vector<std::string>& v) {
    if (auto* f = in_.find(name)) v = strings(*f);
  }
  void operator()(const char* name, std::optional<std::int64_t>& v) {
    if (auto* f = in_.find(name)) v = f->as_int();
  }
  void operator()(const char* name, std::optional<std::vector<std::string>>& v) {
    if (auto* f = in_.find(name)) v = strings(*f);
  }

 private:
  const Value& in_;
};

template <class Visit, class R>
void visit_resources(Visit&& f, R& r) {
  f("cpuShares", r.cpu_shares);
  f("cpuQuota", r.cpu_quota_us);
  f("cpuPeriod", r.cpu_period_us);
  f("memoryLimit", r.memory_limit_bytes);
  f("memoryRequest", r.memory_request_bytes);
  f("pidsLimit", r.pids_limit);
  f("oomScoreAdj", r.oom_score_adj);
}

template <class Visit, class C>
void visit_sandbox(Visit&& f, C& c) {
  f("name", c.name);
  f("namespace", c.name_space);
  f("uid", c.uid);
  f("attempt", c.attempt);
  f("labels", c.labels);
  f("annotations", c.annotations);
  f("hostname", c.hostname);
  f("logDirectory", c.log_directory);
  f("qosClass", c.qos_class);
  f("hostNetwork", c.host_network);
  f("hostPID", c.host_pid);
  f("hostIPC", c.host_ipc);
  f("shareProcessNamespace", c.share_process_namespace);
  f("sysctls", c.sysctls);
  f("shmSize", c.shm_size_bytes);
  f("runtimeHandler", c.runtime_handler);
}

template <class Visit, class I>
void visit_image(Visit&& f, I& i) {
  f("entrypoint", i.entrypoint);
  f("cmd", i.cmd);
  f("env", i.env);
  f("workingDir", i.working_dir);
  f("user", i.user);
  f("stopSignal", i.stop_signal);
  f("volumes", i.volumes);
}

template <class Visit, class C>
void visit_container(Visit&& f, C& c) {
  f("name", c.name);
  f("attempt", c.attempt);
  f("image", c.image);
  f("imageID", c.image_id);
  f("layers", c.rootfs.lower_dirs);
  f("labels", c.labels);
  f("annotations", c.annotations);
  f("command", c.command);
  f("args", c.args);
  f("workingDir", c.working_dir);
  f("logPath", c.log_path);
  f("logMaxBytes", c.log_max_bytes);
  f("logMaxFiles", c.log_max_files);
  f("stdin", c.stdin_open);
  f("stdinOnce", c.stdin_once);
  f("tty", c.tty);
  f("stopSignal", c.stop_signal);
  f("rlimits", c.rlimits);
}

template <class Visit, class S>
void visit_security(Visit&& f, S& s) {
  f("privileged", s.privileged);
  f("noNewPrivileges", s.no_new_privileges);
  f("readOnlyRoot", s.read_only_root);
  f("addCapabilities", s.add_capabilities);
  f("dropCapabilities", s.drop_capabilities);
  f("runAsUser", s.run_as_user);
  f("runAsGroup", s.run_as_group);
  f("runAsUsername", s.run_as_username);
  f("strictSupplementalGroups", s.strict_supplemental_groups);
  f("seccompProfile", s.seccomp.localhost_path);
  f("maskedPaths", s.masked_paths);
  f("readonlyPaths", s.readonly_paths);
}

template <class Visit, class M>
void visit_mount(Visit&& f, M& m) {
  f("containerPath", m.container_path);
  f("hostPath", m.host_path);
  f("subPath", m.sub_path);
  f("readOnly", m.read_only);
  f("recursiveReadOnly", m.recursive_read_only);
}

template <class Visit, class D>
void visit_device(Visit&& f, D& d) {
  f("hostPath", d.host_path);
  f("containerPath", d.container_path);
  f("permissions", d.permissions);
}

Value dns_value(const DnsConfig& dns) {
  Value out = Value::object();
  out.set("servers", to_value(dns.servers));
  out.set("searches", to_value(dns.searches));
  out.set("options", to_value(dns.options));
  return out;
}

}  // namespace

Value to_value(const Resources& resources) {
  Value out = Value::object();
  visit_resources(Writer(out), resources);
  return out;
}

Value to_value(const SandboxConfig& config) {
  Value out = Value::object();
  visit_sandbox(Writer(out), config);
  out.set("resources", to_value(config.resources));
  if (config.dns) out.set("dns", dns_value(*config.dns));
  return out;
}

SandboxConfig sandbox_config(const Value& v) {
  SandboxConfig c;
  visit_sandbox(Reader(v), c);
  visit_resources(Reader(v["resources"]), c.resources);
  if (const Value* dns = v.find("dns")) {
    c.dns = DnsConfig{strings((*dns)["servers"]), strings((*dns)["searches"]),
                      strings((*dns)["options"])};
  }
  return c;
}

Value to_value(const ContainerConfig& config) {
  Value out = Value::object();
  visit_container(Writer(out), config);
  out.set("resources", to_value(config.resources));
  Value& image = out.set("imageConfig", Value::object());
  visit_image(Writer(image), config.image_config);
  Value& security = out.set("security", Value::object());
  visit_security(Writer(security), config.security);
  security.set("seccompType", static_cast<int>(config.security.seccomp.type));
  Value& groups = security.set("supplementalGroups", Value::array());
  for (auto g : config.security.supplemental_groups) groups.push_back(g);
  Value& env = out.set("env", Value::array());
  for (const auto& [name, value] : config.env) {
    env.push_back(Value::object({{"name", name}, {"value", value}}));
  }
  Value& mounts = out.set("mounts", Value::array());
  for (const auto& m : config.mounts) {
    Value& item = mounts.push_back(Value::object());
    visit_mount(Writer(item), m);
    item.set("propagation", static_cast<int>(m.propagation));
  }
  Value& devices = out.set("devices", Value::array());
  for (const auto& d : config.devices) {
    Value& item = devices.push_back(Value::object());
    visit_device(Writer(item), d);
  }
  return out;
}

ContainerConfig container_config(const Value& v) {
  ContainerConfig c;
  visit_container(Reader(v), c);
  visit_resources(Reader(v["resources"]), c.resources);
  visit_image(Reader(v["imageConfig"]), c.image_config);
  const Value& security = v["security"];
  visit_security(Reader(security), c.security);
  c.security.seccomp.type = static_cast<SeccompType>(security["seccompType"].as_int());
  for (const auto& g : security["supplementalGroups"].items()) {
    c.security.supplemental_groups.push_back(g.as_int());
  }
  for (const auto& e : v["env"].items()) {
    c.env.emplace_back(e["name"].as_string(), e["value"].as_string());
  }
  for (const auto& item : v["mounts"].items()) {
    Mount& m = c.mounts.emplace_back();
    visit_mount(Reader(item), m);
    m.propagation = static_cast<Propagation>(item["propagation"].as_int());
  }
  for (const auto& item : v["devices"].items())
    visit_device(Reader(item), c.devices.emplace_back());
  return c;
}

}  // namespace skiff::runtime
