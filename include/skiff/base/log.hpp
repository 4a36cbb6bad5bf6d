// Structured log: one line an entry, `TIME LEVEL room message key=value ...` on standard error.
// Safe to call from any thread.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "skiff/base/clock.hpp"
#include "skiff/base/result.hpp"

namespace skiff::log {

enum class Level : std::uint8_t { debug, info, warn, error, off };

struct Field {
  std::string_view key;
  std::string value;
  Field(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const Error& e) : key(k), value(e.message) {}
  template <class T>
  requires std::is_arithmetic_v<T> Field(std::string_view k, T v)
      : key(k), value(std::to_string(v)) {}
};
using Fields = std::initializer_list<Field>;

// Process-wide settings; set once at start.
void set_level(Level level) noexcept;
Result<Level> parse_level(std::string_view text);
// Receives whole lines without the newline; null restores standard error.
void set_sink(std::function<void(std::string_view)> sink);
// Where time stamps come from; null restores the system's clock. The clock must outlive its use.
void set_clock(const Clock* clock) noexcept;

bool enabled(Level level) noexcept;
void write(Level level, std::string_view room, std::string_view message, Fields fields);

inline void debug(std::string_view room, std::string_view message, Fields fields = {}) {
  if (enabled(Level::debug)) write(Level::debug, room, message, fields);
}
inline void info(std::string_view room, std::string_view message, Fields fields = {}) {
  if (enabled(Level::info)) write(Level::info, room, message, fields);
}
inline void warn(std::string_view room, std::string_view message, Fields fields = {}) {
  if (enabled(Level::warn)) write(Level::warn, room, message, fields);
}
inline void error(std::string_view room, std::string_view message, Fields fields = {}) {
  if (enabled(Level::error)) write(Level::error, room, message, fields);
}

}  // namespace skiff::log
