// Control groups, version 1 and 2 behind one interface.
//
// A group is named by a path below the parent ("pods/burstable/UID/CID") and exists in every
// hierarchy that carries a controller skiff uses. On hybrid machines a controller mounted as v1
// wins when v2 does not offer it.
//
// Threading: any thread; calls touch only kernel files and take tens of microseconds. Calls for
// one group are not to overlap. Source: Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/result.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::sys {

// Where each controller lives.
struct CgroupLayout {
  struct Hierarchy {
    std::string mount_point;               // /sys/fs/cgroup/memory
    std::vector<std::string> controllers;  // those skiff uses
    std::string own_path;                  // of this process, below the mount point: "" or "/x"
    bool unified = false;                  // cgroup v2
    std::string name;                      // directory under /sys/fs/cgroup as containers see it
  };
  std::vector<Hierarchy> hierarchies;  // v1 in mount order, then v2 when used
  bool has(std::string_view controller) const noexcept;
  // True when everything is v2.
  bool unified() const noexcept;
};

// From the text of /proc/self/mountinfo, /proc/self/cgroup and the v2 root's cgroup.controllers
// ("" when there is none). Pure.
CgroupLayout parse_cgroup_layout(std::string_view mountinfo, std::string_view self_cgroup,
                                 std::string_view v2_controllers);
Result<CgroupLayout> detect_cgroup_layout(System& system);
// Mounts every hierarchy this kernel has below `directory`, for mount namespaces where none shows.
// Hierarchies are the kernel's: this is another view of the same ones.
Result<void> mount_cgroup_hierarchies(System& system, const std::string& directory);

// Zero means: leave as it is.
struct CgroupLimits {
  std::uint64_t cpu_shares = 0;   // v1 scale; v2's cpu.weight is derived (KEP-2254's formula)
  std::int64_t cpu_quota_us = 0;  // -1: unlimited
  std::uint64_t cpu_period_us = 100'000;
  std::int64_t memory_bytes = 0;  // -1: unlimited; swap is not allowed beside it
  std::int64_t memory_min_bytes = 0;
  std::int64_t pids = 0;  // -1: unlimited
};

// A device rule: type 'a' (all), 'b' or 'c'; -1 is any number.
struct DeviceRule {
  bool allow = true;
  char type = 'a';
  std::int64_t major = -1;
  std::int64_t minor = -1;
  std::string access = "rwm";
};

struct CgroupStats {
  std::uint64_t cpu_nanoseconds = 0;
  std::uint64_t memory_usage = 0;
  std::uint64_t memory_working_set = 0;
  std::uint64_t memory_rss = 0;
  std::uint64_t memory_limit = 0;  // 0: none
  std::uint64_t page_faults = 0;
  std::uint64_t major_page_faults = 0;
  std::uint64_t processes = 0;
  std::uint64_t oom_kills = 0;
};

// How a process gets into a group. v1: it writes "0" to each file itself, before it has threads
// (writing `tasks` as the only thread spares the kernel's global lock and its grace period, which
// cgroup.procs costs). v2: the directory goes into clone3(CLONE_INTO_CGROUP).
struct CgroupEntry {
  std::vector<std::string> task_files;
  std::string unified_directory;  // "" when v2 is not used
  std::string oom_file;           // memory.oom_control or memory.events: has a line "oom_kill N"
};

class Cgroups {
 public:
  virtual ~Cgroups() = default;
  virtual const CgroupLayout& layout() const noexcept = 0;

  // Makes the group and those above it. Success when it exists.
  virtual Result<void> create(const std::string& group) = 0;
  virtual Result<void> set_limits(const std::string& group, const CgroupLimits& limits) = 0;
  // Replaces what the group may do with devices: nothing but `rules`, in order.
  virtual Result<void> set_devices(const std::string& group,
                                   const std::vector<DeviceRule>& rules) = 0;
  virtual CgroupEntry entry(const std::string& group) const = 0;
  virtual Result<CgroupStats> stats(const std::string& group) const = 0;
  // Processes in the group and below it.
  virtual Result<std::vector<pid_t>> processes(const std::string& group) const = 0;
  virtual Result<void> freeze(const std::string& group, bool frozen) = 0;
  // SIGKILL to every process in the group and below it; returns when none is left (at most 10 s:
  // then unavailable, with a pid that does not die).
  virtual Result<void> kill(const std::string& group) = 0;
  // Removes the group and those below it; success when it does not exist.
  virtual Result<void> remove(const std::string& group) = 0;
  // Groups directly below.
  virtual Result<std::vector<std::string>> children(const std::string& group) const = 0;
  // The group's directory in each hierarchy, with the name containers know the hierarchy by.
  virtual std::vector<std::pair<std::string, std::string>> directories(
      const std::string& group) const = 0;
};

// `parent`: "/name" from the root of each hierarchy, "name" below this process's own group, "":
// "/skiff" where a service manager made our own group (*.service, *.scope), "skiff" elsewhere.
// On v2 the controllers are enabled on the way down; a process in between (a container's own
// root) is moved to a leaf "skiff-init" first, as v2's no-internal-process rule wants.
// `name` replaces "skiff" in the choices that "" makes.
Result<std::unique_ptr<Cgroups>> make_cgroups(System& system, std::string parent,
                                              std::string name = "skiff");

// The v2 device filter: eBPF instructions (8 bytes each) for BPF_PROG_TYPE_CGROUP_DEVICE. Pure.
std::vector<std::uint64_t> device_program(const std::vector<DeviceRule>& rules);

}  // namespace skiff::sys
