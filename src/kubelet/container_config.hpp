// From a pod's spec to what the runtime is asked for.
#pragma once

#include <string>
#include <vector>

#include "environment.hpp"
#include "pod.hpp"
#include "skiff/kubelet/kubelet.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::kubelet {

runtime::SandboxConfig sandbox_config(const Value& pod, const Options& options,
                                      std::uint32_t attempt);

// Everything but image, environment, mounts and log path. invalid for settings that contradict the
// image, such as runAsNonRoot with an image that runs as root: the container waits with
// CreateContainerConfigError.
Result<runtime::ContainerConfig> container_config(const Value& pod, const Value& container,
                                                  const runtime::Image& image,
                                                  const Environment& environment);

// NAMESPACE_NAME_UID, below the log directory.
std::string log_directory_name(const Value& pod);
// The text of the pod's /etc/hosts.
std::string hosts_file(const Value& pod, const std::string& pod_ip, const std::string& domain);

}  // namespace skiff::kubelet
