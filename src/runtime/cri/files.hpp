// What sandboxes and containers have on disk. Everything here blocks; it runs in env.blocking and
// touches no state of the loop.
#pragma once

#include <string>
#include <vector>

#include "skiff/api/value.hpp"
#include "skiff/linux/cgroup.hpp"
#include "skiff/runtime/executor.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::runtime {

struct Layout {
  std::string state_dir;
  std::string data_dir;

  std::string sandboxes() const { return state_dir + "/sandboxes"; }
  std::string sandbox(const std::string& id) const { return sandboxes() + "/" + id; }
  std::string containers(const std::string& sandbox_id) const {
    return sandbox(sandbox_id) + "/containers";
  }
  std::string container(const std::string& sandbox_id, const std::string& id) const {
    return containers(sandbox_id) + "/" + id;
  }
  std::string namespaces() const { return state_dir + "/netns"; }
  std::string netns(const std::string& id) const { return namespaces() + "/" + id; }
  std::string layers() const { return data_dir + "/containers"; }
  std::string layer(const std::string& container_id) const { return layers() + "/" + container_id; }
};

// Control groups, below the Cgroups' parent.
inline constexpr const char* shims_group = "shims";
std::string pod_group(const SandboxConfig& config);
std::string container_group(const SandboxConfig& config, const std::string& container_id);

Result<std::string> read_text(const std::string& path, std::size_t limit = 4U << 20U);
// Whole or not at all, as other processes see it; not synced: nothing of it outlives a power loss.
Result<void> write_text(const std::string& path, std::string_view text);
Result<void> make_directories(const std::string& path, unsigned mode = 0755);
Result<void> remove_all(const std::string& path);
std::uint64_t disk_usage(const std::string& path);

sys::CgroupLimits cgroup_limits(const Resources& r);

// A sandbox's birth: files, control groups, shm, and the shim, which makes the namespaces.
struct SandboxStart {
  Layout layout;
  SandboxConfig config;
  std::string id;
  WallTime created_at;
  std::vector<std::string> shim_command;
  sys::Cgroups* cgroups = nullptr;
};
Result<void> start_sandbox(const SandboxStart& start);
// Undoes what lives outside the sandbox's directory once the shim is gone: kills what is left in
// the containers' groups, unpins the namespace, unmounts shm. Any number of times.
Result<void> release_sandbox(const Layout& layout, const SandboxConfig& config,
                             const std::string& id, const std::vector<std::string>& containers,
                             sys::Cgroups& cgroups);

// A container's bundle, writable layer and control group.
struct ContainerStart {
  Layout layout;
  SandboxConfig sandbox;
  std::string sandbox_id;
  int shim_pid = 0;
  int pause_pid = 0;
  ContainerConfig config;
  std::string id;
  WallTime created_at;
  bool overlay = true;
  std::string seccomp_root;
  sys::Cgroups* cgroups = nullptr;
  OciExecutor* executor = nullptr;
};
struct PreparedContainer {
  LaunchPlan plan;
  std::int64_t user = 0, group = 0;
  std::vector<std::int64_t> groups;
};
Result<PreparedContainer> prepare_container(const ContainerStart& start);
// The plan again, from the bundle: after a restart between create and start.
Result<LaunchPlan> load_plan(const ContainerStart& start);
Result<LaunchPlan> exec_plan(const ContainerStart& start, const std::vector<std::string>& command,
                             bool tty);
// Any number of times.
Result<void> remove_container_files(const Layout& layout, const SandboxConfig& sandbox,
                                    const std::string& sandbox_id, const std::string& id,
                                    sys::Cgroups& cgroups);

// Host paths of mounts made final: sub paths resolved inside their volumes (and made when missing),
// missing directories made. `canonical` receives the sources that hold no symbolic link.
Result<std::vector<Mount>> resolve_mounts(const std::vector<Mount>& mounts,
                                          std::vector<std::string>& canonical);

// Copies layers on top of each other into `target`, whiteouts applied: where overlayfs is refused.
Result<void> copy_layers(const std::vector<std::string>& lower_dirs, const std::string& target);

// The exit record a shim leaves.
struct ExitRecord {
  int pid = 0;
  std::int64_t started_at = 0;
  std::int64_t finished_at = 0;
  int exit_code = 0;
  int signal = 0;
  bool oom = false;
  std::string message;
};
ExitRecord parse_exit_record(std::string_view text);

}  // namespace skiff::runtime
