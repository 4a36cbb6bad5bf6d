// Turns a container's output into lines of the CRI log format:
//   TIMESTAMP STREAM TAG CONTENT NEWLINE, with TAG F for whole lines and P for parts of one.
// Source: kubernetes/design-proposals "CRI: log management"; the 16 KiB limit is containerd's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skiff::runtime::shim {

// "2026-11-23T18:15:48.123456789Z": always nine digits, so that lines sort.
void append_log_time(std::string& out, std::int64_t unix_nanoseconds);

class LogSplitter {
 public:
  static constexpr std::size_t max_line = 16U << 10U;

  // `stream`: "stdout" or "stderr".
  explicit LogSplitter(std::string_view stream) : stream_(stream) {}

  // Appends the log lines that `data` completes to `out`; the rest waits, at most max_line bytes.
  void feed(std::string_view data, std::int64_t now, std::string& out);
  // The output ended: what waits becomes a partial line, since no newline came.
  void finish(std::int64_t now, std::string& out);

 private:
  void emit(std::string_view content, char tag, std::int64_t now, std::string& out);

  std::string_view stream_;
  std::string pending_;
};

}  // namespace skiff::runtime::shim
