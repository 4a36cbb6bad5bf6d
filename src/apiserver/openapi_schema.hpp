// Schema types as OpenAPI definitions.
#pragma once

#include <set>
#include <string>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::apiserver::openapi {

enum class Dialect : std::uint8_t { v2, v3 };

// {"$ref": ...} to a definition.
api::Value reference(Dialect dialect, std::string_view name);

// The definitions of `types` and of everything they mention, by name in order. Kinds carry
// x-kubernetes-group-version-kind.
api::Value definitions(Dialect dialect, const std::vector<const api::Type*>& types);

// Every type the resources of a group-version speak.
std::vector<const api::Type*> types_of(std::span<const api::Resource* const> resources);

// The paths of `resources` with their operations.
api::Value paths(Dialect dialect, std::span<const api::Resource* const> resources);

}  // namespace skiff::apiserver::openapi
