// Opening, creating and upgrading the database file, and what is looked at before that.
#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "skiff/base/log.hpp"
#include "sqlite_file.hpp"
#include "sqlite_open.hpp"

namespace skiff::store {
namespace {

// A new file is only sure to be found again once its directory is on disk.
void sync_directory(const std::string& path) {
  const int fd = ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

// f_type of statfs(2); the numbers are the kernel's (include/uapi/linux/magic.h).
std::string_view network_filesystem(std::int64_t type) {
  switch (type & 0xFFFFFFFF) {
    case 0x6969:
      return "NFS";
    case 0x517B:
    case 0xFF534D42:
    case 0xFE534D42:
      return "SMB";
    case 0x01021997:
      return "9p";
    case 0x5346414F:
    case 0x6B414653:
      return "AFS";
    case 0x00C36400:
      return "Ceph";
    default:
      return "";
  }
}

std::string_view network_filesystem_of(const std::string& path) {
  struct statfs fs {};
  if (::statfs(directory_of(path).c_str(), &fs) != 0) return "";
  return network_filesystem(static_cast<std::int64_t>(fs.f_type));
}

SqliteFile::SqliteFile(std::shared_ptr<const SqliteOptions> options,
                       std::shared_ptr<MeteredVfs> vfs, WriteMeter* meter)
    : Connection(std::move(options), vfs), durable_(vfs, mark_path(path())), meter_(meter) {}

SqliteFile::~SqliteFile() {
  for (Statement* s :
       {&begin_, &commit_, &insert_, &delete_, &previous_of_, &write_mark_, &tail_, &superseded_,
        &insert_block_, &trim_blocks_, &trim_, &page_count_, &free_pages_}) {
    s->finalize();
  }
}

Result<std::unique_ptr<SqliteFile>> SqliteFile::open(SqliteOptions options,
                                                     std::shared_ptr<Disk> disk,
                                                     WriteMeter* meter) {
  auto vfs = std::make_shared<MeteredVfs>(std::move(disk));
  auto shared = std::make_shared<const SqliteOptions>(std::move(options));
  auto file = std::unique_ptr<SqliteFile>(new SqliteFile(std::move(shared), std::move(vfs), meter));
  SKIFF_CHECK(file->connect());
  SKIFF_CHECK(file->prepare());
  SKIFF_CHECK(file->pack_history());
  SKIFF_CHECK(file->load_mark());
  return file;
}

Result<std::unique_ptr<SqliteReader>> SqliteFile::reader() {
  auto reader = std::make_unique<SqliteReader>(options_, vfs_);
  SKIFF_CHECK(reader->open());
  SKIFF_CHECK(reader->begin_replay(mark_.moved));
  return reader;
}

Result<void> SqliteFile::connect() {
  const std::string wal = path() + "-wal";
  const bool has_wal = vfs_->exists(wal);
  if (has_wal && !vfs_->exists(path())) {
    return Error{Code::invalid, "there is " + wal + " but not " + path() +
                                    ", to which it belongs: copy both, or move it away to start "
                                    "empty"};
  }
  SKIFF_CHECK(Connection::open());
  if (sqlite3_db_readonly(db_, "main") == 1) {
    return Error{Code::forbidden, "cannot write " + path() +
                                      ": it, its directory or its filesystem is read-only; make it "
                                      "writable, or choose another data directory"};
  }
  std::int64_t format = 0;
  SKIFF_CHECK(check_format(format));
  int code = SQLITE_OK;
  if (format == 0) code = exec("PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL");
  if (code == SQLITE_OK) code = exec("PRAGMA journal_mode=WAL");
  if (code == SQLITE_OK) {
    code = exec(
        "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=8388608; PRAGMA cache_size=-1024; "
        "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF; "
        // Debian's SQLite would write every page anew that it frees.
        "PRAGMA secure_delete=OFF");
  }
  if (code != SQLITE_OK) return error(code, "open");
  // In place of automatic checkpoints, which would run before the commit is acknowledged.
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SqliteFile*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  if (format == 0) SKIFF_CHECK(create());
  if (format != 0 && format < kFormat) SKIFF_CHECK(upgrade(format));
  const std::int64_t open = ask("SELECT open FROM mark WHERE id=1", code);
  if (code == SQLITE_OK && open != 0 && !has_wal) {
    return Error{Code::invalid,
                 path() + " was copied without " + wal +
                     ", in which the newest writes are: copy both, or restore a snapshot (to go on "
                     "with what the one file holds: echo > " +
                     wal + ")"};
  }
  return {};
}

Result<void> SqliteFile::check_format(std::int64_t& format) {
  int code = SQLITE_OK;
  const std::int64_t application = ask("PRAGMA application_id", code);
  if (code != SQLITE_OK) return error(code, "open");
  format = ask("PRAGMA user_version", code);
  if (code != SQLITE_OK) return error(code, "open");
  const std::int64_t tables = ask("SELECT count(*) FROM sqlite_master", code);
  if (code != SQLITE_OK) return error(code, "open");
  if (application == 0 && format == 0 && tables == 0) return {};
  if (application != kApplicationId || format == 0) {
    return Error{Code::invalid, path() +
                                    " is not a skiff database: choose another data directory, or "
                                    "move the file away"};
  }
  if (format > kFormat) {
    return Error{Code::invalid, path() + " was written by a newer skiff (format " +
                                    std::to_string(format) + "; this one reads up to " +
                                    std::to_string(kFormat) +
                                    "): use that version, or restore a snapshot made by this one"};
  }
  return {};
}

Result<void> SqliteFile::run_script(const std::string& sql, std::string_view doing) {
  const int code = exec(("BEGIN IMMEDIATE;" + sql + "COMMIT").c_str());
  if (code == SQLITE_OK) return {};
  const Error failure = error(code, doing);
  if (sqlite3_get_autocommit(db_) == 0) exec("ROLLBACK");
  return failure;
}

Result<void> SqliteFile::create() {
  durable_.remove();  // of one that was here before
  SKIFF_CHECK(run_script(
      std::string("CREATE TABLE records(revision INTEGER PRIMARY KEY, previous INTEGER NOT NULL,"
                  " created INTEGER NOT NULL, flags INTEGER NOT NULL, checksum INTEGER NOT NULL,"
                  " key TEXT NOT NULL, attributes BLOB NOT NULL, value BLOB NOT NULL,"
                  " time INTEGER NOT NULL, author TEXT NOT NULL);") +
          kHistoryTable +
          "CREATE TABLE mark(id INTEGER PRIMARY KEY CHECK(id=1), compacted INTEGER NOT NULL,"
          " ceiling INTEGER NOT NULL, clean INTEGER NOT NULL, moved INTEGER NOT NULL,"
          " history_bytes INTEGER NOT NULL, open INTEGER NOT NULL);"
          "INSERT INTO mark VALUES(1, 0, 0, 1, 0, 0, 0);"
          "PRAGMA application_id=" +
          std::to_string(kApplicationId) + ";PRAGMA user_version=" + std::to_string(kFormat) + ";",
      "create"));
  sync_directory(path());
  return {};
}

Result<void> SqliteFile::prepare() {
  const std::pair<Statement*, const char*> statements[] = {
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&insert_,
       "INSERT INTO records(" SKIFF_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"},
      {&delete_, "DELETE FROM records WHERE revision=?1"},
      {&previous_of_, "SELECT previous FROM records WHERE revision=?1"},
      {&write_mark_,
       "UPDATE mark SET compacted=?1, ceiling=?2, clean=?3, moved=?4, history_bytes=?5, open=?6"
       " WHERE id=1"},
      {&tail_,
       "SELECT revision, previous, time, flags FROM records WHERE revision>?1"
       " ORDER BY revision LIMIT ?2"},
      // What volatile records superseded durable ones with has no history.
      {&superseded_, "SELECT " SKIFF_COLUMNS " FROM records WHERE revision=?1 AND (flags & 2)=0"},
      {&insert_block_,
       "INSERT INTO history(ended, until, bytes, checksum, directory, rows)"
       " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
      {&trim_blocks_, "SELECT ended, until, bytes FROM history ORDER BY ended LIMIT ?1"},
      {&trim_, "DELETE FROM history WHERE ended<=?1"},
      {&page_count_, "PRAGMA page_count"},
      {&free_pages_, "PRAGMA freelist_count"},
  };
  for (const auto& [statement, sql] : statements) {
    // A known format without its tables: somebody has been at it.
    if (statement->prepare(db_, sql) != SQLITE_OK) return damaged(sqlite3_errmsg(db_));
  }
  return {};
}

Result<void> SqliteFile::load_mark() {
  int code = SQLITE_OK;
  Statement mark;
  code = mark.prepare(
      db_, "SELECT compacted, ceiling, clean, moved, history_bytes, open FROM mark WHERE id=1");
  if (code == SQLITE_OK) code = mark.step();
  if (code == SQLITE_DONE) return damaged("it does not say where it stands");
  if (code != SQLITE_ROW) return error(code, "read");
  mark_.compacted = mark.integer(0);
  mark_.ceiling = mark.integer(1);
  mark_.clean = mark.integer(2) != 0;
  mark_.moved = mark.integer(3);
  mark_.history_bytes = mark.integer(4);
  mark_.open = mark.integer(5) != 0;
  mark.reset();
  Revision newest = ask("SELECT max(revision) FROM records", code);
  if (code != SQLITE_OK) return error(code, "read");
  newest = std::max({newest, mark_.compacted, mark_.moved});
  SKIFF_CHECK(check_nothing_lost(newest));
  last_ = std::max(newest, mark_.ceiling);
  recovered_ = {last_, mark_.compacted, mark_.clean ? 0 : last_};
  const std::string tail =
      "SELECT count(*) FROM records WHERE revision>" + std::to_string(mark_.moved);
  tail_rows_ = static_cast<std::size_t>(ask(tail.c_str(), code));
  const std::int64_t oldest = ask("SELECT until FROM history ORDER BY ended LIMIT 1", code);
  if (code != SQLITE_OK) return error(code, "read");
  if (oldest != 0) oldest_ = WallTime{std::chrono::microseconds(oldest)};
  return {};
}

Result<void> SqliteFile::check_nothing_lost(Revision newest) {
  const auto durable = durable_.read();
  if (!full()) durable_.remove();  // here the disk may be behind what was acknowledged
  if (!durable || *durable <= newest) return {};
  return Error{Code::internal,
               path() + " ends at revision " + std::to_string(newest) + ", but " +
                   std::to_string(*durable) + " was already on disk: " + path() +
                   "-wal is damaged, missing or of another time; put both back as they were, or "
                   "restore a snapshot (to go on without those writes: rm " +
                   mark_path(path()) + ")"};
}

}  // namespace skiff::store
