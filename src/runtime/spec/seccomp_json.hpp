// Seccomp profiles in their two JSON forms: the OCI runtime-spec's linux.seccomp, and the profile
// files that localhostProfile names (the same with archMap, includes and excludes).
#pragma once

#include "skiff/api/value.hpp"
#include "skiff/linux/security.hpp"

namespace skiff::runtime {

api::Value seccomp_to_json(const sys::SeccompProfile& profile);
// Rules whose includes/excludes do not fit `capabilities` and this architecture are left out.
Result<sys::SeccompProfile> seccomp_from_json(const api::Value& json,
                                              sys::CapabilitySet capabilities);

}  // namespace skiff::runtime
