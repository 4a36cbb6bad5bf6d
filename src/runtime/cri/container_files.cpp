#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "../spec/oci_config.hpp"
#include "../spec/seccomp_json.hpp"
#include "codec.hpp"
#include "files.hpp"
#include "skiff/linux/security.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

std::vector<sys::DeviceRule> device_rules(const Value& config) {
  std::vector<sys::DeviceRule> rules;
  for (const auto& item : config["linux"]["resources"]["devices"].items()) {
    sys::DeviceRule rule;
    rule.allow = item["allow"].as_bool();
    rule.type = item["type"].as_string_or("a").front();
    rule.major = item["major"].as_int(-1);
    rule.minor = item["minor"].as_int(-1);
    rule.access = item["access"].as_string_or("rwm");
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<Value> seccomp_section(const ContainerStart& s) {
  const SecurityContext& security = s.config.security;
  if (security.privileged || security.seccomp.type == SeccompType::unconfined) return Value();
  sys::CapabilitySet capabilities = 0;
  SKIFF_TRY(capabilities,
            sys::adjust_capabilities(sys::default_capabilities(), security.add_capabilities,
                                     security.drop_capabilities));
  if (security.seccomp.type == SeccompType::runtime_default) {
    return seccomp_to_json(sys::default_seccomp_profile(capabilities));
  }
  std::string path = security.seccomp.localhost_path;
  if (!path.starts_with('/')) path = s.seccomp_root + "/" + path;
  auto text = read_text(path);
  if (!text) return annotate(text.error(), "cannot load seccomp profile");
  auto json = api::parse_json(*text);
  if (!json) return annotate(json.error(), "cannot load seccomp profile " + path);
  SKIFF_TRY(auto profile, seccomp_from_json(*json, capabilities));
  return seccomp_to_json(profile);
}

Result<std::vector<HostDevice>> devices(const ContainerConfig& c) {
  if (c.security.privileged) return all_host_devices();
  std::vector<HostDevice> out;
  for (const auto& d : c.devices) {
    SKIFF_TRY(auto found, find_device(d));
    out.push_back(std::move(found));
  }
  return out;
}

RootSource root_source(const ContainerStart& s) {
  RootSource root;
  std::string layer = s.layout.layer(s.id);
  if (!s.overlay || s.config.rootfs.lower_dirs.empty()) {
    root.path = layer + "/rootfs";
    return root;
  }
  root.path = s.layout.container(s.sandbox_id, s.id) + "/rootfs";
  root.lower_dirs = s.config.rootfs.lower_dirs;
  root.upper_dir = layer + "/upper";
  root.work_dir = layer + "/work";
  return root;
}

LaunchContext launch_context(const ContainerStart& s) {
  LaunchContext context;
  context.container_id = s.id;
  context.bundle = s.layout.container(s.sandbox_id, s.id);
  context.root = root_source(s);
  std::string group = container_group(s.sandbox, s.id);
  context.cgroup = s.cgroups->entry(group);
  context.cgroup_directories = s.cgroups->directories(group);
  return context;
}

Result<void> make_root(const ContainerStart& s) {
  RootSource root = root_source(s);
  SKIFF_CHECK(make_directories(root.path));
  if (root.lower_dirs.empty()) return copy_layers(s.config.rootfs.lower_dirs, root.path);
  SKIFF_CHECK(make_directories(root.upper_dir));
  SKIFF_CHECK(make_directories(root.work_dir));
  // The overlay's top directory has the upper one's owner and mode: make it the image's.
  struct stat st;
  const std::string& top = root.lower_dirs.back();
  if (::stat(top.c_str(), &st) != 0) return errno_error(errno, "image layer " + top);
  if (::chown(root.upper_dir.c_str(), st.st_uid, st.st_gid) != 0 ||
      ::chmod(root.upper_dir.c_str(), st.st_mode & 07777U) != 0) {
    return errno_error(errno, "preparing " + root.upper_dir);
  }
  return {};
}

Result<void> make_cgroup(const ContainerStart& s, const Value& config) {
  std::string group = container_group(s.sandbox, s.id);
  SKIFF_CHECK(s.cgroups->create(group));
  SKIFF_CHECK(s.cgroups->set_limits(group, cgroup_limits(s.config.resources)));
  return s.cgroups->set_devices(group, device_rules(config));
}

std::string pod_hostname(const ContainerStart& s) {
  auto text = read_text(s.layout.sandbox(s.sandbox_id) + "/hostname");
  std::string name = text ? *text : s.sandbox.hostname;
  while (name.ends_with('\n')) name.pop_back();
  return name;
}

Result<PreparedContainer> prepare_steps(const ContainerStart& s, const std::string& dir) {
  OciInputs in;
  in.sandbox = &s.sandbox;
  in.container = &s.config;
  in.container_id = s.id;
  in.sandbox_dir = s.layout.sandbox(s.sandbox_id);
  in.netns_path = s.layout.netns(s.sandbox_id);
  in.shim_pid = s.shim_pid;
  in.pause_pid = s.pause_pid;
  in.hostname = pod_hostname(s);
  in.cgroups_path = "/" + container_group(s.sandbox, s.id);
  const auto& layers = s.config.rootfs.lower_dirs;
  SKIFF_TRY(in.user,
            resolve_user(s.config.security, s.config.image_config.user,
                         read_layered(layers, "/etc/passwd"), read_layered(layers, "/etc/group")));
  LaunchContext context = launch_context(s);
  SKIFF_TRY(in.mounts, resolve_mounts(s.config.mounts, context.canonical_sources));
  SKIFF_TRY(in.devices, devices(s.config));
  SKIFF_TRY(in.seccomp, seccomp_section(s));
  SKIFF_TRY(Value config, make_oci_config(in));

  SKIFF_CHECK(make_directories(dir, 0711));
  if (!s.config.log_path.empty()) {
    std::string log = s.sandbox.log_directory + "/" + s.config.log_path;
    SKIFF_CHECK(make_directories(log.substr(0, log.rfind('/'))));
  }
  SKIFF_CHECK(make_root(s));
  SKIFF_CHECK(write_text(dir + "/config.json", api::to_json(config)));
  SKIFF_CHECK(make_cgroup(s, config));
  PreparedContainer out;
  SKIFF_TRY(out.plan, s.executor->launch(config, context));
  out.user = in.user.uid;
  out.group = in.user.gid;
  out.groups = in.user.groups;

  // Last: a container without this file was never whole, and recover() removes it.
  Value record = Value::object();
  record.set("id", s.id);
  record.set("createdAt", format_micro_time(s.created_at));
  record.set("user", out.user);
  record.set("group", out.group);
  Value& groups = record.set("groups", Value::array());
  for (auto g : out.groups) groups.push_back(g);
  Value& canonical = record.set("canonicalSources", Value::array());
  for (const auto& source : context.canonical_sources) canonical.push_back(source);
  record.set("overlay", s.overlay);
  record.set("config", to_value(s.config));
  SKIFF_CHECK(write_text(dir + "/container.json", api::to_json(record)));
  return out;
}

Result<Value> load_json(const std::string& path) {
  SKIFF_TRY(std::string text, read_text(path));
  auto json = api::parse_json(text);
  if (!json) return annotate(json.error(), path);
  return std::move(*json);
}

}  // namespace

Result<PreparedContainer> prepare_container(const ContainerStart& s) {
  auto prepared = prepare_steps(s, s.layout.container(s.sandbox_id, s.id));
  if (!prepared) {
    (void)remove_container_files(s.layout, s.sandbox, s.sandbox_id, s.id, *s.cgroups);
  }
  return prepared;
}

Result<LaunchPlan> load_plan(const ContainerStart& s) {
  std::string dir = s.layout.container(s.sandbox_id, s.id);
  SKIFF_TRY(Value config, load_json(dir + "/config.json"));
  SKIFF_TRY(Value record, load_json(dir + "/container.json"));
  LaunchContext context = launch_context(s);
  for (const auto& source : record["canonicalSources"].items()) {
    context.canonical_sources.push_back(source.as_string());
  }
  return s.executor->launch(config, context);
}

Result<LaunchPlan> exec_plan(const ContainerStart& s, const std::vector<std::string>& command,
                             bool tty) {
  SKIFF_TRY(Value config, load_json(s.layout.container(s.sandbox_id, s.id) + "/config.json"));
  return s.executor->exec(config, make_exec_process(config, command, tty), launch_context(s));
}

Result<void> remove_container_files(const Layout& layout, const SandboxConfig& sandbox,
                                    const std::string& sandbox_id, const std::string& id,
                                    sys::Cgroups& cgroups) {
  std::string dir = layout.container(sandbox_id, id);
  // From here on it is no container: should we be interrupted, recover() goes on removing.
  if (::unlink((dir + "/container.json").c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
    return errno_error(errno, "removing " + dir + "/container.json");
  }
  std::string group = container_group(sandbox, id);
  SKIFF_CHECK(cgroups.kill(group));
  SKIFF_CHECK(cgroups.remove(group));
  SKIFF_CHECK(remove_all(layout.layer(id)));
  return remove_all(dir);
}

}  // namespace skiff::runtime
