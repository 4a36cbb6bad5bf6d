// From what the CRI says about a container to an OCI runtime configuration (runtime-spec 1.0,
// config.md and config-linux.md).
#pragma once

#include <string>
#include <vector>

#include "skiff/api/value.hpp"
#include "skiff/runtime/runtime.hpp"
#include "users.hpp"

namespace skiff::runtime {

struct HostDevice {
  std::string path;  // in the container
  char type = 'c';
  std::int64_t major = 0, minor = 0;
  std::uint32_t mode = 0666;
  std::int64_t uid = 0, gid = 0;
  std::string access = "rwm";
};

// What the configuration needs to know about the machine and the pod.
struct OciInputs {
  const SandboxConfig* sandbox = nullptr;
  const ContainerConfig* container = nullptr;
  std::string container_id;
  std::string sandbox_dir;  // resolv.conf, hostname, hosts, shm
  std::string netns_path;   // "" with the host's network
  int shim_pid = 0;         // holds ipc and uts
  int pause_pid = 0;        // of a shared PID namespace; else 0
  std::string hostname;     // for $HOSTNAME
  std::string cgroups_path;
  UserIds user;
  std::vector<Mount> mounts;        // host paths resolved, sub paths included
  std::vector<HostDevice> devices;  // the container's, or all of the host's when privileged
  api::Value seccomp;               // null: unconfined
};

Result<api::Value> make_oci_config(const OciInputs& in);
// The process object for a further process in the same container.
api::Value make_exec_process(const api::Value& config, const std::vector<std::string>& command,
                             bool tty);

// Effective command line: CRI's rules for command, args, entrypoint and cmd. invalid when empty.
Result<std::vector<std::string>> effective_command(const ContainerConfig& c);

// The device node at `host_path`. not_found, or invalid for what is not a device.
Result<HostDevice> find_device(const Device& device);
// Every device node below /dev, except those a container has its own of.
std::vector<HostDevice> all_host_devices();

}  // namespace skiff::runtime
