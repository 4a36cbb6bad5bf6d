// Another server's state takes the place of everything in the file, in one transaction.
#include "sqlite_file.hpp"

namespace skiff::store {

Result<void> SqliteFile::replace(const Log::Recovered& at, const std::vector<Record>& state) {
  SKIFF_CHECK(begin_use());
  Mark mark = mark_;
  mark.compacted = at.revision;  // only the newest state came: nothing older can be told
  mark.ceiling = at.revision;
  mark.clean = false;  // watches from before end here
  mark.moved = at.revision;
  mark.history_bytes = 0;
  const auto body = [&] {
    if (const int code = exec("DELETE FROM records; DELETE FROM history"); code != SQLITE_OK) {
      return code;
    }
    for (const Record& record : state) {
      if (record.erase) continue;
      if (const int code = insert(record, 0); code != SQLITE_OK) return code;
    }
    return write_mark(mark);
  };
  durable_.remove();  // the new state may end before what was on disk until now
  SKIFF_CHECK(transaction(body));
  if (full()) durable_.write(at.revision);
  mark_ = mark;
  last_ = at.revision;
  target_ = 0;
  oldest_.reset();
  held_.clear();
  flush_.clear();
  tail_rows_ = 0;
  tail_bytes_ = 0;
  return sync_wal();
}

}  // namespace skiff::store
