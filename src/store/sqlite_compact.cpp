// What happens to superseded versions: out of what a start must read, and in the end away.
#include <algorithm>

#include "record_codec.hpp"
#include "sqlite_file.hpp"

namespace skiff::store {
namespace {

// A round begins when this much was appended: each rewrites pages that could have lain still.
constexpr std::size_t kRoundRows = 512;
constexpr std::size_t kRoundBytes = 4U << 20U;
// A step moves this many records, or twice what the last append wrote: so no load outruns it, and a
// step costs no more than an append of that load.
constexpr std::size_t kStepRows = 48;
constexpr std::size_t kMostStepRows = 4096;
constexpr std::size_t kStepBytes = 512U << 10U;
constexpr std::int64_t kTrimBlocks = 2;  // a step drops at most so many, and makes one
// A bound of some kilobytes would never let a large state be read.
constexpr std::int64_t kLeastHeld = 256 << 20;
// Dropped on request only when it gives back so much.
constexpr std::int64_t kWorthDropping = 256 << 10;
// Free pages are given back when they are many: they would be used again soon enough otherwise.
constexpr std::int64_t kFreePages = 1024;
// A step gives back this many: what they cost is mostly looking them up in the list of free pages,
// which has up to a thousand in each page of its own. Where that takes long a step looks for fewer.
constexpr int kLeastVacuum = 2;
constexpr int kMostVacuum = 16;
constexpr std::int64_t kFewLookups = 150;
constexpr std::int64_t kManyLookups = 300;
// What may be cut off the file at once: a filesystem takes a millisecond for some megabytes.
constexpr int kCutPages = 64;

}  // namespace

bool SqliteFile::too_old(WallTime until, WallTime now) const noexcept {
  return options_->history > Duration::zero() && until + options_->history < now;
}

bool SqliteFile::held(std::int64_t ended, std::int64_t history_bytes) const noexcept {
  const auto most = std::max(4 * static_cast<std::int64_t>(options_->history_bytes), kLeastHeld);
  return held_at_ != 0 && ended / 2 > held_at_ && history_bytes <= most;
}

bool SqliteFile::cut_due() const noexcept { return vacuumed_ >= kCutPages; }

bool SqliteFile::step_due(WallTime now) const noexcept {
  if ((stepping_ && !cut_due()) || tail_rows_ >= kRoundRows || tail_bytes_ >= kRoundBytes)
    return true;
  if (target_ > mark_.compacted && mark_.history_bytes >= kWorthDropping) return true;
  // Once an hour of a day's history, and not with every commit.
  const auto slack = std::chrono::floor<WallTime::duration>(options_->history / 24);
  return oldest_ && too_old(*oldest_, now - slack);
}

int SqliteFile::read_tail(std::int64_t limit, std::vector<Tail>& tail) {
  if (!tail_supersedes_) return SQLITE_OK;  // new keys only
  tail_.bind(1, mark_.moved).bind(2, limit);
  int code = SQLITE_ROW;
  while ((code = tail_.step()) == SQLITE_ROW) {
    tail.push_back({tail_.integer(0), tail_.integer(1), tail_.integer(2),
                    static_cast<unsigned>(tail_.integer(3))});
  }
  tail_.reset();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

// Out of `records`, and into the block if that may still be asked for.
int SqliteFile::retire(Revision revision, std::int64_t ended, std::int64_t until,
                       Revision compacted, BlockWriter& block) {
  if (ended / 2 > compacted) {
    const int code = superseded_.bind(1, revision).step();
    if (code == SQLITE_ROW) block.add(raw_record(superseded_), ended, until);
    superseded_.reset();
    if (code != SQLITE_ROW && code != SQLITE_DONE) return code;
  }
  return delete_.bind(1, revision).run();
}

int SqliteFile::move(const Tail& tail, Revision compacted, WallTime now, BlockWriter& block) {
  // Records of format 1 do not know their time.
  const std::int64_t until = tail.time != 0 ? tail.time : now.time_since_epoch().count();
  int code = SQLITE_OK;
  if (tail.previous != 0) {
    code = retire(tail.previous, tail.revision * 2, until, compacted, block);
  }
  if (code == SQLITE_OK && (tail.flags & kErase) != 0) {
    code = retire(tail.revision, tail.revision * 2 + 1, until, compacted, block);
  }
  return code;
}

int SqliteFile::insert_block(const BlockWriter& block) {
  const std::string& directory = block.directory();
  const auto sum = checksum(directory, static_cast<std::uint64_t>(block.ended()));
  insert_block_.bind(1, block.ended()).bind(2, block.until());
  insert_block_.bind(3, static_cast<std::int64_t>(block.bytes()));
  insert_block_.bind(4, static_cast<std::int64_t>(sum));
  insert_block_.bind_blob(5, directory).bind_blob(6, block.rows());
  return insert_block_.run();
}

// Whole blocks, oldest first: all of it has been given up, or too much or too old is kept.
int SqliteFile::trim(Mark& mark, WallTime now, bool& more) {
  const auto bound = static_cast<std::int64_t>(options_->history_bytes);
  if (bound != 0 && mark.history_bytes > bound) trimming_ = true;
  std::int64_t last = 0;
  std::int64_t seen = 0;
  int code = SQLITE_ROW;
  oldest_.reset();
  trim_blocks_.bind(1, kTrimBlocks);
  while ((code = trim_blocks_.step()) == SQLITE_ROW) {
    const std::int64_t ended = trim_blocks_.integer(0);
    const WallTime until{std::chrono::microseconds(trim_blocks_.integer(1))};
    if (mark.history_bytes <= bound / 8 * 7) trimming_ = false;
    if (held(ended, mark.history_bytes) && ended / 2 > mark.compacted) break;
    if (ended / 2 > mark.compacted && !trimming_ && !too_old(until, now)) {
      oldest_ = until;
      break;
    }
    last = ended;
    mark.compacted = std::max(mark.compacted, ended / 2);
    mark.history_bytes -= trim_blocks_.integer(2);
    ++seen;
  }
  trim_blocks_.reset();
  if (code != SQLITE_ROW && code != SQLITE_DONE) return code;
  if (seen < kTrimBlocks && !oldest_) trimming_ = false;  // nothing is left
  more = more || seen == kTrimBlocks;
  return last == 0 ? SQLITE_OK : trim_.bind(1, last).run();
}

std::int64_t SqliteFile::lookups() {
  int hits = 0;
  int misses = 0;
  int unused = 0;
  sqlite3_db_status(db_, SQLITE_DBSTATUS_CACHE_HIT, &hits, &unused, 0);
  sqlite3_db_status(db_, SQLITE_DBSTATUS_CACHE_MISS, &misses, &unused, 0);
  return std::int64_t{hits} + misses;
}

int SqliteFile::vacuum(Left& left) {
  free_pages_.step();
  const std::int64_t free = free_pages_.integer(0);
  free_pages_.reset();
  if (free <= kFreePages || free * 4 * kPageSize <= size_in_bytes()) {
    vacuum_pages_ = 0;
    return SQLITE_OK;
  }
  left = Left::space;
  vacuum_pages_ = std::clamp(vacuum_pages_, kLeastVacuum, kMostVacuum);
  vacuumed_ += vacuum_pages_;
  const std::int64_t before = lookups();
  const int code =
      exec(("PRAGMA incremental_vacuum(" + std::to_string(vacuum_pages_) + ")").c_str());
  const std::int64_t took = lookups() - before;
  if (took < kFewLookups) vacuum_pages_ *= 2;
  if (took > kManyLookups) vacuum_pages_ /= 2;
  return code;
}

Result<SqliteFile::Left> SqliteFile::step(WallTime now) {
  // Losing this to a power cut costs nothing, so it need not wait for the disk.
  set_waiting(false);
  const auto limit =
      static_cast<std::int64_t>(std::clamp(last_rows_ * 2, kStepRows, kMostStepRows));
  std::vector<Tail> tail;
  bool more = false;
  int code = read_tail(limit, tail);
  if (code != SQLITE_OK) return error(code, "read");
  Mark mark = mark_;
  mark.compacted = std::max(mark.compacted, target_);
  BlockWriter block;
  const auto done = transaction([&] {
    std::size_t n = 0;
    for (; n < tail.size() && block.bytes() < kStepBytes; ++n) {
      const int failed = move(tail[n], mark.compacted, now, block);
      if (failed != SQLITE_OK) return failed;
      mark.moved = tail[n].revision;
    }
    if (!tail_supersedes_) mark.moved = last_;
    more = n < tail.size() || n == static_cast<std::size_t>(limit);
    if (!block.empty()) {
      if (const int failed = insert_block(block); failed != SQLITE_OK) return failed;
      mark.history_bytes += static_cast<std::int64_t>(block.bytes());
    }
    if (const int failed = trim(mark, now, more); failed != SQLITE_OK) return failed;
    const bool same = mark.compacted == mark_.compacted && mark.moved == mark_.moved;
    return same ? SQLITE_OK : write_mark(mark);
  });
  if (!done) return done.error();
  mark_ = mark;
  Left left = more ? Left::versions : Left::nothing;
  if (!more) {
    tail_rows_ = 0;
    tail_bytes_ = 0;
    tail_supersedes_ = false;
    if (!cut_due()) code = vacuum(left);
    if (code != SQLITE_OK) return error(code, "write");
  }
  stepping_ = left != Left::nothing || cut_due();
  return left;
}

}  // namespace skiff::store
