// Resource quantities (`250m`, `1.5Gi`, `1e3`) with upstream's grammar and canonical form.
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
  static Quantity of(std::int64_t value, Format format = Format::decimal_si);
  static Quantity milli(std::int64_t thousandths);

  std::int64_t value() const noexcept;        // rounded up, saturating
  std::int64_t milli_value() const noexcept;  // rounded up, saturating
  std::string to_string() const;              // canonical: "1500m", "2Gi"
  bool negative() const noexcept { return nanos_ < 0; }
  bool zero() const noexcept { return nanos_ == 0; }
  Quantity operator+(const Quantity& o) const noexcept;
  Quantity operator-(const Quantity& o) const noexcept;
  std::strong_ordering operator<=>(const Quantity& o) const noexcept { return nanos_ <=> o.nanos_; }
  bool operator==(const Quantity& o) const noexcept { return nanos_ == o.nanos_; }

 private:
  __extension__ typedef __int128 Nanos;  // finest unit upstream keeps
  Nanos nanos_ = 0;
  Format format_ = Format::decimal_si;
};

}  // namespace skiff::api
