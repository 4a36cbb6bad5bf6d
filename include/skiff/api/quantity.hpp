// Resource quantities (`250m`, `1.5Gi`, `1e3`) with the grammar and canonical form of
// k8s.io/apimachinery's resource.Quantity: kept to the nano and rounded away from zero below it,
// never a float. Binary quantities are capped at 2^63-1 as upstream caps them; decimal ones beyond
// 1.7e29 are refused (upstream keeps any size).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "skiff/base/result.hpp"

namespace skiff::api {

class Quantity {
 public:
  enum class Format : std::uint8_t { decimal_si, binary_si, decimal_exponent };

  Quantity() = default;
  static Result<Quantity> parse(std::string_view text);
  // The text that a document keeps for `text`: canonical, except where upstream's parser leaves
  // another spelling alone ("1.500", "1E3").
  static Result<std::string> canonicalize(std::string_view text);
  static Quantity of(std::int64_t value, Format format = Format::decimal_si);
  static Quantity milli(std::int64_t thousandths);

  std::int64_t value() const noexcept;        // rounded away from zero, saturating
  std::int64_t milli_value() const noexcept;  // rounded away from zero, saturating
  double as_double() const noexcept;          // may lose precision
  Format format() const noexcept { return format_; }
  std::string to_string() const;  // canonical: "1500m", "2Gi"
  bool negative() const noexcept { return nanos_ < 0; }
  bool zero() const noexcept { return nanos_ == 0; }
  // Saturating. The format is the left side's, or the right side's when the left is zero.
  Quantity operator+(const Quantity& o) const noexcept;
  Quantity operator-(const Quantity& o) const noexcept;
  Quantity& operator+=(const Quantity& o) noexcept { return *this = *this + o; }
  Quantity& operator-=(const Quantity& o) noexcept { return *this = *this - o; }
  std::strong_ordering operator<=>(const Quantity& o) const noexcept { return nanos_ <=> o.nanos_; }
  bool operator==(const Quantity& o) const noexcept { return nanos_ == o.nanos_; }

 private:
  __extension__ typedef __int128 Nanos;  // finest unit upstream keeps
  Nanos nanos_ = 0;
  Format format_ = Format::decimal_si;
};

}  // namespace skiff::api
