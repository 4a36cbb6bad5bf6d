// What every cluster has from its first moment.
#pragma once

#include <vector>

#include "core.hpp"

namespace skiff::registry {

// Creates what is missing, in one commit; brings the kubernetes Service's endpoints up to date.
Task<Result<void>> write_bootstrap(Core* core);

// Writes default/kubernetes again whenever somebody deletes it. Runs until cancelled.
Task<void> keep_kubernetes_service(Core* core);

// The RBAC defaults as documents (roles, then bindings).
std::vector<Value> default_roles();

}  // namespace skiff::registry
