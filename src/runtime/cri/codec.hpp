// What sandbox.json and container.json hold: the configurations as the kubelet gave them, so that a
// restarted skiff knows what runs.
#pragma once

#include "skiff/api/value.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::runtime {

api::Value to_value(const SandboxConfig& config);
api::Value to_value(const ContainerConfig& config);
api::Value to_value(const Resources& resources);
// Fields that are absent keep their defaults; unknown ones are ignored: another version of skiff
// may have written the file.
SandboxConfig sandbox_config(const api::Value& v);
ContainerConfig container_config(const api::Value& v);

}  // namespace skiff::runtime
