// The database file behind the SQLite log, as its writer sees it: synchronous, one thread at a
// time. docs/internals/store.md describes the tables and why they look like this.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sqlite_base.hpp"
#include "sqlite_reader.hpp"
#include "write_meter.hpp"

namespace skiff::store {

// PATH-mark: the newest revision that was known to be on disk, written after every durable append
// and never waited for. A write-ahead log that recovers less than this has lost something.
class DurableMark {
 public:
  DurableMark(std::shared_ptr<MeteredVfs> vfs, std::string path);
  DurableMark(const DurableMark&) = delete;
  DurableMark& operator=(const DurableMark&) = delete;
  ~DurableMark();

  std::optional<Revision> read();
  void write(Revision revision);  // failure costs nothing but the notice
  void remove();

 private:
  bool open();
  std::shared_ptr<MeteredVfs> vfs_;
  std::string path_;
  std::unique_ptr<char[]> memory_;
  sqlite3_file* file_ = nullptr;  // null: not open
  bool failed_ = false;
};

class SqliteFile final : private Connection {
 public:
  static Result<std::unique_ptr<SqliteFile>> open(SqliteOptions options, std::shared_ptr<Disk> disk,
                                                  WriteMeter* meter = nullptr);
  ~SqliteFile();

  Log::Recovered recovered() const noexcept { return recovered_; }
  // A connection for another thread; destroyed before this is closed.
  Result<std::unique_ptr<SqliteReader>> reader();

  // One transaction, durable on return. With `flush`, volatile records that have waited long enough
  // begin to be written too.
  Result<void> append(const std::vector<Record>& records, bool flush);
  // Writes what is held back, and waits for the disk.
  Result<void> sync();

  // Puts `state` in place of everything; durable on return.
  Result<void> replace(const Log::Recovered& at, const std::vector<Record>& state);

  // history() and state() need not read before `target` any more.
  void forget(Revision target) noexcept { target_ = std::max(target_, target); }
  Revision compacted() const noexcept { return std::max(mark_.compacted, target_); }
  // Somebody reads the state at `revision`: age and bytes do not take it away until there is four
  // times as much history as is to be kept. 0: nobody does.
  void hold(Revision revision) noexcept { held_at_ = revision; }
  // Superseded versions should be moved or dropped: there are enough to be worth the writing.
  bool step_due(WallTime now) const noexcept;
  // One bounded step of that, on disk with the next append.
  enum class Left { nothing, space, versions };  // to be given back; to be moved or dropped
  Result<Left> step(WallTime now);

  int wal_pages() const noexcept { return wal_pages_; }
  // So much of the file is free at its end that cutting it off, which merging does, takes a while.
  bool cut_due() const noexcept;
  Result<Merged> checkpoint();
  // The reader has merged everything.
  void all_merged() noexcept { wal_pages_ = vacuumed_ = 0; }

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
  // A record in the tail of `records`, which may supersede another.
  struct Tail {
    Revision revision;
    Revision previous;
    std::int64_t time;
    unsigned flags;
  };

  SqliteFile(std::shared_ptr<const SqliteOptions> options, std::shared_ptr<MeteredVfs> vfs,
             WriteMeter* meter);
  Result<void> connect();
  Result<void> check_format(std::int64_t& format);
  Result<void> create();
  Result<void> upgrade(std::int64_t format);
  Result<bool> has_old_history();
  Result<void> pack_history();
  Result<bool> pack_some();
  Result<void> run_script(const std::string& sql, std::string_view doing);
  Result<void> prepare();
  Result<void> load_mark();
  Result<void> check_nothing_lost(Revision newest);

  const Held* find_held(const HeldChanges& changes, std::string_view key) const;
  void plan(const Record& record, HeldChanges& changes, std::vector<Row>& rows) const;
  void queue_flush();
  std::vector<ItemPtr> take_flush(std::size_t limit);
  void apply(HeldChanges changes);
  Result<void> flush_all();
  Result<void> begin_use();
  Result<void> make_sure();
  void set_waiting(bool wait);

  int insert(const Record& record, Revision previous);
  int write_held(const Held& held);
  int write_mark(const Mark& mark);
  int write_all(const std::vector<Row>& rows, const std::vector<ItemPtr>& flush,
                HeldChanges& changes);
  Result<void> transaction(const std::function<int()>& body);

  int read_tail(std::int64_t limit, std::vector<Tail>& tail);
  int move(const Tail& tail, Revision compacted, WallTime now, BlockWriter& block);
  int retire(Revision revision, std::int64_t ended, std::int64_t until, Revision compacted,
             BlockWriter& block);
  int insert_block(const BlockWriter& block);
  int trim(Mark& mark, WallTime now, bool& more);
  bool too_old(WallTime until, WallTime now) const noexcept;
  bool held(std::int64_t ended, std::int64_t history_bytes) const noexcept;
  int vacuum(Left& left);
  std::int64_t lookups();  // of pages by this connection, wherever they were

  bool full() const noexcept { return options_->durability == Durability::full; }

  Statement begin_, commit_, insert_, delete_, previous_of_, write_mark_;
  Statement tail_, superseded_, insert_block_, trim_blocks_, trim_, page_count_, free_pages_;

  DurableMark durable_;
  WriteMeter* meter_;  // may be null
  Log::Recovered recovered_;
  Revision last_ = 0;               // newest revision seen
  Mark mark_;                       // as it is on disk
  Revision target_ = 0;             // of forget()
  Revision held_at_ = 0;            // of hold()
  bool waiting_ = true;             // a commit waits for the disk
  bool packing_ = false;            // history of format 2 is being brought to this one
  bool stepping_ = false;           // a round of steps is under way
  bool trimming_ = false;           // history is over its bound and not yet well below
  std::optional<WallTime> oldest_;  // when the last version in the oldest block was superseded
  std::unordered_map<std::string_view, Held> held_;  // by the item's key
  std::vector<ItemPtr> flush_;                       // keys due to be written, if still held
  std::size_t tail_rows_ = 0;                        // appended since the last round
  bool tail_supersedes_ = true;                      // or may, anything
  std::size_t tail_bytes_ = 0;
  std::size_t last_rows_ = 0;  // of the last append
  int wal_pages_ = 0;
  int vacuum_pages_ = 0;  // given back by a step
  int vacuumed_ = 0;      // free pages at the end of the file since it was cut
};

}  // namespace skiff::store
