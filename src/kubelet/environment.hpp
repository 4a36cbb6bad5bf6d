// A container's environment variables (KEP-less core behaviour: "Define Environment Variables",
// service links).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "objects.hpp"
#include "pod.hpp"

namespace skiff::kubelet {

// Where the values that are not in the spec come from.
struct EnvironmentSources {
  std::string pod_ip;
  std::string host_ip;
  std::vector<api::ObjectPtr> services;  // of the pod's namespace and default/kubernetes
  std::map<std::string, std::string> node_allocatable;  // resourceFieldRef without a limit
};

using Environment = std::vector<std::pair<std::string, std::string>>;

// Code::invalid when a reference cannot be resolved: the container waits with
// CreateContainerConfigError.
Task<Result<Environment>> make_environment(ObjectPtr pod, std::string container,
                                           EnvironmentSources sources, ObjectWatches* objects);

// $(NAME) of what is defined; $$ is a dollar; unknown references stay as they are.
std::string expand(std::string_view text, const Environment& environment);

// A downward API field ("metadata.labels['app']", "status.podIP", ...) as text.
Result<std::string> downward_field(const Value& pod, const std::string& path,
                                   const EnvironmentSources& sources);
// resourceFieldRef: "limits.cpu" and the like, divided and rounded up.
Result<std::string> downward_resource(const Value& pod, const std::string& container,
                                      const Value& reference, const EnvironmentSources& sources);

}  // namespace skiff::kubelet
