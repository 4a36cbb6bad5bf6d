// Refusals in upstream's words. `resource` in a message is plural.group.
#pragma once

#include <string>
#include <string_view>

#include "skiff/api/codec.hpp"
#include "skiff/api/schema.hpp"
#include "skiff/base/result.hpp"

namespace skiff::registry::errors {

std::string qualified(const api::Resource& resource);

Error not_found(const api::Resource& resource, std::string_view name);
Error already_exists(const api::Resource& resource, std::string_view name);
Error conflict(const api::Resource& resource, std::string_view name, std::string_view why);
Error modified(const api::Resource& resource, std::string_view name);
Error forbidden(const api::Resource& resource, std::string_view name, std::string_view why);
Error bad_request(std::string message);
Error method_not_allowed(const api::Resource& resource, std::string_view verb);
Error invalid(const api::Resource& resource, std::string_view name, const api::FieldErrors& causes);
// A 422 with one cause.
Error invalid_field(const api::Resource& resource, std::string_view name, std::string_view field,
                    const api::Value& value, std::string_view why);
Error expired(std::string_view why);
Error future_revision(std::int64_t asked, std::int64_t newest);
Error internal(std::string_view why);

}  // namespace skiff::registry::errors
