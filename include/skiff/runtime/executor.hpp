// Who turns an OCI bundle into a process. The built-in executor needs no other program; an OCI
// runtime on disk (crun, runc, kata, runsc) can take its place per RuntimeClass.
//
// An Executor starts nothing itself: it compiles a bundle into a LaunchPlan, a list of steps that
// the pod's shim carries out in the container's first process. So the shim stays small, and
// everything expensive (JSON, libseccomp) happens in skiff.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "skiff/base/result.hpp"
#include "skiff/linux/cgroup.hpp"

namespace skiff::api {
class Value;
}

namespace skiff::runtime {

// Steps in the shim's own encoding (src/runtime/steps.hpp).
struct LaunchPlan {
  std::string bytes;
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
  std::string pid_file;                                                 // external runtimes
};

class Executor {
 public:
  virtual ~Executor() = default;
  // `config` is the bundle's config.json (OCI runtime-spec 1.0). Blocking: file look-ups only.
  // Errors: invalid when the specification asks for what cannot be done, with the field's name.
  virtual Result<LaunchPlan> launch(const api::Value& config, const LaunchContext& context) = 0;
  // A further process in a running container; `process` is an OCI process object.
  virtual Result<LaunchPlan> exec(const api::Value& process, const LaunchContext& context) = 0;
};

std::unique_ptr<Executor> make_builtin_executor();
// `program`: path of an OCI runtime with crun's and runc's command line.
std::unique_ptr<Executor> make_external_executor(std::string program, std::string state_root);

}  // namespace skiff::runtime
