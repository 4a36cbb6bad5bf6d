#include "sqlite_reader.hpp"

#include <algorithm>

namespace skiff::store {
namespace {

constexpr std::size_t kReadBytes = 2U << 20U;
constexpr std::size_t kReadRows = 2000;
constexpr std::int64_t kSearchRows = 10'000;  // looked at in a slice
constexpr std::size_t kFetchRows = 500;

}  // namespace

Result<void> SqliteReader::open() {
  SKIFF_CHECK(Connection::open());
  int code = exec(
      "PRAGMA cache_size=-256; PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; "
      "PRAGMA trusted_schema=OFF; PRAGMA synchronous=FULL");
  const std::pair<Statement*, const char*> statements[] = {
      {&read_, "SELECT " SKIFF_COLUMNS " FROM records WHERE revision>?1 ORDER BY revision"},
      {&one_, "SELECT " SKIFF_COLUMNS " FROM records WHERE revision=?1"},
      {&one_of_history_, "SELECT " SKIFF_COLUMNS " FROM history WHERE key=?1 AND revision=?2"},
      {&records_,
       "SELECT revision, flags, key FROM records WHERE revision>?1 AND revision<=?2"
       " ORDER BY revision LIMIT ?3"},
      {&history_,
       "SELECT ended, revision, key FROM history WHERE (key, revision)>(?1, ?2) AND key<?3"
       " ORDER BY key, revision LIMIT ?4"},
      {&recent_, "SELECT ended, revision, key FROM history WHERE ended>?1 ORDER BY ended LIMIT ?2"},
  };
  for (const auto& [statement, sql] : statements) {
    if (code == SQLITE_OK) code = statement->prepare(db_, sql);
  }
  return code == SQLITE_OK ? Result<void>() : error(code, "read");
}

Result<void> SqliteReader::begin_replay(Revision moved) {
  superseded_.clear();
  passed_ = 0;
  read_to_ = 0;
  Statement tail;
  int code = tail.prepare(db_, "SELECT previous FROM records WHERE revision>?1 AND previous>0");
  if (code != SQLITE_OK) return error(code, "read");
  tail.bind(1, moved);
  while ((code = tail.step()) == SQLITE_ROW) superseded_.push_back(tail.integer(0));
  if (code != SQLITE_DONE) return error(code, "read");
  std::sort(superseded_.begin(), superseded_.end());
  return {};
}

Result<std::vector<Record>> SqliteReader::read() {
  std::vector<Record> records;
  std::size_t bytes = 0;
  read_.bind(1, read_to_);
  int code = SQLITE_ROW;
  while (bytes < kReadBytes && records.size() < kReadRows && (code = read_.step()) == SQLITE_ROW) {
    read_to_ = read_.integer(0);
    while (passed_ < superseded_.size() && superseded_[passed_] < read_to_) ++passed_;
    const bool superseded = passed_ < superseded_.size() && superseded_[passed_] == read_to_;
    if (superseded || (static_cast<unsigned>(read_.integer(3)) & kErase) != 0) continue;
    auto record = decode_row(read_);
    if (!record) {
      read_.reset();
      return record.error();
    }
    bytes += record->item->value.size() + record->item->key.size() + sizeof(Item);
    records.push_back(std::move(*record));
  }
  read_.reset();
  if (code != SQLITE_ROW && code != SQLITE_DONE) return error(code, "read");
  if (records.empty()) superseded_ = {};
  return records;
}

// First `records`, then `history`: what moves from one to the other meanwhile is seen at least
// once.
Result<bool> SqliteReader::search(Search& search) {
  return search.records_done ? search_history(search) : search_records(search);
}

Result<bool> SqliteReader::search_records(Search& search) {
  if (search.at == 0 && !search.state) search.at = search.after;
  records_.bind(1, search.at).bind(2, search.until).bind(3, kSearchRows);
  std::int64_t seen = 0;
  int code = SQLITE_ROW;
  for (; (code = records_.step()) == SQLITE_ROW; ++seen) {
    search.at = records_.integer(0);
    const std::string_view key = records_.bytes(2);
    if (!search.range.contains(key)) continue;
    if (search.state) {
      const bool erase = (static_cast<unsigned>(records_.integer(1)) & kErase) != 0;
      search.newest[std::string(key)] = erase ? -search.at : search.at;
    } else {
      search.found.emplace(search.at, key);
    }
  }
  records_.reset();
  if (code != SQLITE_DONE) return error(code, "read");
  if (seen < kSearchRows) {
    search.records_done = true;
    search.key = search.range.begin;
    search.key_revision = -1;
  }
  return false;
}

void SqliteReader::consider(Search& search, Revision superseded, Revision revision,
                            const std::string& key) {
  if (!search.state) {
    if (revision > search.after && revision <= search.until) search.found.emplace(revision, key);
  } else if (revision <= search.until && search.until < superseded) {
    Revision& newest = search.newest[key];
    if (revision > std::abs(newest)) newest = revision;
  }
}

// By key, or, where every key is asked for, only what was superseded since then.
Result<bool> SqliteReader::search_history(Search& search) {
  const bool everything = search.range.begin.empty() && search.range.end.empty();
  Statement& rows = everything ? recent_ : history_;
  if (everything) {
    rows.bind(1, std::max(search.ended, 2 * (search.state ? search.until : search.after)));
    rows.bind(2, kSearchRows);
  } else {
    rows.bind_text(1, search.key).bind(2, search.key_revision).bind(4, kSearchRows);
    rows.bind_blob(3, "");  // greater than every text
    if (!search.range.end.empty()) rows.bind_text(3, search.range.end);
  }
  std::int64_t seen = 0;
  int code = SQLITE_ROW;
  std::string key;
  for (; (code = rows.step()) == SQLITE_ROW; ++seen) {
    search.ended = rows.integer(0);
    search.key_revision = rows.integer(1);
    if (rows.bytes(2) != key) key = rows.bytes(2);
    consider(search, search.ended / 2, search.key_revision, key);
  }
  rows.reset();
  if (code != SQLITE_DONE) return error(code, "read");
  if (seen != 0) search.key = std::move(key);
  return seen < kSearchRows;
}

void SqliteReader::Search::keep(std::size_t limit) {
  std::erase_if(newest, [](const auto& entry) { return entry.second <= 0; });
  if (limit == 0) return;
  if (newest.size() > limit) {
    newest.erase(std::next(newest.begin(), static_cast<std::ptrdiff_t>(limit)), newest.end());
  }
  if (found.size() > limit) {
    found.erase(std::next(found.begin(), static_cast<std::ptrdiff_t>(limit)), found.end());
  }
}

Result<void> SqliteReader::fetch_one(Revision revision, const std::string& key,
                                     std::vector<Record>& out) {
  Statement* from = &one_.bind(1, revision);
  int code = from->step();
  if (code == SQLITE_DONE) {
    from->reset();
    from = &one_of_history_.bind_text(1, key).bind(2, revision);
    code = from->step();
  }
  Result<void> outcome;
  if (code == SQLITE_ROW) {
    auto record = decode_row(*from);
    if (record) {
      out.push_back(std::move(*record));
    } else {
      outcome = record.error();
    }
  } else if (code != SQLITE_DONE) {
    outcome = error(code, "read");
  }  // gone: trimmed, which the log notices, or a volatile one that was written anew
  from->reset();
  return outcome;
}

Result<std::vector<Record>> SqliteReader::fetch(Search& search) {
  std::vector<Record> records;
  for (std::size_t n = 0; n < kFetchRows; ++n) {
    if (search.state) {
      const auto it = search.newest.begin();
      if (it == search.newest.end()) break;
      if (it->second > 0) SKIFF_CHECK(fetch_one(it->second, it->first, records));
      search.newest.erase(it);
    } else {
      const auto it = search.found.begin();
      if (it == search.found.end()) break;
      SKIFF_CHECK(fetch_one(it->first, it->second, records));
      search.found.erase(it);
    }
  }
  return records;
}

}  // namespace skiff::store
