// What a plain YAML scalar means, by the rules of go-yaml v2, which sigs.k8s.io/yaml reads with:
// YAML 1.1 booleans, 0x/0o/0b and leading-zero octal integers, `_` in numbers.
#pragma once

#include <string>
#include <string_view>

#include "skiff/api/value.hpp"

namespace skiff::api {

enum class YamlTag : std::uint8_t { string, boolean, integer, number, null, timestamp, merge };

// `value` is what the scalar reads as; a timestamp stays a string, and NaN and the infinities are
// numbers that JSON has no text for.
struct YamlScalar {
  YamlTag tag = YamlTag::string;
  Value value;
};

YamlScalar resolve_yaml(std::string_view text);

// A float as Go's %g writes it: the shortest digits (of a 32-bit float when `single`), with an
// exponent below 1e-4 and from 1e6.
std::string go_float_text(double v, bool single);

// `!!int` and so on, for errors.
std::string_view name_of(YamlTag tag) noexcept;

}  // namespace skiff::api
