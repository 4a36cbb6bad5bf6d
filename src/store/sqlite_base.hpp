// What the two connections to one database file have in common.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "history_block.hpp"
#include "metered_vfs.hpp"
#include "skiff/store/log.hpp"
#include "sqlite_statement.hpp"

namespace skiff::store {

constexpr std::int64_t kApplicationId = 0x736B6966;  // "skif"
constexpr std::int64_t kFormat = 3;
constexpr std::int64_t kPageSize = 4096;

// Bits of a row's `flags`.
constexpr unsigned kErase = 1;
constexpr unsigned kVolatile = 2;
constexpr unsigned kSealed = 4;  // the value is the Sealer's
constexpr unsigned kDated = 8;   // the checksum covers time and author (format 2)

// The columns of a record in `records`, in the order that raw_record() reads them.
#define SKIFF_COLUMNS \
  "revision, previous, created, flags, checksum, key, attributes, value, time, author"

// The row counter of `mark`.
struct Mark {
  Revision compacted = 0;  // history() and state() read from here on
  Revision ceiling = 0;    // after a crash, numbering goes on no lower than here
  bool clean = true;       // nothing acknowledged is missing
  Revision moved = 0;      // what was superseded up to here is in `history`
  std::int64_t history_bytes = 0;
  bool open = false;  // in use, or not closed: a write-ahead log must be there
};

class Connection {
 public:
  Connection(std::shared_ptr<const SqliteOptions> options, std::shared_ptr<MeteredVfs> vfs)
      : options_(std::move(options)), vfs_(std::move(vfs)) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  // Closes without merging the write-ahead log: the file looks as after a crash.
  ~Connection() { sqlite3_close(db_); }

  const std::string& path() const noexcept { return options_->path; }

  Result<void> open();
  int exec(const char* sql) { return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr); }
  std::int64_t ask(const char* sql, int& code);
  struct Merged {
    int pages = 0;  // of the write-ahead log
    int merged = 0;
  };
  // Merges what can be merged without waiting for anybody.
  Result<Merged> checkpoint();
  // Waits until the write-ahead log is on disk.
  Result<void> sync_wal();

  Error error(int code, std::string_view doing) const;
  Error damaged(std::string_view why) const;
  // Checked against its checksum, and opened.
  Result<Record> decode(const RawRecord& raw);
  // The record that `row` stands on; columns begin at `first`. Valid until its next step or reset.
  static RawRecord raw_record(const Statement& row, int first = 0);

 protected:
  sqlite3* db_ = nullptr;
  std::shared_ptr<const SqliteOptions> options_;
  std::shared_ptr<MeteredVfs> vfs_;

 private:
  Author author_of(std::string_view name);
  std::unordered_map<std::string, Author> authors_;  // few: shared by the records that name them
};

std::string directory_of(const std::string& path);
std::string mark_path(const std::string& path);  // see DurableMark

}  // namespace skiff::store
