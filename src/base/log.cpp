#include "skiff/base/log.hpp"

#include <unistd.h>

#include <atomic>
#include <mutex>

namespace skiff::log {
namespace {

std::atomic<Level> g_level{Level::info};
std::atomic<const Clock*> g_clock{nullptr};

struct Sink {
  std::mutex mutex;
  std::function<void(std::string_view)> function;
};
Sink& sink() {
  static Sink instance;
  return instance;
}

void append_value(std::string& line, std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \"=\n\t\\") == std::string_view::npos;
  if (plain) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n') {
      line += "\\n";
    } else {
      line += c;
    }
  }
  line += '"';
}

std::string_view name_of(Level level) {
  switch (level) {
    case Level::debug:
      return "DEBUG";
    case Level::info:
      return "INFO ";
    case Level::warn:
      return "WARN ";
    default:
      return "ERROR";
  }
}

}  // namespace

void set_level(Level level) noexcept { g_level = level; }

Result<Level> parse_level(std::string_view text) {
  if (text == "debug") return Level::debug;
  if (text == "info") return Level::info;
  if (text == "warn") return Level::warn;
  if (text == "error") return Level::error;
  if (text == "off") return Level::off;
  return Error{Code::bad_request, "unknown log level \"" + std::string(text) +
                                      "\": use debug, info, warn, error or off"};
}

void set_sink(std::function<void(std::string_view)> function) {
  const std::scoped_lock lock(sink().mutex);
  sink().function = std::move(function);
}

void set_clock(const Clock* clock) noexcept { g_clock = clock; }

bool enabled(Level level) noexcept { return level >= g_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view room, std::string_view message, Fields fields) {
  const Clock* clock = g_clock.load();
  std::string line = format_micro_time(clock != nullptr ? clock->wall() : RealClock().wall());
  line += ' ';
  line += name_of(level);
  line += ' ';
  line += room;
  line += ": ";
  line += message;
  for (const Field& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  const std::scoped_lock lock(sink().mutex);
  if (sink().function) {
    sink().function(line);
    return;
  }
  line += '\n';
  // One write per line, so that lines of several processes do not mix. A closed stderr is no reason
  // to fail.
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace skiff::log
