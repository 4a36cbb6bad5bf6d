// How the table `history` keeps superseded versions: some dozen to some thousand of them packed
// into one row, in the order in which they were superseded. docs/internals/store.md says why.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/store/item.hpp"

namespace skiff::store {

// A record's columns where they stand, not looked at yet. Valid as long as what they point into.
struct RawRecord {
  Revision revision = 0;
  Revision previous = 0;
  Revision created = 0;
  unsigned flags = 0;
  std::uint64_t checksum = 0;
  std::string_view key;
  std::string_view attributes;
  std::string_view value;
  std::int64_t time = 0;
  std::string_view author;
};

class BlockWriter {
 public:
  // `ended` must not be lower than the one before; the bytes are copied.
  void add(const RawRecord& record, std::int64_t ended, std::int64_t until);

  bool empty() const noexcept { return rows_.empty(); }
  std::int64_t ended() const noexcept { return ended_; }  // of the last record
  std::int64_t until() const noexcept { return until_; }  // the latest
  std::size_t bytes() const noexcept { return directory_.size() + rows_.size(); }
  const std::string& directory() const noexcept { return directory_; }
  const std::string& rows() const noexcept { return rows_; }

 private:
  std::string directory_;
  std::string rows_;
  std::string key_;  // of the last record
  Revision revision_ = 0;
  std::int64_t ended_ = 0;
  std::int64_t until_ = 0;
};

// One record of a block, by what can be asked for.
struct BlockEntry {
  std::string key;
  Revision revision = 0;
  std::int64_t ended = 0;  // twice the revision that superseded it; plus one for an erase itself
  std::size_t at = 0;      // in the rows
  std::size_t size = 0;
};

// Reads a block's directory from front to back.
class BlockDirectory {
 public:
  explicit BlockDirectory(std::string_view directory) : rest_(directory) {}
  // False at the end, and where the bytes make no sense: then damaged() is true.
  bool next();
  const BlockEntry& entry() const noexcept { return entry_; }
  bool damaged() const noexcept { return damaged_; }

 private:
  std::string_view rest_;
  BlockEntry entry_;
  bool damaged_ = false;
};

// The record that `entry` names, in the block's rows. False when there is none.
bool read_block_row(std::string_view rows, const BlockEntry& entry, RawRecord& out);

}  // namespace skiff::store
