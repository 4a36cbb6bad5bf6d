#include "scalars.hpp"

#include <array>
#include <charconv>

#include "skiff/api/quantity.hpp"
#include "skiff/base/clock.hpp"

namespace skiff::api {
namespace {

Error bad(std::string message) { return Error{Code::bad_request, std::move(message)}; }

std::string number_text(const Value& v) {
  std::array<char, 32> buffer;
  auto end = v.is_int()
                 ? std::to_chars(buffer.data(), buffer.data() + buffer.size(), v.as_int())
                 : std::to_chars(buffer.data(), buffer.data() + buffer.size(), v.as_double());
  return {buffer.data(), end.ptr};
}

int base64_digit(unsigned char c) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

bool line_break(char c) noexcept { return c == '\n' || c == '\r'; }

// The layout element at which Go's time.Parse gives up, with the text it saw there.
std::pair<std::string_view, std::string_view> time_mismatch(std::string_view text) {
  static constexpr std::array<std::string_view, 11> kLayout = {"2006", "-", "01", "-", "02", "T",
                                                               "15",   ":", "04", ":", "05"};
  std::string_view rest = text;
  for (std::string_view element : kLayout) {
    bool digits = element.size() > 1;
    if (rest.size() < element.size()) return {element, rest};
    for (std::size_t i = 0; i < element.size(); ++i) {
      bool fits = digits ? rest[i] >= '0' && rest[i] <= '9' : rest[i] == element[i];
      if (!fits) return {element, rest};
    }
    rest.remove_prefix(element.size());
  }
  if (rest.starts_with('.') || rest.starts_with(',')) {
    std::size_t n = 1;
    while (n < rest.size() && rest[n] >= '0' && rest[n] <= '9') ++n;
    if (n > 1) rest.remove_prefix(n);
  }
  return {"Z07:00", rest};
}

}  // namespace

Base64Check check_base64(std::string_view s) noexcept {
  Base64Check out;
  std::size_t digits = 0, start = 0;  // of the group of four being read
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (line_break(s[i])) continue;
    if (digits == 0) start = i;
    if (base64_digit(static_cast<unsigned char>(s[i])) >= 0) {
      if (++digits == 4) {
        out.size += 3;
        digits = 0;
      }
      continue;
    }
    if (s[i] != '=' || digits < 2) return {out.size, i};
    out.size += digits - 1;
    std::size_t next = i + 1;
    auto skip = [&] {
      while (next < s.size() && line_break(s[next])) ++next;
    };
    if (digits == 2) {
      skip();
      if (next == s.size()) return {out.size, s.size()};
      if (s[next++] != '=') return {out.size, next - 2};
    }
    skip();
    if (next < s.size()) return {out.size, next};
    return out;
  }
  if (digits != 0) out.bad_offset = start;
  return out;
}

Result<void> canonical_bytes(std::string& text) {
  auto check = check_base64(text);
  if (check.bad_offset)
    return bad("illegal base64 data at input byte " + std::to_string(*check.bad_offset));
  std::erase_if(text, line_break);
  return {};
}

std::string json_type_name(const Value& v, bool with_number) {
  switch (v.type()) {
    case Value::Type::null:
      return "null";
    case Value::Type::boolean:
      return "bool";
    case Value::Type::integer:
    case Value::Type::number:
      return with_number ? "number " + number_text(v) : "number";
    case Value::Type::string:
      return "string";
    case Value::Type::array:
      return "array";
    case Value::Type::object:
      return "object";
  }
  return "";
}

Result<void> canonical_quantity(Value& v) {
  std::string text = v.is_string()   ? v.as_string()
                     : v.is_number() ? number_text(v)
                                     : to_json(v);  // never a quantity: gives upstream's error
  SKIFF_TRY(std::string canonical, Quantity::canonicalize(text));
  if (!v.is_string() || v.as_string() != canonical) v = Value(std::move(canonical));
  return {};
}

Result<void> canonical_time(Value& v, bool micro) {
  if (!v.is_string())
    return bad("json: cannot unmarshal " + json_type_name(v, false) +
               " into Go value of type string");
  const std::string& text = v.as_string();
  auto time = parse_time(text);
  if (!time) {
    auto [element, rest] = time_mismatch(text);
    return bad("parsing time \"" + text + "\" as \"2006-01-02T15:04:05" + (micro ? ".000000" : "") +
               "Z07:00\": cannot parse \"" + std::string(rest) + "\" as \"" + std::string(element) +
               "\"");
  }
  std::string canonical = micro ? format_micro_time(*time) : format_time(*time);
  if (text != canonical) v = Value(std::move(canonical));
  return {};
}

}  // namespace skiff::api
