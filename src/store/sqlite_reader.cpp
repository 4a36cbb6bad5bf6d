#include "sqlite_reader.hpp"

#include <algorithm>

#include "record_codec.hpp"

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
      {&records_,
       "SELECT revision, flags, key FROM records WHERE revision>?1 AND revision<=?2"
       " ORDER BY revision LIMIT ?3"},
      {&blocks_,
       "SELECT ended, checksum, directory FROM history WHERE ended>?1 ORDER BY ended LIMIT 1"},
      {&rows_, "SELECT rows FROM history WHERE ended=?1"},
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
    auto record = decode(raw_record(read_));
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
  auto done = search.records_done ? search_history(search) : search_records(search);
  search.bound();
  return done;
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
      search.newest[std::string(key)].revision = erase ? -search.at : search.at;
    } else {
      search.found[search.at].first = key;
    }
  }
  records_.reset();
  if (code != SQLITE_DONE) return error(code, "read");
  if (seen < kSearchRows) {
    search.records_done = true;
    search.ended = 2 * (search.state ? search.until : search.after);
  }
  return false;
}

void SqliteReader::consider(Search& search, const BlockEntry& entry, std::int64_t block) {
  if (entry.revision > search.until || !search.range.contains(entry.key)) return;
  const Search::Place place{entry.revision, block, entry.at, entry.size};
  if (!search.state) {
    if (entry.revision > search.after) search.found[entry.revision] = {entry.key, place};
  } else if (search.until < entry.ended / 2) {
    Search::Place& newest = search.newest[entry.key];
    if (entry.revision >= std::abs(newest.revision)) newest = place;
  }
}

Result<SqliteReader::Block> SqliteReader::next_block(std::int64_t ended) {
  blocks_.reset();
  const int code = blocks_.bind(1, ended).step();
  Block block;
  if (code == SQLITE_ROW) {
    block.ended = blocks_.integer(0);
    block.directory = blocks_.bytes(2);
    const std::uint64_t sum = checksum(block.directory, static_cast<std::uint64_t>(block.ended));
    if (sum != static_cast<std::uint64_t>(blocks_.integer(1))) {
      return damaged("the directory of a block does not match its checksum");
    }
  } else if (code != SQLITE_DONE) {
    return error(code, "read");
  }
  return block;
}

// Every block since then: what a range costs is that of its directories, not of what they hold.
Result<bool> SqliteReader::search_history(Search& search) {
  std::int64_t seen = 0;
  Result<Block> block = next_block(search.ended);
  for (; block && block->ended != 0; block = next_block(search.ended)) {
    BlockDirectory directory(block->directory);
    for (; directory.next(); ++seen) consider(search, directory.entry(), block->ended);
    if (directory.damaged()) block = damaged("the directory of a block cannot be read");
    if (!block) break;
    search.ended = block->ended;
    if (seen >= kSearchRows) break;
  }
  blocks_.reset();
  if (!block) return block.error();
  return block->ended == 0;
}

// Keys that turn out not to exist at that revision count too: what lies behind them is not known.
void SqliteReader::Search::bound() {
  const auto some = static_cast<std::ptrdiff_t>(most);
  if (newest.size() / 2 >= most) {
    const auto cut = std::next(newest.begin(), some);
    range.end = cut->first;
    newest.erase(cut, newest.end());
  }
  if (found.size() / 2 >= most) {
    const auto cut = std::next(found.begin(), some);
    until = cut->first - 1;
    found.erase(cut, found.end());
  }
}

void SqliteReader::Search::keep(std::size_t limit) {
  std::erase_if(newest, [](const auto& entry) { return entry.second.revision <= 0; });
  if (limit == 0) return;
  if (newest.size() > limit) {
    newest.erase(std::next(newest.begin(), static_cast<std::ptrdiff_t>(limit)), newest.end());
  }
  if (found.size() > limit) {
    found.erase(std::next(found.begin(), static_cast<std::ptrdiff_t>(limit)), found.end());
  }
}

std::vector<SqliteReader::Wanted> SqliteReader::take(Search& search, std::size_t most) {
  std::vector<Wanted> wanted;
  most = std::min(most, kFetchRows);
  for (auto it = search.newest.begin(); it != search.newest.end() && wanted.size() < most;) {
    wanted.push_back({it->first, it->second, std::nullopt});
    it = search.newest.erase(it);
  }
  for (auto it = search.found.begin(); it != search.found.end() && wanted.size() < most;) {
    it->second.second.revision = it->first;
    wanted.push_back({std::move(it->second.first), it->second.second, std::nullopt});
    it = search.found.erase(it);
  }
  return wanted;
}

Result<void> SqliteReader::fetch_live(Wanted& wanted) {
  const int code = one_.bind(1, wanted.place.revision).step();
  Result<void> outcome;
  if (code == SQLITE_ROW) {
    auto record = decode(raw_record(one_));
    if (record) {
      wanted.record = std::move(*record);
    } else {
      outcome = record.error();
    }
  } else if (code != SQLITE_DONE) {
    outcome = error(code, "read");
  }
  one_.reset();
  return outcome;
}

// What was seen in `records` and has moved to `history` since.
Result<void> SqliteReader::find_moved(std::int64_t ended, std::vector<Wanted>& all) {
  std::map<Revision, Search::Place*> missing;
  for (Wanted& w : all) {
    if (w.place.block == 0 && !w.record) missing[w.place.revision] = &w.place;
  }
  while (!missing.empty()) {
    const auto block = next_block(ended);
    if (!block) return block.error();
    if (block->ended == 0) break;
    BlockDirectory directory(block->directory);
    while (directory.next()) {
      const BlockEntry& entry = directory.entry();
      const auto it = missing.find(entry.revision);
      if (it == missing.end()) continue;
      *it->second = {entry.revision, block->ended, entry.at, entry.size};
      missing.erase(it);
    }
    ended = block->ended;
  }
  blocks_.reset();
  return {};
}

Result<void> SqliteReader::fetch_blocks(std::vector<Wanted>& all) {
  std::vector<Wanted*> placed;
  for (Wanted& w : all) {
    if (w.place.block != 0) placed.push_back(&w);
  }
  const auto by_place = [](const Wanted* w) { return std::pair(w->place.block, w->place.at); };
  std::sort(placed.begin(), placed.end(),
            [&](const Wanted* a, const Wanted* b) { return by_place(a) < by_place(b); });
  std::int64_t block = 0;
  int code = SQLITE_DONE;
  Result<void> outcome;
  for (Wanted* w : placed) {
    if (w->place.block != block) {
      rows_.reset();
      block = w->place.block;
      code = rows_.bind(1, block).step();
      if (code != SQLITE_ROW && code != SQLITE_DONE) outcome = error(code, "read");
    }
    if (!outcome) break;
    if (code == SQLITE_DONE) continue;  // trimmed meanwhile, which the log notices
    RawRecord raw;
    const BlockEntry entry{w->key, w->place.revision, 0, w->place.at, w->place.size};
    auto record = read_block_row(rows_.bytes(0), entry, raw)
                      ? decode(raw)
                      : Result<Record>(damaged("a block of superseded versions cannot be read"));
    if (!record) {
      outcome = record.error();
      break;
    }
    w->record = std::move(*record);
  }
  rows_.reset();
  return outcome;
}

Result<std::vector<Record>> SqliteReader::fetch(Search& search, std::size_t most) {
  return fetch_all(take(search, most), search.ended);
}

// What a record superseded was put away together with it, if it was.
Result<std::vector<Record>> SqliteReader::superseded_by(std::span<const Record> records) {
  std::vector<Wanted> wanted;
  std::int64_t ended = 0;
  for (const Record& record : records) {
    if (record.previous == 0) continue;
    if (wanted.empty()) ended = 2 * record.item->modified - 1;
    wanted.push_back({record.item->key, {record.previous, 0, 0, 0}, std::nullopt});
  }
  return fetch_all(std::move(wanted), ended);
}

Result<std::vector<Record>> SqliteReader::fetch_all(std::vector<Wanted> wanted,
                                                    std::int64_t ended) {
  for (Wanted& w : wanted) {
    if (w.place.block == 0) SKIFF_CHECK(fetch_live(w));
  }
  SKIFF_CHECK(find_moved(ended, wanted));
  SKIFF_CHECK(fetch_blocks(wanted));
  std::vector<Record> records;
  for (Wanted& w : wanted) {
    // Gone: trimmed, which the log notices, or a volatile one that was written anew.
    if (w.record) records.push_back(std::move(*w.record));
  }
  return records;
}

}  // namespace skiff::store
