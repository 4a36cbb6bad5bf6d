// The database file behind the SQLite log: synchronous, one thread at a time.
// docs/internals/store.md describes the tables and why they look like this.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "metered_vfs.hpp"
#include "skiff/store/log.hpp"
#include "sqlite_statement.hpp"

namespace skiff::store {

class SqliteFile {
 public:
  static Result<std::unique_ptr<SqliteFile>> open(SqliteOptions options,
                                                  std::shared_ptr<Disk> disk);
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;
  ~SqliteFile();

  // Some records after revision `after`, in order, checked; none: that was all.
  Result<std::vector<Record>> read(Revision after);
  Log::Recovered recovered() const noexcept { return recovered_; }

  // One transaction, durable on return. With `flush`, volatile records that have waited long enough
  // begin to be written too.
  Result<void> append(const std::vector<Record>& records, bool flush);

  // The log may forget what was superseded up to `target`. False while that is not worth the
  // writing.
  bool compact_due(Revision target) const noexcept;
  // One bounded step; true when there are more.
  Result<bool> compact_step(Revision target);

  // The write-ahead log has grown to its bound.
  bool checkpoint_due() const noexcept { return wal_pages_ >= kWalPages; }
  Result<void> checkpoint();

  // Writes what is held back. The destructor does not: it leaves what a crash would leave.
  Result<void> close();

  std::int64_t size_in_bytes();

 private:
  // A volatile record that is not on disk.
  struct Held {
    Record record;
    Revision on_disk = 0;  // the key's version on disk; 0: none
    bool touched = false;  // superseded another one since the last flush
  };
  // What a transaction does to `held_` once it succeeds; empty: no longer held.
  using HeldChanges = std::unordered_map<std::string_view, std::optional<Held>>;
  struct Row {
    const Record* record;
    Revision previous;
  };

  static constexpr int kWalPages = 1000;

  explicit SqliteFile(SqliteOptions options, std::shared_ptr<Disk> disk);
  Result<void> connect();
  Result<void> check_format(bool& is_new);
  Result<void> create();
  Result<void> prepare();
  Result<void> load_mark();

  const Held* find_held(const HeldChanges& changes, std::string_view key) const;
  void plan(const Record& record, HeldChanges& changes, std::vector<Row>& rows) const;
  void queue_flush();
  std::vector<ItemPtr> take_flush(std::size_t limit);
  void apply(HeldChanges changes);

  int insert(const Record& record, Revision previous);
  int write_held(const Held& held);
  int write_mark(Revision compacted, Revision ceiling, bool clean);
  int write_all(const std::vector<Row>& rows, const std::vector<ItemPtr>& flush,
                HeldChanges& changes);
  template <class F>
  Result<void> transaction(F body);
  int delete_step(Revision target, Revision& reached);

  int exec(const char* sql) { return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr); }
  std::int64_t ask(const char* sql, int& code);
  Error error(int code, std::string_view doing) const;
  Error damaged(std::string_view why) const;

  SqliteOptions options_;
  MeteredVfs vfs_;
  sqlite3* db_ = nullptr;
  Statement begin_, commit_, insert_, delete_, previous_of_, mark_;
  Statement read_, step_end_, delete_superseded_, delete_erases_, page_count_, free_pages_;

  Log::Recovered recovered_;
  Revision last_ = 0;       // newest revision seen
  Revision compacted_ = 0;  // nothing superseded up to here is on disk
  Revision ceiling_ = 0;    // after a crash, numbering goes on no lower than here
  bool clean_ = true;       // on disk: nothing acknowledged is missing
  std::unordered_map<std::string_view, Held> held_;  // by the item's key
  std::vector<ItemPtr> flush_;                       // keys due to be written, if still held
  std::size_t rows_since_compaction_ = 0;
  std::size_t bytes_since_compaction_ = 0;
  int wal_pages_ = 0;
};

}  // namespace skiff::store
