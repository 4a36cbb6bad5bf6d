#include "sqlite_base.hpp"

#include <cerrno>
#include <cstring>

#include "record_codec.hpp"

namespace skiff::store {
namespace {

constexpr std::size_t kAuthors = 1024;

}  // namespace

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string mark_path(const std::string& path) { return path + "-mark"; }

Result<void> Connection::open() {
  constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path().c_str(), &db_, flags, vfs_->name());
  if (code != SQLITE_OK) return error(code, "open");
  sqlite3_extended_result_codes(db_, 1);
  sqlite3_busy_timeout(db_, 0);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  return {};
}

std::int64_t Connection::ask(const char* sql, int& code) {
  Statement statement;
  code = statement.prepare(db_, sql);
  if (code != SQLITE_OK) return 0;
  code = statement.step();
  const std::int64_t answer = code == SQLITE_ROW ? statement.integer(0) : 0;
  if (code == SQLITE_ROW || code == SQLITE_DONE) code = SQLITE_OK;
  return answer;
}

Result<Connection::Merged> Connection::checkpoint() {
  Merged m;
  const int code =
      sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, &m.pages, &m.merged);
  if (code != SQLITE_OK) return error(code, "write");
  return m;
}

Result<void> Connection::sync_wal() {
  sqlite3_file* wal = nullptr;
  if (sqlite3_file_control(db_, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) != SQLITE_OK) return {};
  if (wal == nullptr || wal->pMethods == nullptr) return {};
  const int code = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
  return code == SQLITE_OK ? Result<void>() : error(code, "write");
}

Error Connection::damaged(std::string_view why) const {
  return {Code::internal, "the database " + path() + " is damaged (" + std::string(why) +
                              "): put a snapshot in its place, or move it away to start empty"};
}

Error Connection::error(int code, std::string_view doing) const {
  const std::string what = std::string(doing) + " " + path();
  const int number = db_ != nullptr ? sqlite3_system_errno(db_) : 0;
  const std::string cause = number != 0 ? std::strerror(number) : sqlite3_errstr(code);
  const bool full = (code & 0xff) == SQLITE_FULL ||
                    ((code & 0xff) == SQLITE_IOERR && (number == ENOSPC || number == EDQUOT));
  if (full) {
    return {Code::unavailable,
            "cannot " + what + ": the disk is full; make room and writes will work again"};
  }
  if (code == SQLITE_IOERR_LOCK || code == SQLITE_IOERR_RDLOCK || code == SQLITE_NOLFS) {
    return {Code::invalid, "cannot lock " + path() + ": its filesystem does not know how (" +
                               cause + "); choose a data directory on a local disk"};
  }
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(sqlite3_errstr(code));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::unavailable, "another skiff uses " + directory_of(path()) +
                                     ": stop it, or choose another data directory"};
    case SQLITE_CANTOPEN:
      return {Code::unavailable, "cannot open " + path() + ": " + cause +
                                     "; its directory must exist and be writable"};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {Code::forbidden, "cannot " + what + ": no permission to write it (" + cause + ")"};
    default:
      return {Code::unavailable, "cannot " + what + ": " + cause + "; check the disk"};
  }
}

Author Connection::author_of(std::string_view name) {
  if (name.empty()) return nullptr;
  std::string key(name);
  if (const auto it = authors_.find(key); it != authors_.end()) return it->second;
  if (authors_.size() >= kAuthors) authors_.clear();
  auto author = std::make_shared<const std::string>(key);
  authors_.emplace(std::move(key), author);
  return author;
}

RawRecord Connection::raw_record(const Statement& row, int first) {
  RawRecord raw;
  raw.revision = row.integer(first);
  raw.previous = row.integer(first + 1);
  raw.created = row.integer(first + 2);
  raw.flags = static_cast<unsigned>(row.integer(first + 3));
  raw.checksum = static_cast<std::uint64_t>(row.integer(first + 4));
  raw.key = row.bytes(first + 5);
  raw.attributes = row.bytes(first + 6);
  raw.value = row.bytes(first + 7);
  raw.time = row.integer(first + 8);
  raw.author = row.bytes(first + 9);
  return raw;
}

Result<Record> Connection::decode(const RawRecord& raw) {
  auto item = std::make_shared<Item>();
  Record record;
  item->modified = raw.revision;
  item->created = raw.created;
  item->key = raw.key;
  item->value = raw.value;
  const bool whole = decode_attributes(raw.attributes, item->attributes);
  record.previous = raw.previous;
  record.erase = (raw.flags & kErase) != 0;
  record.is_volatile = (raw.flags & kVolatile) != 0;
  record.time = WallTime{std::chrono::microseconds(raw.time)};
  const std::uint64_t sum = (raw.flags & kDated) == 0 ? checksum(*item, raw.previous, raw.flags)
                                                      : checksum(*item, item->value, raw.previous,
                                                                 raw.flags, raw.time, raw.author);
  if (!whole || sum != raw.checksum) {
    return damaged("record " + std::to_string(item->modified) + " does not match its checksum");
  }
  record.author = author_of(raw.author);
  if ((raw.flags & kSealed) != 0) {
    if (options_->sealer == nullptr) {
      return Error{Code::invalid, "values in " + path() +
                                      " are encrypted and no key was given: give the key that was "
                                      "used to write them"};
    }
    auto opened = options_->sealer->open(item->key, item->value);
    if (!opened) {
      return annotate(opened.error(), "cannot decrypt " + item->key + " in " + path());
    }
    item->value = std::move(*opened);
  }
  record.item = std::move(item);
  return record;
}

}  // namespace skiff::store
