// What the schema compiler makes; the definitions are in the build directory.
#pragma once

#include "skiff/api/schema.hpp"

namespace skiff::api::tables {

extern const std::span<const Resource> resources;
extern const std::span<const Type* const> types;

}  // namespace skiff::api::tables
