// What happens to superseded versions: out of what a start must read, and in the end away.
#include <algorithm>

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
constexpr std::int64_t kStepBytes = 512 << 10;
// Dropped on request only when it gives back so much.
constexpr std::int64_t kWorthDropping = 256 << 10;
// Free pages are given back when they are many: they would be used again soon enough otherwise.
constexpr std::int64_t kFreePages = 1024;
constexpr const char* kVacuumStep = "PRAGMA incremental_vacuum(64)";

}  // namespace

bool SqliteFile::too_old(WallTime until, WallTime now) const noexcept {
  return options_->history > Duration::zero() && until + options_->history < now;
}

bool SqliteFile::step_due(WallTime now) const noexcept {
  if (stepping_ || tail_rows_ >= kRoundRows || tail_bytes_ >= kRoundBytes) return true;
  if (target_ > mark_.compacted && mark_.history_bytes >= kWorthDropping) return true;
  // Once an hour of a day's history, and not with every commit.
  const auto slack = std::chrono::floor<WallTime::duration>(options_->history / 24);
  return oldest_ && too_old(*oldest_, now - slack);
}

int SqliteFile::read_tail(std::int64_t limit, std::vector<Tail>& tail) {
  tail_.bind(1, mark_.moved).bind(2, limit);
  int code = SQLITE_ROW;
  while ((code = tail_.step()) == SQLITE_ROW) {
    tail.push_back({tail_.integer(0), tail_.integer(1), tail_.integer(2),
                    static_cast<unsigned>(tail_.integer(3))});
  }
  tail_.reset();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

// Out of `records`, and into `history` if that may still be asked for.
int SqliteFile::retire(Revision revision, std::int64_t ended, std::int64_t until, Mark& mark) {
  int code = SQLITE_OK;
  if (ended / 2 > mark.compacted) {
    retire_.bind(1, ended).bind(2, until).bind(3, revision);
    code = retire_.step();
    if (code == SQLITE_ROW) mark.history_bytes += retire_.integer(0);
    retire_.reset();
    if (code != SQLITE_ROW && code != SQLITE_DONE) return code;
  }
  return delete_.bind(1, revision).run();
}

int SqliteFile::move(const Tail& tail, Mark& mark, WallTime now) {
  // Records of format 1 do not know their time.
  const std::int64_t until = tail.time != 0 ? tail.time : now.time_since_epoch().count();
  int code = SQLITE_OK;
  if (tail.previous != 0) code = retire(tail.previous, tail.revision * 2, until, mark);
  if (code == SQLITE_OK && (tail.flags & kErase) != 0) {
    code = retire(tail.revision, tail.revision * 2 + 1, until, mark);
  }
  mark.moved = tail.revision;
  return code;
}

int SqliteFile::trim(Mark& mark, WallTime now, std::int64_t limit, bool& more) {
  const auto bound = static_cast<std::int64_t>(options_->history_bytes);
  if (bound != 0 && mark.history_bytes > bound) trimming_ = true;
  std::int64_t last = 0;
  std::int64_t seen = 0;
  int code = SQLITE_ROW;
  oldest_.reset();
  trim_rows_.bind(1, limit);
  while ((code = trim_rows_.step()) == SQLITE_ROW) {
    const std::int64_t ended = trim_rows_.integer(0);
    const WallTime until{std::chrono::microseconds(trim_rows_.integer(1))};
    if (mark.history_bytes <= bound / 8 * 7) trimming_ = false;
    if (ended / 2 > mark.compacted && !trimming_ && !too_old(until, now)) {
      oldest_ = until;
      break;
    }
    last = ended;
    mark.compacted = std::max(mark.compacted, ended / 2);
    mark.history_bytes -= trim_rows_.integer(2);
    ++seen;
  }
  trim_rows_.reset();
  if (code != SQLITE_ROW && code != SQLITE_DONE) return code;
  if (seen < limit && !oldest_) trimming_ = false;  // nothing is left
  more = more || seen == limit;
  return last == 0 ? SQLITE_OK : trim_.bind(1, last).run();
}

int SqliteFile::vacuum(bool& more) {
  free_pages_.step();
  const std::int64_t free = free_pages_.integer(0);
  free_pages_.reset();
  if (free <= kFreePages || free * 4 * kPageSize <= size_in_bytes()) return SQLITE_OK;
  more = true;
  return exec(kVacuumStep);
}

Result<bool> SqliteFile::step(WallTime now) {
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
  const auto done = transaction([&] {
    std::size_t n = 0;
    for (; n < tail.size() && mark.history_bytes < mark_.history_bytes + kStepBytes; ++n) {
      if (const int failed = move(tail[n], mark, now); failed != SQLITE_OK) return failed;
    }
    more = n < tail.size() || n == static_cast<std::size_t>(limit);
    if (const int failed = trim(mark, now, limit * 3 / 2, more); failed != SQLITE_OK) {
      return failed;
    }
    const bool same = mark.compacted == mark_.compacted && mark.moved == mark_.moved;
    return same ? SQLITE_OK : write_mark(mark);
  });
  if (!done) return done.error();
  mark_ = mark;
  if (!more) {
    tail_rows_ = 0;
    tail_bytes_ = 0;
    code = vacuum(more);
    if (code != SQLITE_OK) return error(code, "write");
  }
  stepping_ = more;
  return more;
}

}  // namespace skiff::store
