// Looks things up in JSON bytes without parsing them and without allocating. Only for documents the
// registry encoded itself: well-formed, no white space between tokens, member names without
// escapes.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace skiff::registry::scan {

// The raw token ("\"text\"", "12", "{...}") at `path`, or empty when absent.
std::string_view find(std::string_view json, std::span<const std::string_view> path);
std::string_view find(std::string_view json, std::initializer_list<std::string_view> path);

// Calls `each(name, raw_value)` for the members of a raw object until it returns false.
template <class F>
void members(std::string_view object, F&& each);
// Calls `each(raw_value)` for the elements of a raw array until it returns false.
template <class F>
void elements(std::string_view array, F&& each);

// The text of a raw token: strings unescaped, other scalars as they stand, "" for null and absent.
std::string text(std::string_view raw);
// Whether the raw token is the string `expected`, without building it unless it has escapes.
bool equals(std::string_view raw, std::string_view expected);
std::int64_t integer(std::string_view raw, std::int64_t fallback = 0);

// End of the value that starts at json[at].
std::size_t skip(std::string_view json, std::size_t at);

template <class F>
void members(std::string_view object, F&& each) {
  if (object.size() < 2 || object[0] != '{') return;
  std::size_t at = 1;
  while (at < object.size() && object[at] == '"') {
    const std::size_t name_end = skip(object, at);
    const std::string_view name = object.substr(at + 1, name_end - at - 2);
    const std::size_t value = name_end + 1;  // past ':'
    const std::size_t value_end = skip(object, value);
    if (!each(name, object.substr(value, value_end - value))) return;
    at = value_end + 1;  // past ',' or '}'
  }
}

template <class F>
void elements(std::string_view array, F&& each) {
  if (array.size() < 3 || array[0] != '[') return;
  std::size_t at = 1;
  while (at < array.size()) {
    const std::size_t end = skip(array, at);
    if (!each(array.substr(at, end - at))) return;
    at = end + 1;
  }
}

}  // namespace skiff::registry::scan
