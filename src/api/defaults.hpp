// Defaulting by type: the schema's defaults, then what depends on other fields.
#pragma once

#include <span>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {

// Sets a field of an object of `type` where the encoded order wants it. Returns the value in place.
Value& set_field(const Type& type, Value& object, std::string_view name, Value v);
// Sets it unless something is there.
void default_field(const Type& type, Value& object, std::string_view name, Value v);

// Fills what the schema cannot say into an object of one type. Runs after the object's own schema
// defaults and before those of the objects in it.
using DefaultHook = void (*)(const Type& type, Value& object);

struct TypeDefault {
  std::string_view type;  // OpenAPI definition name
  DefaultHook hook;
};

std::span<const TypeDefault> core_defaults();
std::span<const TypeDefault> pod_defaults();
std::span<const TypeDefault> group_defaults();

}  // namespace skiff::api
