// What is looked at before a database is opened.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skiff::store {

// The network filesystem that `type` (statfs's f_type) stands for; "" for others.
std::string_view network_filesystem(std::int64_t type);
std::string_view network_filesystem_of(const std::string& path);

}  // namespace skiff::store
