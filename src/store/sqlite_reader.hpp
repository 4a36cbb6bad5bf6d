// A second connection to the database, for a thread of its own: reads and merges the write-ahead
// log while the writer writes. Each call reads one state; what is written between two calls shows.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sqlite_base.hpp"

namespace skiff::store {

class SqliteReader final : private Connection {
 public:
  using Connection::checkpoint;
  using Connection::Connection;
  using Connection::sync_wal;

  Result<void> open();

  // Looks at what the tail of `records` supersedes; before the first read().
  Result<void> begin_replay(Revision moved);
  // Some of the newest versions of keys that exist, in order of revision; none: that was all.
  Result<std::vector<Record>> read();

  // A long read in slices, so that merging can go on between them.
  struct Search {
    Range range;
    Revision after = 0;
    Revision until = 0;
    bool state = false;  // versions at `until`, else records in (after, until]
    // No more are noted than twice this: the first ones. Then `range` (state) or `until` is cut.
    std::size_t most = SIZE_MAX;

    // Where a version was seen: `block` of `history`, or 0 for `records`.
    struct Place {
      Revision revision = 0;  // 0: there is none, or it is an erase
      std::int64_t block = 0;
      std::size_t at = 0;
      std::size_t size = 0;
    };
    std::map<std::string, Place> newest;                      // state: by key
    std::map<Revision, std::pair<std::string, Place>> found;  // history
    Revision at = 0;                                          // `records` is read up to here
    std::int64_t ended = 0;  // `history` is read up to here: by when it was superseded
    bool records_done = false;

    void bound();                  // to `most`
    void keep(std::size_t limit);  // only the first of what was found; 0: all of it
  };
  // False when there is more to look at.
  Result<bool> search(Search& search);
  // The next rows of what was found, removed from it: at most `most`, and at most some hundred.
  Result<std::vector<Record>> fetch(Search& search, std::size_t most = SIZE_MAX);
  // The versions that these superseded; they come in order of revision.
  Result<std::vector<Record>> superseded_by(std::span<const Record> records);

 private:
  Result<bool> search_records(Search& search);
  Result<bool> search_history(Search& search);
  // A version to be fetched, and what became of it.
  struct Wanted {
    std::string key;
    Search::Place place;
    std::optional<Record> record;
  };
  static void consider(Search& search, const BlockEntry& entry, std::int64_t block);
  static std::vector<Wanted> take(Search& search, std::size_t most);
  // From where they are seen; `ended`: what has moved since is in blocks behind that.
  Result<std::vector<Record>> fetch_all(std::vector<Wanted> wanted, std::int64_t ended);
  Result<void> fetch_live(Wanted& wanted);
  Result<void> find_moved(std::int64_t ended, std::vector<Wanted>& all);
  Result<void> fetch_blocks(std::vector<Wanted>& all);
  // The next block that ended after `ended`; its directory is good until the next call. Block 0:
  // there is none.
  struct Block {
    std::int64_t ended = 0;
    std::string_view directory;
  };
  Result<Block> next_block(std::int64_t ended);

  Statement read_, one_, records_, blocks_, rows_;
  std::vector<Revision> superseded_;  // ascending
  std::size_t passed_ = 0;            // of those
  Revision read_to_ = 0;
};

}  // namespace skiff::store
