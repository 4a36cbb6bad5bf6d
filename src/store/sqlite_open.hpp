// What is looked at before a database is opened, and what a new one begins with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skiff::store {

// Blocks of superseded versions (history_block.hpp); `checksum` is over the directory, from
// `ended`.
inline constexpr const char* kHistoryTable =
    "CREATE TABLE history(ended INTEGER PRIMARY KEY, until INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, checksum INTEGER NOT NULL, directory BLOB NOT NULL,"
    " rows BLOB NOT NULL);";

// The network filesystem that `type` (statfs's f_type) stands for; "" for others.
std::string_view network_filesystem(std::int64_t type);
std::string_view network_filesystem_of(const std::string& path);

}  // namespace skiff::store
