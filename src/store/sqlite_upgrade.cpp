// Databases of older formats, brought to the present one where they lie.
#include <algorithm>

#include "skiff/base/log.hpp"
#include "sqlite_file.hpp"
#include "sqlite_open.hpp"

namespace skiff::store {
namespace {

constexpr std::size_t kPackBytes = 256U << 10U;  // of a block
constexpr int kPackPages = 1000;                 // merged from here on
// Format 2 had superseded versions one to a row, with an index over their keys.
constexpr const char* kOldHistory = "history_of_format_2";

}  // namespace

// Tables as the statements of this format want them. Format 1 had no history of its own; its
// records keep their checksums, and know neither time nor author.
Result<void> SqliteFile::upgrade(std::int64_t format) {
  log::info("store", "the database is brought to a new format",
            {{"path", path()}, {"from", format}, {"to", kFormat}});
  if (format == 1) {
    return run_script(
        std::string("ALTER TABLE records ADD COLUMN time INTEGER NOT NULL DEFAULT 0;"
                    "ALTER TABLE records ADD COLUMN author TEXT NOT NULL DEFAULT '';") +
            kHistoryTable +
            "ALTER TABLE mark ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;"
            "ALTER TABLE mark ADD COLUMN history_bytes INTEGER NOT NULL DEFAULT 0;"
            "ALTER TABLE mark ADD COLUMN open INTEGER NOT NULL DEFAULT 0;"
            "UPDATE mark SET moved=compacted;"
            "PRAGMA user_version=" +
            std::to_string(kFormat) + ";",
        "upgrade");
  }
  SKIFF_TRY(packing_, has_old_history());
  if (packing_) return {};  // it was interrupted
  packing_ = true;
  return run_script("DROP INDEX history_by_key;ALTER TABLE history RENAME TO " +
                        std::string(kOldHistory) + ";" + kHistoryTable,
                    "upgrade");
}

Result<bool> SqliteFile::has_old_history() {
  int code = SQLITE_OK;
  const std::string sql =
      "SELECT count(*) FROM sqlite_master WHERE name='" + std::string(kOldHistory) + "'";
  const bool has = ask(sql.c_str(), code) != 0;
  if (code != SQLITE_OK) return error(code, "read");
  return has;
}

// In pieces, each whole: an upgrade that is interrupted goes on at the next start.
Result<void> SqliteFile::pack_history() {
  if (!packing_) return {};
  for (bool more = true; more;) {
    SKIFF_TRY(more, pack_some());
    if (wal_pages_ > kPackPages) SKIFF_CHECK(checkpoint());
  }
  return run_script(
      "UPDATE mark SET history_bytes=(SELECT ifnull(sum(bytes), 0) FROM history);"
      "DROP TABLE " +
          std::string(kOldHistory) + ";PRAGMA user_version=" + std::to_string(kFormat) + ";",
      "upgrade");
}

Result<bool> SqliteFile::pack_some() {
  const std::string from = " FROM " + std::string(kOldHistory);
  const std::string rows = "SELECT ended, until, " SKIFF_COLUMNS + from + " ORDER BY ended";
  const std::string forget = "DELETE" + from + " WHERE ended<=?1";
  Statement old;
  Statement forget_old;
  Statement insert;
  BlockWriter block;
  int code = old.prepare(db_, rows.c_str());
  if (code == SQLITE_OK) code = forget_old.prepare(db_, forget.c_str());
  if (code != SQLITE_OK) return error(code, "upgrade");
  while (block.bytes() < kPackBytes && (code = old.step()) == SQLITE_ROW) {
    block.add(raw_record(old, 2), old.integer(0), old.integer(1));
  }
  old.reset();
  if (code != SQLITE_ROW && code != SQLITE_DONE) return error(code, "read");
  if (block.empty()) return false;
  SKIFF_CHECK(transaction([&] {
    const int failed = insert_block(block);
    return failed != SQLITE_OK ? failed : forget_old.bind(1, block.ended()).run();
  }));
  return true;
}

}  // namespace skiff::store
