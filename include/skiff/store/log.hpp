// The Log: what makes commits durable. The store is the only caller; bodies are memory, SQLite and
// Raft.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/store/item.hpp"

namespace skiff::store {

// One accepted Op as the log keeps it. Shares the bytes that readers see.
struct Record {
  ItemPtr item;           // `item->modified` is the record's revision
  Revision previous = 0;  // the version this one supersedes; 0: the key did not exist
  bool erase = false;     // the key is gone; `item` is its last state
  bool is_volatile = false;
};
// Shared so that a log with a thread of its own need not copy. Never empty.
using Records = std::shared_ptr<const std::vector<Record>>;

// Used from the loop only. Destroyed on the loop, after close() or in its place after a failure.
class Log {
 public:
  virtual ~Log() = default;

  struct Recovered {
    Revision revision =
        0;  // newest that was ever acknowledged, or later; numbering goes on after it
    Revision compacted = 0;  // versions superseded at or before this are gone
    // Watches may not resume from before this: volatile records that readers saw may have been
    // lost.
    Revision resumable = 0;
  };
  // Calls `each` on the loop for every retained record in revision order, then reports where the
  // log stands. Called once, before append.
  virtual Task<Result<Recovered>> replay(std::function<void(Record)> each) = 0;

  // Makes the records durable, in order, all or none; resolves when they are. Volatile records may
  // be written later and are dropped when superseded. Appends are not reordered; the caller may
  // have several under way. After a failure nothing of the batch is readable in this process; the
  // next append tries anew. Failures are Code::unavailable with a sentence for the user.
  virtual Task<Result<void>> append(Records records) = 0;

  // Records superseded at or before `revision` may be dropped from disk, in small steps between
  // appends. A log may put it off until it is worth the writing.
  virtual Task<Result<void>> compact(Revision revision) = 0;

  // Writes what is still held back and closes. No call may follow.
  virtual Task<Result<void>> close() = 0;
};

// Nothing survives.
std::unique_ptr<Log> make_memory_log();

enum class Durability : std::uint8_t {
  full,     // fsync before an append resolves
  relaxed,  // the operating system decides when: a power cut may lose the last seconds
};

struct SqliteOptions {
  std::string path;  // the database file; its directory must exist
  Durability durability = Durability::full;
  // How long a volatile record may wait for the disk: the first append after this writes those that
  // have not been superseded. One that keeps being superseded (a Lease) is written once, when its
  // key is new, and again at close.
  Duration volatile_interval = std::chrono::minutes(10);
};

// A SQLite database in WAL mode with its own thread. Blocks the caller for some milliseconds:
// checks that nobody else holds the file, that it is a skiff database and that its format is known;
// replay() then checks every record against its checksum. Every error says what to do.
// docs/internals/store.md describes the format.
Result<std::unique_ptr<Log>> open_sqlite_log(Env env, SqliteOptions options);

}  // namespace skiff::store
