// Writing the database file.
#include "sqlite_file.hpp"

#include <algorithm>

#include "record_codec.hpp"

namespace skiff::store {
namespace {

// Revisions that volatile records may take before the mark must be written again; after a crash as
// many numbers may be skipped.
constexpr Revision kReserve = 10'000;
// Volatile records written along with one append.
constexpr std::size_t kFlushBatch = 500;

}  // namespace

Result<void> SqliteFile::transaction(const std::function<int()>& body) {
  vfs_->disk().gathers = waiting_;
  int code = begin_.run();
  if (code == SQLITE_OK) code = body();
  if (code == SQLITE_OK) code = commit_.run();
  vfs_->disk().gathers = false;
  if (code == SQLITE_OK) return {};
  Error failure = error(code, "write");
  if (sqlite3_get_autocommit(db_) == 0) exec("ROLLBACK");
  return failure;
}

const SqliteFile::Held* SqliteFile::find_held(const HeldChanges& changes,
                                              std::string_view key) const {
  if (const auto it = changes.find(key); it != changes.end()) {
    return it->second ? &*it->second : nullptr;
  }
  const auto it = held_.find(key);
  return it == held_.end() ? nullptr : &it->second;
}

// A record that supersedes a held one takes its place in the key's chain on disk.
void SqliteFile::plan(const Record& record, HeldChanges& changes, std::vector<Row>& rows) const {
  const std::string_view key = record.item->key;
  const Held* held = held_.empty() && changes.empty() ? nullptr : find_held(changes, key);
  const Revision on_disk = held != nullptr ? held->on_disk : record.previous;
  if (!record.is_volatile) {
    rows.push_back({&record, on_disk});
    if (held != nullptr) changes[key] = std::nullopt;
    return;
  }
  if (record.erase && on_disk == 0) {
    changes[key] = std::nullopt;  // came and went between two flushes
    return;
  }
  changes[key] = Held{record, on_disk, held != nullptr};
}

void SqliteFile::queue_flush() {
  flush_.clear();
  for (auto& [key, held] : held_) {
    if (held.on_disk == 0 || !held.touched) flush_.push_back(held.record.item);
    held.touched = false;
  }
}

std::vector<ItemPtr> SqliteFile::take_flush(std::size_t limit) {
  const std::size_t n = std::min(limit, flush_.size());
  const auto from = flush_.end() - static_cast<std::ptrdiff_t>(n);
  std::vector<ItemPtr> taken(std::make_move_iterator(from), std::make_move_iterator(flush_.end()));
  flush_.erase(from, flush_.end());
  return taken;
}

void SqliteFile::apply(HeldChanges changes) {
  for (auto& [key, held] : changes) {
    held_.erase(key);  // its node holds a view of the older item's key
    if (held) held_.emplace(held->record.item->key, std::move(*held));
  }
}

int SqliteFile::insert(const Record& record, Revision previous) {
  const Item& item = *record.item;
  unsigned flags = kDated;
  if (record.erase) flags |= kErase;
  if (record.is_volatile) flags |= kVolatile;
  std::string sealed;
  std::string_view value = item.value;
  if (options_->sealer != nullptr && options_->sealer->covers(item.key)) {
    sealed = options_->sealer->seal(item.key, item.value);
    value = sealed;
    flags |= kSealed;
  }
  const std::string_view author = record.author != nullptr ? *record.author : std::string_view();
  const std::int64_t time = record.time.time_since_epoch().count();
  const std::string attributes = encode_attributes(item.attributes);
  insert_.bind(1, item.modified).bind(2, previous).bind(3, item.created).bind(4, flags);
  insert_.bind(5, static_cast<std::int64_t>(checksum(item, value, previous, flags, time, author)));
  insert_.bind_text(6, item.key).bind_blob(7, attributes).bind_blob(8, value);
  insert_.bind(9, time).bind_text(10, author);
  const std::size_t bytes = item.key.size() + attributes.size() + value.size() + author.size();
  tail_rows_ += 1;
  if (previous != 0 || record.erase) tail_supersedes_ = true;
  tail_bytes_ += bytes;
  if (meter_ != nullptr) meter_->count(item.key, bytes);
  return insert_.run();
}

int SqliteFile::write_mark(const Mark& mark) {
  write_mark_.bind(1, mark.compacted).bind(2, mark.ceiling).bind(3, mark.clean ? 1 : 0);
  write_mark_.bind(4, mark.moved).bind(5, mark.history_bytes).bind(6, mark.open ? 1 : 0);
  return write_mark_.run();
}

// Takes the place of the key's version on disk at once: volatile keys keep no history there. What
// that version superseded may still await compaction, so the new record inherits the link to it.
int SqliteFile::write_held(const Held& held) {
  Revision inherited = 0;
  if (held.on_disk != 0) {
    previous_of_.bind(1, held.on_disk);
    if (previous_of_.step() == SQLITE_ROW) inherited = previous_of_.integer(0);
    previous_of_.reset();
    if (const int code = delete_.bind(1, held.on_disk).run(); code != SQLITE_OK) return code;
  }
  // An erase is only worth a record in place of one that shows how far the log goes, or while
  // something older of the key lies about.
  if (held.record.erase && held.on_disk <= mark_.moved) return SQLITE_OK;
  return insert(held.record, inherited);
}

int SqliteFile::write_all(const std::vector<Row>& rows, const std::vector<ItemPtr>& flush,
                          HeldChanges& changes) {
  for (const Row& row : rows) {
    if (const int code = insert(*row.record, row.previous); code != SQLITE_OK) return code;
  }
  for (const ItemPtr& item : flush) {
    const Held* held = find_held(changes, item->key);
    if (held == nullptr) continue;  // superseded by what is on disk, or came and went
    if (const int code = write_held(*held); code != SQLITE_OK) return code;
    changes[item->key] = std::nullopt;
  }
  return SQLITE_OK;
}

Result<void> SqliteFile::append(const std::vector<Record>& records, bool flush) {
  HeldChanges changes;
  std::vector<Row> rows;
  rows.reserve(records.size());
  Revision newest_volatile = 0;
  for (const Record& record : records) {
    plan(record, changes, rows);
    if (record.is_volatile) newest_volatile = record.item->modified;
  }
  if (flush) queue_flush();
  const std::vector<ItemPtr> due = take_flush(kFlushBatch);
  // Volatile records leave no trace of their revision, but no other may get it after a crash.
  const bool reserve = newest_volatile != 0 && (mark_.clean || newest_volatile > mark_.ceiling);
  last_rows_ = rows.size() + due.size();
  if (!rows.empty() || !due.empty() || reserve) {
    Result<void> written = begin_use();
    Mark mark = mark_;
    if (reserve) {
      mark.ceiling = newest_volatile + kReserve;
      mark.clean = false;
    }
    if (written) {
      written = transaction([&] {
        const int code = write_all(rows, due, changes);
        return code == SQLITE_OK && reserve ? write_mark(mark) : code;
      });
    }
    if (!written) {
      flush_.insert(flush_.end(), due.begin(), due.end());
      return written.error();
    }
    mark_ = mark;
    if (full() && !rows.empty()) durable_.write(rows.back().record->item->modified);
  }
  last_ = records.back().item->modified;
  apply(std::move(changes));
  return {};
}

// The file itself says that it is in use, so that a copy of it without its write-ahead log is
// noticed.
Result<void> SqliteFile::begin_use() {
  set_waiting(full());
  SKIFF_CHECK(make_sure());
  if (mark_.open) return {};
  Mark mark = mark_;
  mark.open = true;
  SKIFF_CHECK(transaction([&] { return write_mark(mark); }));
  SKIFF_CHECK(checkpoint());
  mark_ = mark;
  return {};
}

// After a failed sync the kernel may have let go of pages it could not write, and would report
// success next time (https://lwn.net/Articles/752063/). So what the write-ahead log holds is first
// brought into the database, which writes it anew.
Result<void> SqliteFile::make_sure() {
  if (!vfs_->disk().suspect) return {};
  SKIFF_TRY(const Merged m, checkpoint());
  if (m.merged < m.pages) {
    return Error{Code::unavailable, "cannot write " + path() +
                                        ": the disk failed and what it holds is being saved; "
                                        "try again"};
  }
  vfs_->disk().suspect = false;
  return {};
}

void SqliteFile::set_waiting(bool wait) {
  if (waiting_ == wait) return;
  exec(wait ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
  waiting_ = wait;
}

Result<void> SqliteFile::flush_all() {
  flush_.clear();
  for (const auto& [key, held] : held_) flush_.push_back(held.record.item);
  while (!flush_.empty()) {
    HeldChanges changes;
    const std::vector<ItemPtr> due = take_flush(kFlushBatch);
    SKIFF_CHECK(transaction([&] { return write_all({}, due, changes); }));
    apply(std::move(changes));
  }
  return {};
}

Result<void> SqliteFile::sync() {
  if (held_.empty() && !mark_.open) return {};
  SKIFF_CHECK(begin_use());
  SKIFF_CHECK(flush_all());
  return sync_wal();
}

Result<void> SqliteFile::close() {
  if (mark_.open) {
    set_waiting(full());
    SKIFF_CHECK(make_sure());
    SKIFF_CHECK(flush_all());
    Mark mark = mark_;
    mark.open = false;
    mark.clean = true;
    mark.ceiling = last_;
    SKIFF_CHECK(transaction([&] { return write_mark(mark); }));
    mark_ = mark;
  }
  // With nothing left in it the write-ahead log goes; a full disk may not let it, and it stays.
  const auto merged = checkpoint();
  if (merged && merged->merged == merged->pages) {
    sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
  }
  return {};
}

Result<Connection::Merged> SqliteFile::checkpoint() {
  auto merged = Connection::checkpoint();
  if (merged && merged->merged == merged->pages) wal_pages_ = vacuumed_ = 0;
  return merged;
}

std::int64_t SqliteFile::size_in_bytes() {
  page_count_.step();
  const std::int64_t pages = page_count_.integer(0);
  page_count_.reset();
  return pages * kPageSize;
}

}  // namespace skiff::store
