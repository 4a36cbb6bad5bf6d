// Who a container runs as: numbers from names, looked up in the image's own /etc/passwd and
// /etc/group.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/runtime/runtime.hpp"

namespace skiff::runtime {

struct UserIds {
  std::int64_t uid = 0;
  std::int64_t gid = 0;
  std::vector<std::int64_t> groups;  // supplemental, sorted, with the primary one
  std::string home = "/";
};

// A file of an image: from the topmost layer that has it. "" when none does, or when it is not a
// regular file. At most 1 MiB.
std::string read_layered(const std::vector<std::string>& lower_dirs, const std::string& path);

// Pure. `passwd` and `group` are those files' texts. Errors: invalid, worded as upstream words them
// ("unable to find user foo: no matching entries in passwd file").
Result<UserIds> resolve_user(const SecurityContext& security, std::string_view image_user,
                             std::string_view passwd, std::string_view group);

}  // namespace skiff::runtime
