#include "skiff/api/quantity.hpp"

#include <charconv>
#include <limits>
#include <optional>

namespace skiff::api {
namespace {

__extension__ typedef __int128 Wide;
__extension__ typedef unsigned __int128 UWide;

constexpr int kNanoDigits = 9;
constexpr int kMaxDigits = 38;  // always fit 128 bits
constexpr Wide kWideMax = static_cast<Wide>(~UWide{0} >> 1U);
constexpr Wide kNanosPerUnit = 1'000'000'000;
constexpr Wide kBinaryMax = Wide{std::numeric_limits<std::int64_t>::max()} * kNanosPerUnit;

struct Suffix {
  int decimal = 0;  // power of ten
  int binary = 0;   // power of two
  Quantity::Format format = Quantity::Format::decimal_si;
};

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

Error wrong_format() {
  return Error{Code::bad_request,
               "quantities must match the regular expression "
               "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"};
}

// Whether `s` looks like a suffix at all, so that the error can tell a wrong one from garbage.
bool suffix_shaped(std::string_view s) noexcept {
  std::size_t i = 0;
  while (i < s.size() && std::string_view("eEinumkKMGTP").find(s[i]) != std::string_view::npos) ++i;
  if (i < s.size() && (s[i] == '-' || s[i] == '+')) ++i;
  while (i < s.size() && is_digit(s[i])) ++i;
  return i == s.size();
}

std::optional<Suffix> parse_suffix(std::string_view s) noexcept {
  constexpr std::string_view kDecimal = "num kMGTPE";
  constexpr std::string_view kBinary = "KMGTPE";
  if (s.empty()) return Suffix{};
  if (s.size() == 1 && s[0] != ' ') {
    const auto at = kDecimal.find(s[0]);
    if (at == std::string_view::npos) return std::nullopt;
    return Suffix{.decimal = static_cast<int>(at) * 3 - 9};
  }
  if (s.size() == 2 && s[1] == 'i') {
    const auto at = kBinary.find(s[0]);
    if (at == std::string_view::npos) return std::nullopt;
    return Suffix{.binary = static_cast<int>(at) * 10 + 10, .format = Quantity::Format::binary_si};
  }
  if (s[0] != 'e' && s[0] != 'E') return std::nullopt;
  const char* first = s.data() + 1;
  const char* last = s.data() + s.size();
  if (*first == '+') ++first;
  std::int64_t exponent = 0;
  const auto [rest, ec] = std::from_chars(first, last, exponent);
  if (ec != std::errc() || rest != last || (s[1] == '+' && s.size() > 2 && s[2] == '-')) {
    return std::nullopt;
  }
  // Beyond these everything is zero, one nano or too large.
  exponent = std::min<std::int64_t>(std::max<std::int64_t>(exponent, -100'000'000), 100'000'000);
  return Suffix{.decimal = static_cast<int>(exponent),
                .format = Quantity::Format::decimal_exponent};
}

UWide power_of_ten(int n) noexcept {
  UWide p = 1;
  for (; n > 0; --n) p *= 10;
  return p;
}

// digits * 10^scale * 2^binary, rounded up; `sticky`: a little more than that. Empty on overflow.
std::optional<Wide> scaled(UWide digits, bool sticky, std::int64_t scale, int binary) noexcept {
  if (digits == 0 && !sticky) return Wide{0};
  for (; scale < -kMaxDigits && digits != 0; ++scale) {
    sticky = sticky || digits % 10 != 0;
    digits /= 10;
  }
  if (digits == 0) return Wide{1};
  for (; scale > 0; --scale) {
    if (digits > UWide(kWideMax) / 10) return std::nullopt;
    digits *= 10;
  }
  const UWide divisor = power_of_ten(static_cast<int>(-scale));
  UWide whole = digits / divisor;
  UWide part = digits % divisor;  // < 10^38, so doubling stays below 2^128
  for (int i = 0; i < binary; ++i) {
    if (whole > UWide(kWideMax) / 2 - 1) return std::nullopt;
    part *= 2;
    whole = whole * 2 + (part >= divisor ? 1 : 0);
    if (part >= divisor) part -= divisor;
  }
  if (part != 0 || sticky) ++whole;
  if (whole > UWide(kWideMax)) return std::nullopt;
  return static_cast<Wide>(whole);
}

// The first kMaxDigits significant digits of `num` followed by `denom`.
struct Digits {
  UWide value = 0;
  std::int64_t dropped = 0;  // how many digits after them were not taken
  bool sticky = false;       // one of those was not zero

  void add(std::string_view text) {
    for (const char c : text) {
      if (value >= power_of_ten(kMaxDigits - 1)) {
        ++dropped;
        sticky = sticky || c != '0';
      } else {
        value = value * 10 + static_cast<UWide>(c - '0');
      }
    }
  }
};

std::int64_t to_int64(Wide nanos, Wide unit) noexcept {
  Wide v = nanos / unit;
  if (v * unit != nanos) v += nanos < 0 ? -1 : 1;
  if (v > std::numeric_limits<std::int64_t>::max()) return std::numeric_limits<std::int64_t>::max();
  if (v < std::numeric_limits<std::int64_t>::min()) return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(v);
}

std::string to_text(Wide v) {
  UWide magnitude = v < 0 ? UWide(0) - static_cast<UWide>(v) : static_cast<UWide>(v);
  char buffer[48];
  char* at = buffer + sizeof buffer;
  do {
    *--at = static_cast<char>('0' + static_cast<int>(magnitude % 10));
    magnitude /= 10;
  } while (magnitude != 0);
  if (v < 0) *--at = '-';
  return std::string(at, buffer + sizeof buffer);
}

std::string decimal_text(Wide nanos, bool exponent_form) {
  int exponent = -kNanoDigits;
  while (nanos % 10 == 0) {
    nanos /= 10;
    ++exponent;
  }
  for (; exponent % 3 != 0; --exponent) nanos *= 10;
  std::string out = to_text(nanos);
  if (exponent == 0) return out;
  if (exponent_form || exponent > 18) return out + "e" + std::to_string(exponent);
  constexpr char kSuffix[] = "num kMGTPE";
  return out + kSuffix[exponent / 3 + 3];
}

std::string binary_text(Wide units) {
  int power = 0;
  for (; units % 1024 == 0 && power < 6; ++power) units /= 1024;
  std::string out = to_text(units);
  if (power == 0) return out;
  constexpr char kSuffix[] = " KMGTPE";
  return out + kSuffix[power] + "i";
}

// A quantity's text, taken apart.
struct Parts {
  bool negative = false;
  std::string_view num;    // digits before the point, without leading zeros
  std::string_view denom;  // and after it
  Suffix suffix;
};

Result<Parts> split(std::string_view text) {
  Parts parts;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    parts.negative = text[0] == '-';
    text.remove_prefix(1);
  }
  auto digits_of = [&text] {
    std::size_t n = 0;
    while (n < text.size() && is_digit(text[n])) ++n;
    const std::string_view digits = text.substr(0, n);
    text.remove_prefix(n);
    return digits;
  };
  parts.num = digits_of();
  const bool whole = !parts.num.empty();
  while (!parts.num.empty() && parts.num[0] == '0') parts.num.remove_prefix(1);
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    parts.denom = digits_of();
  }
  if (!whole && parts.denom.empty()) return wrong_format();
  const auto suffix = parse_suffix(text);
  if (!suffix) {
    if (!suffix_shaped(text)) return wrong_format();
    return Error{Code::bad_request, "unable to parse quantity's suffix"};
  }
  parts.suffix = *suffix;
  return parts;
}

// Upstream writes some quantities back as they were read, although they are not canonical ("1E3",
// "1.500", "007"): those it parses on its fast path and takes for canonical by their last digits.
bool kept_as_written(const Parts& p) {
  const auto num = static_cast<std::int64_t>(std::max<std::size_t>(p.num.size(), 1));
  const auto denom = static_cast<std::int64_t>(p.denom.size());
  const std::string digits = std::string(p.num.empty() ? "0" : p.num) + std::string(p.denom);
  if (p.suffix.format == Quantity::Format::binary_si) {
    if (denom > 0 || 15 - num - p.suffix.binary * 3 / 10 - 1 < 0) return false;
    std::uint64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return (value & 7U) != 0;
  }
  const std::int64_t scale = p.suffix.decimal - denom;
  return num + denom <= 18 && scale >= -kNanoDigits && scale % 3 == 0 && digits[0] != '0' &&
         !digits.ends_with("000");
}

}  // namespace

Result<Quantity> Quantity::parse(std::string_view text) {
  SKIFF_TRY(const Parts parts, split(text));
  Digits digits;
  digits.add(parts.num);
  digits.add(parts.denom);
  const std::int64_t scale = digits.dropped - static_cast<std::int64_t>(parts.denom.size()) +
                             parts.suffix.decimal + kNanoDigits;
  const auto nanos = scaled(digits.value, digits.sticky, scale, parts.suffix.binary);
  Quantity q;
  q.format_ = parts.suffix.format;
  if (q.format_ == Format::binary_si) {
    q.nanos_ = nanos && *nanos < kBinaryMax ? *nanos : kBinaryMax;
    if (q.nanos_ > 0 && q.nanos_ < kNanosPerUnit) q.format_ = Format::decimal_si;
  } else {
    if (!nanos) return Error{Code::bad_request, "unable to parse numeric part of quantity"};
    q.nanos_ = *nanos;
  }
  if (parts.negative) q.nanos_ = -q.nanos_;
  return q;
}

Result<std::string> Quantity::canonicalize(std::string_view text) {
  SKIFF_TRY(const Parts parts, split(text));
  if (kept_as_written(parts)) return std::string(text);
  SKIFF_TRY(const Quantity q, parse(text));
  return q.to_string();
}

Quantity Quantity::of(std::int64_t value, Format format) {
  Quantity q;
  q.nanos_ = Nanos{value} * kNanosPerUnit;
  q.format_ = format;
  return q;
}

Quantity Quantity::milli(std::int64_t thousandths) {
  Quantity q;
  q.nanos_ = Nanos{thousandths} * (kNanosPerUnit / 1000);
  return q;
}

std::int64_t Quantity::value() const noexcept { return to_int64(nanos_, kNanosPerUnit); }

std::int64_t Quantity::milli_value() const noexcept {
  return to_int64(nanos_, kNanosPerUnit / 1000);
}

double Quantity::as_double() const noexcept { return static_cast<double>(nanos_) / 1e9; }

std::string Quantity::to_string() const {
  if (nanos_ == 0) return "0";
  const Nanos limit = 1024 * kNanosPerUnit;
  const bool small = nanos_ > -limit && nanos_ < limit;
  if (format_ == Format::binary_si && !small && nanos_ % kNanosPerUnit == 0) {
    return binary_text(nanos_ / kNanosPerUnit);
  }
  return decimal_text(nanos_, format_ == Format::decimal_exponent);
}

Quantity Quantity::operator+(const Quantity& o) const noexcept {
  Quantity sum;
  sum.format_ = zero() ? o.format_ : format_;
  if (__builtin_add_overflow(nanos_, o.nanos_, &sum.nanos_)) {
    sum.nanos_ = nanos_ < 0 ? -kWideMax : kWideMax;
  }
  return sum;
}

Quantity Quantity::operator-(const Quantity& o) const noexcept {
  Quantity negated = o;
  negated.nanos_ = -o.nanos_;
  return *this + negated;
}

}  // namespace skiff::api
