// Who turns an OCI bundle into a process. The built-in executor needs no other program; the
// interface is where an OCI runtime on disk could take its place per RuntimeClass.
//
// An OciExecutor starts nothing itself: it compiles a bundle into a LaunchPlan, a list of steps
// that the pod's shim carries out in the container's first process. So the shim stays small, and
// everything expensive (JSON, libseccomp) happens in skiff.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "skiff/base/result.hpp"
#include "skiff/linux/cgroup.hpp"

namespace skiff::api {
class Value;
}

namespace skiff::runtime {

// What the shim needs to fork a process and what that process does before it executes its program.
struct LaunchPlan {
  std::uint64_t clone_flags = 0;  // CLONE_NEW*
  std::string cgroup_directory;   // v2: where the process is born
  std::string pid_namespace;      // joined before the fork; "" for none
  std::string steps;              // encoded (src/runtime/steps.hpp)
  bool tty = false;
};

// A container's root: a plain directory (`path`), or an overlay of layers below a writable one.
struct RootSource {
  std::string path;                     // mount point, or the directory itself without layers
  std::vector<std::string> lower_dirs;  // lowest first; empty: `path` is used as it is
  std::string upper_dir;
  std::string work_dir;
};

// What the bundle does not say.
struct LaunchContext {
  std::string container_id;
  std::string bundle;  // directory with config.json
  RootSource root;
  sys::CgroupEntry cgroup;
  std::vector<std::pair<std::string, std::string>> cgroup_directories;  // for /sys/fs/cgroup
  std::vector<std::string> canonical_sources;  // of binds: no symlink may have come into them
};

class OciExecutor {
 public:
  virtual ~OciExecutor() = default;
  // `config` is the bundle's config.json (OCI runtime-spec 1.0). Blocking: file look-ups only.
  // Errors: invalid when the specification asks for what cannot be done, with the field's name.
  virtual Result<LaunchPlan> launch(const api::Value& config, const LaunchContext& context) = 0;
  // A further process in a running container of that `config`; `process` is an OCI process object.
  virtual Result<LaunchPlan> exec(const api::Value& config, const api::Value& process,
                                  const LaunchContext& context) = 0;
};

std::unique_ptr<OciExecutor> make_builtin_executor();

}  // namespace skiff::runtime
