// mount(8)'s words in an OCI mount's "options".
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace skiff::api {
class Value;
}

namespace skiff::runtime {

struct MountOptions {
  unsigned long flags = 0;       // MS_*
  std::uint64_t bind_flags = 0;  // steps.hpp's
  bool bind = false;
  std::string data;  // what is the file system's own, comma-separated
};

MountOptions parse_mount_options(std::span<const api::Value> words);

}  // namespace skiff::runtime
