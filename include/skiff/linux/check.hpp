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

// Whether rules of others (a host firewall, another container engine) drop forwarded packets unless
// something accepts them: pods would then reach nothing beyond their node. Reads the chains of the
// network namespace it is called in.
Finding check_firewall();

}  // namespace skiff::sys
