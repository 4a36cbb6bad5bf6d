#include "yaml_scalar.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace skiff::api {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool any_of(std::string_view s, std::initializer_list<std::string_view> words) noexcept {
  return std::find(words.begin(), words.end(), s) != words.end();
}

// Consumes between `least` and `most` digits; -1 when there are fewer.
int take_digits(std::string_view& s, std::size_t least, std::size_t most) noexcept {
  std::size_t n = 0;
  int value = 0;
  while (n < s.size() && n < most && is_digit(s[n])) value = value * 10 + (s[n++] - '0');
  if (n < least) return -1;
  s.remove_prefix(n);
  return value;
}

bool take(std::string_view& s, std::string_view any) noexcept {
  if (s.empty() || any.find(s[0]) == std::string_view::npos) return false;
  s.remove_prefix(1);
  return true;
}

int days_in(int year, int month) noexcept {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// `2006-1-2`, with an optional time after `T`, `t` (with a zone) or a blank (without one).
bool is_timestamp(std::string_view s) noexcept {
  if (s.size() < 8 || !is_digit(s[3]) || is_digit(s[4])) return false;
  const int year = take_digits(s, 4, 4);
  if (year < 0 || !take(s, "-")) return false;
  const int month = take_digits(s, 1, 2);
  if (month < 1 || month > 12 || !take(s, "-")) return false;
  const int day = take_digits(s, 1, 2);
  if (day < 1 || day > days_in(year, month)) return false;
  if (s.empty()) return true;
  const bool zoned = s[0] != ' ';
  if (!take(s, "Tt ")) return false;
  const int hour = take_digits(s, 1, 2);
  if (hour < 0 || hour > 23 || !take(s, ":")) return false;
  const int minute = take_digits(s, 1, 2);
  if (minute < 0 || minute > 59 || !take(s, ":")) return false;
  const int second = take_digits(s, 1, 2);
  if (second < 0 || second > 59) return false;
  if (take(s, ".,")) {
    if (s.empty() || !is_digit(s[0])) return false;
    while (!s.empty() && is_digit(s[0])) s.remove_prefix(1);
  }
  if (!zoned || s == "Z") return zoned == (s == "Z") && (zoned || s.empty());
  if (!take(s, "+-")) return false;
  const int zone_hour = take_digits(s, 2, 2);
  if (zone_hour < 0 || zone_hour > 24 || !take(s, ":")) return false;
  const int zone_minute = take_digits(s, 2, 2);
  return zone_minute >= 0 && zone_minute < 60 && s.empty();
}

// An integer in any of Go's bases; between int64 and uint64 it reads as a number.
std::optional<Value> to_integer(std::string_view s) {
  const bool negative = !s.empty() && s[0] == '-';
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.remove_prefix(1);
  int base = 10;
  if (s.size() > 1 && s[0] == '0') {
    const char mark = static_cast<char>(s[1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    s.remove_prefix(mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1);
  }
  if (s.empty() || s[0] == '-' || s[0] == '+') return std::nullopt;
  std::uint64_t magnitude = 0;
  const char* last = s.data() + s.size();
  const auto [rest, ec] = std::from_chars(s.data(), last, magnitude, base);
  if (rest != last || ec == std::errc::invalid_argument) return std::nullopt;
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (ec == std::errc() && magnitude <= kMax) {
    const auto v = static_cast<std::int64_t>(magnitude);
    return Value(negative ? -v : v);
  }
  if (ec == std::errc() && negative && magnitude == kMax + 1) {
    return Value(std::numeric_limits<std::int64_t>::min());
  }
  if (ec == std::errc()) {
    const auto wide = static_cast<double>(magnitude);
    return Value(negative ? -wide : wide);
  }
  return std::nullopt;  // a decimal float when it is all digits, text otherwise
}

// [-+]? (digits [. digits?] | . digits) ([eE] [-+]? digits)?
bool is_float(std::string_view s) noexcept {
  take(s, "+-");
  const auto digits = [&s] {
    std::size_t n = 0;
    while (n < s.size() && is_digit(s[n])) ++n;
    s.remove_prefix(n);
    return n;
  };
  const auto whole = digits();
  const auto fraction = take(s, ".") ? digits() : 0;
  if (whole + fraction == 0) return false;
  if (!take(s, "eE")) return s.empty();
  take(s, "+-");
  return digits() > 0 && s.empty();
}

std::optional<Value> to_number(std::string_view s) noexcept {
  if (!is_float(s)) return std::nullopt;
  if (s[0] == '+') s.remove_prefix(1);
  double v = 0;
  const auto [rest, ec] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (ec == std::errc::result_out_of_range) {
    const auto e = s.find_first_of("eE");
    if (e == std::string_view::npos || s[e + 1] != '-') return std::nullopt;
    v = 0;
  }
  // The way through JSON, where 1.0 is written 1, makes it an integer.
  if (v == std::trunc(v) && std::fabs(v) < 0x1p63) return Value(static_cast<std::int64_t>(v));
  return Value(v);
}

}  // namespace

YamlScalar resolve_yaml(std::string_view text) {
  if (any_of(text, {"", "~", "null", "Null", "NULL"})) return {YamlTag::null, Value()};
  const char c = text[0];
  if (std::string_view("yYnNtTfFoO").find(c) != std::string_view::npos) {
    if (any_of(text, {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) {
      return {YamlTag::boolean, true};
    }
    if (any_of(text,
               {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) {
      return {YamlTag::boolean, false};
    }
    return {YamlTag::string, text};
  }
  if (text == "<<") return {YamlTag::merge, text};
  if (c != '+' && c != '-' && c != '.' && !is_digit(c)) return {YamlTag::string, text};

  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (any_of(text, {".nan", ".NaN", ".NAN"})) {
    return {YamlTag::number, std::numeric_limits<double>::quiet_NaN()};
  }
  if (any_of(text, {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"})) {
    return {YamlTag::number, kInfinity};
  }
  if (any_of(text, {"-.inf", "-.Inf", "-.INF"})) return {YamlTag::number, -kInfinity};
  if (is_timestamp(text)) return {YamlTag::timestamp, text};

  std::string plain(text);
  if (c != '.') std::erase(plain, '_');
  if (c != '.') {
    if (auto integer = to_integer(plain)) return {YamlTag::integer, std::move(*integer)};
  }
  if (auto number = to_number(plain)) return {YamlTag::number, std::move(*number)};
  return {YamlTag::string, text};
}

std::string go_float_text(double v, bool single) {
  if (std::isnan(v)) return ".nan";
  if (std::isinf(v)) return v > 0 ? ".inf" : "-.inf";
  const double magnitude = std::fabs(v);
  const auto format = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e6)
                          ? std::chars_format::fixed
                          : std::chars_format::scientific;
  char text[40];
  char* end = text + sizeof text;
  end = single ? std::to_chars(text, end, static_cast<float>(v), format).ptr
               : std::to_chars(text, end, v, format).ptr;
  return std::string(text, end);
}

std::string_view name_of(YamlTag tag) noexcept {
  switch (tag) {
    case YamlTag::boolean:
      return "!!bool";
    case YamlTag::integer:
      return "!!int";
    case YamlTag::number:
      return "!!float";
    case YamlTag::null:
      return "!!null";
    case YamlTag::timestamp:
      return "!!timestamp";
    case YamlTag::merge:
      return "!!merge";
    case YamlTag::string:
      break;
  }
  return "!!str";
}

}  // namespace skiff::api
