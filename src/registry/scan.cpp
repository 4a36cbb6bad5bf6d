#include "skiff/registry/scan.hpp"

#include "skiff/api/value.hpp"

namespace skiff::registry::scan {
namespace {

std::size_t skip_string(std::string_view json, std::size_t at) {
  for (std::size_t i = at + 1; i < json.size();) {
    const auto* quote =
        static_cast<const char*>(std::memchr(json.data() + i, '"', json.size() - i));
    if (!quote) return json.size();
    const std::size_t end = static_cast<std::size_t>(quote - json.data());
    std::size_t slashes = 0;
    while (json[end - 1 - slashes] == '\\') ++slashes;  // stops at the opening quote
    if (slashes % 2 == 0) return end + 1;
    i = end + 1;
  }
  return json.size();
}

}  // namespace

std::size_t skip(std::string_view json, std::size_t at) {
  if (at >= json.size()) return json.size();
  if (json[at] == '"') return skip_string(json, at);
  if (json[at] != '{' && json[at] != '[') {
    while (at < json.size() && json[at] != ',' && json[at] != '}' && json[at] != ']') ++at;
    return at;
  }
  int depth = 0;
  while (at < json.size()) {
    const char c = json[at];
    if (c == '"') {
      at = skip_string(json, at);
      continue;
    }
    ++at;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return at;
  }
  return json.size();
}

std::string_view find(std::string_view json, std::span<const std::string_view> path) {
  std::string_view here = json;
  for (const std::string_view step : path) {
    std::string_view next;
    members(here, [&](std::string_view name, std::string_view value) {
      if (name != step) return true;
      next = value;
      return false;
    });
    if (next.empty()) return {};
    here = next;
  }
  return here;
}

std::string_view find(std::string_view json, std::initializer_list<std::string_view> path) {
  return find(json, std::span<const std::string_view>(path.begin(), path.size()));
}

std::string text(std::string_view raw) {
  if (raw.empty() || raw == "null") return {};
  if (raw[0] != '"') return std::string(raw);
  const std::string_view inner = raw.substr(1, raw.size() - 2);
  if (inner.find('\\') == std::string_view::npos) return std::string(inner);
  const auto parsed = api::parse_json(raw);
  return parsed ? parsed->as_string() : std::string(inner);
}

bool equals(std::string_view raw, std::string_view expected) {
  if (raw.size() >= 2 && raw[0] == '"') {
    const std::string_view inner = raw.substr(1, raw.size() - 2);
    if (inner.find('\\') == std::string_view::npos) return inner == expected;
  }
  return text(raw) == expected;
}

std::int64_t integer(std::string_view raw, std::int64_t fallback) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(raw.data(), raw.data() + raw.size(), value);
  return error == std::errc() ? value : fallback;
}

}  // namespace skiff::registry::scan
