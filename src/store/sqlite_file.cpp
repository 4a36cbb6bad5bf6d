// Writing the database file.
#include "sqlite_file.hpp"

#include <algorithm>

#include "record_codec.hpp"

namespace skiff::store {
namespace {

constexpr unsigned kErase = 1;
constexpr unsigned kVolatile = 2;

// Revisions that volatile records may take before the mark must be written again; after a crash as
// many numbers may be skipped.
constexpr Revision kReserve = 10'000;
// Volatile records written along with one append.
constexpr std::size_t kFlushBatch = 500;
// Compaction waits for this much to look at: each round rewrites pages that could have lain still.
constexpr std::size_t kCompactRows = 512;
constexpr std::size_t kCompactBytes = 4U << 20U;
constexpr std::int64_t kCompactStep = 256;  // records looked at in one step
// Free pages are given back when they are many: they would be used again soon enough otherwise.
constexpr std::int64_t kFreePages = 1024;
constexpr const char* kVacuumStep = "PRAGMA incremental_vacuum(128)";

}  // namespace

template <class F>
Result<void> SqliteFile::transaction(F body) {
  int code = begin_.run();
  if (code == SQLITE_OK) code = body();
  if (code == SQLITE_OK) code = commit_.run();
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
  const unsigned flags = (record.erase ? kErase : 0) | (record.is_volatile ? kVolatile : 0);
  const std::string attributes = encode_attributes(item.attributes);
  insert_.bind(1, item.modified).bind(2, previous).bind(3, item.created).bind(4, flags);
  insert_.bind(5, static_cast<std::int64_t>(checksum(item, previous, flags)));
  insert_.bind_text(6, item.key).bind_blob(7, attributes).bind_blob(8, item.value);
  rows_since_compaction_ += 1;
  bytes_since_compaction_ += item.value.size();
  return insert_.run();
}

int SqliteFile::write_mark(Revision compacted, Revision ceiling, bool clean) {
  return mark_.bind(1, compacted).bind(2, ceiling).bind(3, clean ? 1 : 0).run();
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
  // An erase is only worth a record while something older of the key lies about; what compaction
  // has passed it will not look at again.
  const Revision revision = held.record.item->modified;
  if (held.record.erase && (inherited == 0 || revision <= compacted_)) return SQLITE_OK;
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
  const bool reserve = newest_volatile != 0 && (clean_ || newest_volatile > ceiling_);
  const Revision ceiling = reserve ? newest_volatile + kReserve : ceiling_;
  if (!rows.empty() || !due.empty() || reserve) {
    const auto written = transaction([&] {
      const int code = write_all(rows, due, changes);
      return code == SQLITE_OK && reserve ? write_mark(compacted_, ceiling, false) : code;
    });
    if (!written) {
      flush_.insert(flush_.end(), due.begin(), due.end());
      return written.error();
    }
  }
  if (reserve) {
    ceiling_ = ceiling;
    clean_ = false;
  }
  last_ = records.back().item->modified;
  apply(std::move(changes));
  return {};
}

bool SqliteFile::compact_due(Revision target) const noexcept {
  return target > compacted_ &&
         (rows_since_compaction_ >= kCompactRows || bytes_since_compaction_ >= kCompactBytes);
}

int SqliteFile::delete_step(Revision target, Revision& reached) {
  step_end_.bind(1, compacted_).bind(2, target).bind(3, kCompactStep);
  int code = step_end_.step();
  const bool none = code == SQLITE_ROW && step_end_.is_null(0);
  reached = none ? target : step_end_.integer(0);
  step_end_.reset();
  if (code != SQLITE_ROW) return code;
  if (none) return SQLITE_OK;
  code = delete_superseded_.bind(1, compacted_).bind(2, reached).run();
  if (code == SQLITE_OK) code = delete_erases_.bind(1, compacted_).bind(2, reached).run();
  if (code == SQLITE_OK) code = write_mark(reached, ceiling_, clean_);
  return code;
}

Result<bool> SqliteFile::compact_step(Revision target) {
  // Losing a compaction to a power cut costs nothing, so it need not wait for the disk.
  exec("PRAGMA synchronous=NORMAL");
  Result<bool> more = false;
  if (compacted_ < target) {
    Revision reached = compacted_;
    const auto done = transaction([&] { return delete_step(target, reached); });
    if (done) {
      compacted_ = reached;
      more = true;
    } else {
      more = done.error();
    }
  } else {
    int code = SQLITE_OK;
    free_pages_.step();
    const std::int64_t free = free_pages_.integer(0);
    free_pages_.reset();
    if (free > kFreePages && free * 4 * 4096 > size_in_bytes()) {
      code = exec(kVacuumStep);
      more = true;
    }
    if (code != SQLITE_OK) more = error(code, "write");
  }
  if (options_.durability == Durability::full) exec("PRAGMA synchronous=FULL");
  if (more && !*more) {
    rows_since_compaction_ = 0;
    bytes_since_compaction_ = 0;
  }
  return more;
}

Result<void> SqliteFile::checkpoint() {
  const int code =
      sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK) return error(code, "write");
  wal_pages_ = 0;
  return {};
}

Result<void> SqliteFile::close() {
  if (clean_) return {};
  flush_.clear();
  for (const auto& [key, held] : held_) flush_.push_back(held.record.item);
  while (!flush_.empty()) {
    HeldChanges changes;
    const std::vector<ItemPtr> due = take_flush(kFlushBatch * 10);
    SKIFF_CHECK(transaction([&] { return write_all({}, due, changes); }));
    apply(std::move(changes));
  }
  SKIFF_CHECK(transaction([&] { return write_mark(compacted_, last_, true); }));
  clean_ = true;
  ceiling_ = last_;
  return {};
}

std::int64_t SqliteFile::size_in_bytes() {
  page_count_.step();
  const std::int64_t pages = page_count_.integer(0);
  page_count_.reset();
  return pages * 4096;
}

}  // namespace skiff::store
