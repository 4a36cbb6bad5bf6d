// The bytes of a snapshot. docs/internals/store.md describes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "skiff/store/snapshot.hpp"

namespace skiff::store {

inline constexpr std::string_view kSnapshotMagic = "skiffsnp";
inline constexpr std::uint32_t kSnapshotFormat = 1;
inline constexpr std::size_t kSnapshotHead = 12;           // magic and format
inline constexpr std::size_t kSnapshotBlockHead = 16;      // type, length, checksum
inline constexpr std::size_t kSnapshotBlock = 64U << 20U;  // no block is larger

enum class BlockType : std::uint32_t { about = 1, records = 2, end = 3 };

struct BlockHead {
  std::uint32_t type = 0;
  std::uint32_t length = 0;
  std::uint64_t checksum = 0;
};

void put_number(std::string& out, std::uint64_t n, std::size_t bytes);
std::uint64_t get_number(std::string_view in);  // all of it, little-endian

// `body` as block number `index`.
std::string encode_block(BlockType type, std::uint64_t index, std::string_view body);
BlockHead decode_block_head(std::string_view bytes);
std::uint64_t block_checksum(std::uint32_t type, std::uint64_t index, std::string_view body);

void put_record(std::string& out, const Item& item, const Sealer* sealer);
// Fails with a sentence about the record; `in` moves on.
Result<Record> get_record(std::string_view& in, const Sealer* sealer);

std::string encode_about(const SnapshotInfo& info);
bool decode_about(std::string_view bytes, SnapshotInfo& info);

}  // namespace skiff::store
