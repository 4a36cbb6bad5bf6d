// Where objects are kept: /<group>/<resource>/<namespace>/<name>, with "core" for the empty group
// and no namespace for cluster-scoped kinds. The group is the one a kind is stored under, so Events
// and HorizontalPodAutoscalers exist once however they are served.
#pragma once

#include <string>
#include <string_view>

#include "skiff/api/schema.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry::keys {

std::string collection(const api::Resource& resource);  // "/apps/deployments/"
std::string of(const api::Resource& resource, std::string_view ns, std::string_view name);
std::string of(std::string_view group, std::string_view plural, std::string_view ns,
               std::string_view name);
// Everything of a resource, or what one namespace has of it.
store::Range range(const api::Resource& resource, std::string_view ns);

// "default/web" or "node-1" of a key.
std::string_view tail(std::string_view key);
std::string_view name_of(std::string_view key);
std::string_view namespace_of(std::string_view key);

// The schema of what is stored, which may differ from `served` in group and version.
const api::Resource& stored(const api::Resource& served);
bool converts(const api::Resource& served);

}  // namespace skiff::registry::keys
