// Reading containers' logs: CRI format (`TIMESTAMP stdout|stderr F|P text`), rotated files
// included.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"

namespace skiff::kubelet {

// PodLogOptions, as far as a node needs them.
struct LogOptions {
  bool follow = false;
  bool timestamps = false;
  std::optional<std::int64_t> tail_lines;
  std::optional<std::int64_t> limit_bytes;
  std::optional<WallTime> since;
  std::string stream;  // "", "Stdout" or "Stderr"
};

// The plain text of the last `lines` lines, at most `bytes` bytes. Blocking.
std::string log_tail(const std::string& path, std::size_t lines, std::size_t bytes);

// Hands the log to `write` in pieces until its end; with follow, until `running` says that the
// container is over and everything is read. An absent file is an empty log. `write` returning false
// ends it.
Task<Result<void>> read_log(Env env, std::string path, LogOptions options,
                            std::function<bool()> running,
                            std::function<Task<bool>(std::string)> write);

}  // namespace skiff::kubelet
