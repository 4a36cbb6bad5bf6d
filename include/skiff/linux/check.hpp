// What this machine can and cannot do for skiff, in plain words: `skiff check`.
#pragma once

#include <string>
#include <vector>

#include "skiff/linux/system.hpp"

namespace skiff::sys {

struct Finding {
  std::string what;  // "overlayfs"
  bool ok = false;
  std::string detail;  // what was found: "mounted and written to", "permission denied"
  std::string advice;  // when not ok: what is lost, and what to do about it
};

// Tries each thing for real in short-lived child processes; leaves nothing behind. Blocking, some
// tens of milliseconds.
std::vector<Finding> check_host();

}  // namespace skiff::sys
