// Opening, creating and reading the database file, and the sentences for when that fails.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "record_codec.hpp"
#include "sqlite_file.hpp"

namespace skiff::store {
namespace {

constexpr std::int64_t kApplicationId = 0x736B6966;  // "skif"
constexpr std::int64_t kFormat = 1;
constexpr std::size_t kReadBytes = 1U << 20U;
constexpr std::size_t kReadRows = 2000;

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A new file is only sure to be found again once its directory is on disk.
void sync_directory(const std::string& path) {
  const int fd = ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

SqliteFile::SqliteFile(SqliteOptions options, std::shared_ptr<Disk> disk)
    : options_(std::move(options)), vfs_(std::move(disk)) {}

SqliteFile::~SqliteFile() {
  for (Statement* s :
       {&begin_, &commit_, &insert_, &delete_, &previous_of_, &mark_, &read_, &step_end_,
        &delete_superseded_, &delete_erases_, &page_count_, &free_pages_}) {
    s->finalize();
  }
  sqlite3_close(db_);
}

Error SqliteFile::damaged(std::string_view why) const {
  return {Code::internal, "the database " + options_.path + " is damaged (" + std::string(why) +
                              "): put a snapshot in its place, or move it away to start empty"};
}

Error SqliteFile::error(int code, std::string_view doing) const {
  const std::string& path = options_.path;
  const std::string what = std::string(doing) + " " + path;
  const int number = db_ != nullptr ? sqlite3_system_errno(db_) : 0;
  const std::string cause = number != 0 ? std::strerror(number) : sqlite3_errstr(code);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {Code::unavailable,
              "cannot " + what + ": the disk is full; make room and writes will work again"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(sqlite3_errstr(code));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::unavailable, "another skiff uses " + directory_of(path) +
                                     ": stop it, or choose another data directory"};
    case SQLITE_CANTOPEN:
      return {Code::unavailable,
              "cannot open " + path + ": " + cause + "; its directory must exist and be writable"};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {Code::forbidden, "cannot " + what + ": no permission to write it (" + cause + ")"};
    default:
      return {Code::unavailable, "cannot " + what + ": " + cause + "; check the disk"};
  }
}

std::int64_t SqliteFile::ask(const char* sql, int& code) {
  Statement statement;
  code = statement.prepare(db_, sql);
  if (code != SQLITE_OK) return 0;
  code = statement.step();
  const std::int64_t answer = code == SQLITE_ROW ? statement.integer(0) : 0;
  if (code == SQLITE_ROW || code == SQLITE_DONE) code = SQLITE_OK;
  return answer;
}

Result<std::unique_ptr<SqliteFile>> SqliteFile::open(SqliteOptions options,
                                                     std::shared_ptr<Disk> disk) {
  auto file = std::unique_ptr<SqliteFile>(new SqliteFile(std::move(options), std::move(disk)));
  SKIFF_CHECK(file->connect());
  SKIFF_CHECK(file->prepare());
  SKIFF_CHECK(file->load_mark());
  return file;
}

Result<void> SqliteFile::connect() {
  constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  int code = sqlite3_open_v2(options_.path.c_str(), &db_, flags, vfs_.name());
  if (code != SQLITE_OK) return error(code, "open");
  sqlite3_extended_result_codes(db_, 1);
  // Before the first look at the file: it needs no shared memory then, and nobody else gets in.
  code = exec("PRAGMA locking_mode=EXCLUSIVE");
  if (code != SQLITE_OK) return error(code, "open");
  bool is_new = false;
  SKIFF_CHECK(check_format(is_new));
  if (is_new) {
    code = exec("PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL");
    if (code != SQLITE_OK) return error(code, "create");
  }
  code = exec("PRAGMA journal_mode=WAL");
  if (code != SQLITE_OK) return error(code, "open");
  code = exec(options_.durability == Durability::full ? "PRAGMA synchronous=FULL"
                                                      : "PRAGMA synchronous=NORMAL");
  if (code == SQLITE_OK) {
    code = exec(
        "PRAGMA journal_size_limit=8388608; PRAGMA cache_size=-1024; PRAGMA cell_size_check=ON; "
        "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF");
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
  return is_new ? create() : Result<void>();
}

Result<void> SqliteFile::check_format(bool& is_new) {
  int code = SQLITE_OK;
  const std::int64_t application = ask("PRAGMA application_id", code);
  if (code != SQLITE_OK) return error(code, "open");
  const std::int64_t format = ask("PRAGMA user_version", code);
  if (code != SQLITE_OK) return error(code, "open");
  const std::int64_t tables = ask("SELECT count(*) FROM sqlite_master", code);
  if (code != SQLITE_OK) return error(code, "open");
  is_new = application == 0 && format == 0 && tables == 0;
  if (is_new) return {};
  if (application != kApplicationId) {
    return Error{Code::invalid, options_.path +
                                    " is not a skiff database: choose another data directory, or "
                                    "move the file away"};
  }
  if (format > kFormat) {
    return Error{Code::invalid, options_.path + " was written by a newer skiff (format " +
                                    std::to_string(format) + "; this one reads up to " +
                                    std::to_string(kFormat) +
                                    "): use that version, or restore a snapshot made by this one"};
  }
  return {};
}

Result<void> SqliteFile::create() {
  const std::string sql =
      "BEGIN IMMEDIATE;"
      "CREATE TABLE records(revision INTEGER PRIMARY KEY, previous INTEGER NOT NULL,"
      " created INTEGER NOT NULL, flags INTEGER NOT NULL, checksum INTEGER NOT NULL,"
      " key TEXT NOT NULL, attributes BLOB NOT NULL, value BLOB NOT NULL);"
      "CREATE TABLE mark(id INTEGER PRIMARY KEY CHECK(id=1), compacted INTEGER NOT NULL,"
      " ceiling INTEGER NOT NULL, clean INTEGER NOT NULL);"
      "INSERT INTO mark VALUES(1, 0, 0, 1);"
      "PRAGMA application_id=" +
      std::to_string(kApplicationId) + ";PRAGMA user_version=" + std::to_string(kFormat) +
      ";COMMIT";
  const int code = exec(sql.c_str());
  if (code != SQLITE_OK) {
    const Error failure = error(code, "create");
    if (sqlite3_get_autocommit(db_) == 0) exec("ROLLBACK");
    return failure;
  }
  sync_directory(options_.path);
  return {};
}

Result<void> SqliteFile::prepare() {
  const std::pair<Statement*, const char*> statements[] = {
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&insert_,
       "INSERT INTO records(revision, previous, created, flags, checksum, key, attributes, value)"
       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"},
      {&delete_, "DELETE FROM records WHERE revision=?1"},
      {&previous_of_, "SELECT previous FROM records WHERE revision=?1"},
      {&mark_, "UPDATE mark SET compacted=?1, ceiling=?2, clean=?3 WHERE id=1"},
      {&read_,
       "SELECT revision, previous, created, flags, checksum, key, attributes, value FROM records"
       " WHERE revision>?1 ORDER BY revision"},
      {&step_end_,
       "SELECT max(revision) FROM (SELECT revision FROM records WHERE revision>?1 AND revision<=?2"
       " ORDER BY revision LIMIT ?3)"},
      {&delete_superseded_,
       "DELETE FROM records WHERE revision IN (SELECT previous FROM records"
       " WHERE revision>?1 AND revision<=?2 AND previous>0)"},
      {&delete_erases_, "DELETE FROM records WHERE revision>?1 AND revision<=?2 AND flags&1 = 1"},
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
  code = mark.prepare(db_, "SELECT compacted, ceiling, clean FROM mark WHERE id=1");
  if (code == SQLITE_OK) code = mark.step();
  if (code == SQLITE_DONE) return damaged("it does not say where it stands");
  if (code != SQLITE_ROW) return error(code, "read");
  compacted_ = mark.integer(0);
  ceiling_ = mark.integer(1);
  clean_ = mark.integer(2) != 0;
  const Revision newest = ask("SELECT max(revision) FROM records", code);
  if (code != SQLITE_OK) return error(code, "read");
  last_ = std::max({newest, compacted_, ceiling_});
  recovered_ = {last_, compacted_, clean_ ? 0 : last_};
  // How much could be compacted is not known: look at the first opportunity.
  rows_since_compaction_ = std::numeric_limits<std::size_t>::max() / 2;
  return {};
}

Result<std::vector<Record>> SqliteFile::read(Revision after) {
  std::vector<Record> records;
  std::size_t bytes = 0;
  read_.bind(1, after);
  int code = SQLITE_ROW;
  while (bytes < kReadBytes && records.size() < kReadRows && (code = read_.step()) == SQLITE_ROW) {
    auto item = std::make_shared<Item>();
    item->modified = read_.integer(0);
    item->created = read_.integer(2);
    item->key = read_.bytes(5);
    item->value = read_.bytes(7);
    const Revision previous = read_.integer(1);
    const auto flags = static_cast<unsigned>(read_.integer(3));
    const bool whole = decode_attributes(read_.bytes(6), item->attributes);
    if (!whole ||
        checksum(*item, previous, flags) != static_cast<std::uint64_t>(read_.integer(4))) {
      read_.reset();
      return damaged("record " + std::to_string(item->modified) + " does not match its checksum");
    }
    bytes += item->value.size() + item->key.size() + sizeof(Item);
    Record record;
    record.item = std::move(item);
    record.previous = previous;
    record.erase = (flags & 1U) != 0;
    record.is_volatile = (flags & 2U) != 0;
    records.push_back(std::move(record));
  }
  read_.reset();
  if (code != SQLITE_ROW && code != SQLITE_DONE) return error(code, "read");
  return records;
}

}  // namespace skiff::store
