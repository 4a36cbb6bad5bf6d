// A second connection to the database, for a thread of its own: reads and merges the write-ahead
// log while the writer writes. Each call reads one state; what is written between two calls shows.
#pragma once

#include <map>
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

    std::map<std::string, Revision> newest;  // state: by key
    std::map<Revision, std::string> found;   // history: keys by revision
    Revision at = 0;                         // `records` is read up to here
    std::string key;                         // `history` is read up to here
    Revision key_revision = 0;
    std::int64_t ended = 0;  // the same when the range is everything: by when it was superseded
    bool records_done = false;

    void keep(std::size_t limit);  // only the first of what was found; 0: all of it
  };
  // False when there is more to look at.
  Result<bool> search(Search& search);
  // The next rows of what was found, removed from it: at most some hundred.
  Result<std::vector<Record>> fetch(Search& search);

 private:
  Result<bool> search_records(Search& search);
  Result<bool> search_history(Search& search);
  static void consider(Search& search, Revision superseded, Revision revision,
                       const std::string& key);
  Result<void> fetch_one(Revision revision, const std::string& key, std::vector<Record>& out);

  Statement read_, one_, records_, history_, recent_, one_of_history_;
  std::vector<Revision> superseded_;  // ascending
  std::size_t passed_ = 0;            // of those
  Revision read_to_ = 0;
};

}  // namespace skiff::store
