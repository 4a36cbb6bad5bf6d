// The scalar kinds that are more than JSON scalars: what Go's decoders accept for them, in
// canonical form.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {

// Checks and canonicalises a value that is not null. Errors carry upstream's wording.
Result<void> canonical_quantity(Value& v);
Result<void> canonical_time(Value& v, bool micro);
Result<void> canonical_bytes(std::string& text);

// How many bytes `text` stands for; `offset` of the first byte that base64 does not allow. Line
// breaks are skipped, as Go does.
struct Base64Check {
  std::size_t size = 0;
  std::optional<std::size_t> bad_offset;
};
Base64Check check_base64(std::string_view text) noexcept;

// As JSON names a value's type in messages: "string", "number 1.5", "bool", "array", "object".
std::string json_type_name(const Value& v, bool with_number);

}  // namespace skiff::api
