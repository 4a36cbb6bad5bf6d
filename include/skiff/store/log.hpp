// The Log: what makes commits durable. The store is the only caller. Bodies: memory and SQLite
// here; Raft and etcd, where several servers share one log, in rooms above.
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
  WallTime time{};  // when it was accepted, by the clock of the server that did
  Author author;    // null: not known
};
// Shared so that a log with a thread of its own need not copy. Never empty.
using Records = std::shared_ptr<const std::vector<Record>>;

// Where Ops are checked and given their revisions.
enum class Decider : std::uint8_t {
  here,       // by the store over this log
  elsewhere,  // by another server, or by the datastore: forward() takes them there
  nobody,     // there is no quorum or no connection: writes fail at once, reads may be stale
};

// Where a log stands after replay, or after its state was replaced.
struct Recovered {
  Revision revision = 0;  // newest that was ever acknowledged, or later; numbering goes on after it
  Revision compacted = 0;  // oldest state that history() and state() can tell
  // Watches may not resume from before this: volatile records that readers saw may have been lost.
  Revision resumable = 0;
};

// What a log shared by several servers asks of the store above it. Called on the loop.
class LogUser {
 public:
  virtual ~LogUser() = default;
  // Durable records that were not appended by this store (or whose append was already given up), in
  // revision order, newer than all before. Published at once.
  virtual void deliver(Records records) = 0;
  // Everything known so far is replaced by this state: a snapshot came from another server. Watches
  // end with Code::expired.
  virtual void replace(Recovered at, std::vector<Record> state) = 0;
  // Ops that another server forwarded here: commit() without the items.
  virtual Task<std::vector<Result<Revision>>> decide(std::vector<Op> ops) = 0;
  // decider() may have another answer now. When it becomes Decider::here, everything decided before
  // has been delivered.
  virtual void decider_changed() = 0;
};

// The versions that the keys of a range had at one revision, page by page: what was looked up for
// one page serves the next. Destroyed before its log.
class StateReader {
 public:
  virtual ~StateReader() = default;
  // The next in key order, `limit` of them (0: all), fewer only at the end. expired as state().
  virtual Task<Result<std::vector<Record>>> next(std::size_t limit) = 0;
};

// Used from the loop only. Destroyed on the loop, after close() or in its place after a failure.
class Log {
 public:
  virtual ~Log() = default;

  using Recovered = store::Recovered;

  // Calls `each` on the loop for the newest version of every key that exists, in any order, then
  // reports where the log stands. Its cost does not grow with history. Called once, before append.
  virtual Task<Result<Recovered>> replay(std::function<void(Record)> each) = 0;

  // Makes the records durable, in order, all or none; resolves when they are. Volatile records may
  // be written later and are dropped when superseded. Appends are not reordered; the caller may
  // have several under way. After a failure nothing of the batch is readable in this process; the
  // next append tries anew. Failures are Code::unavailable with a sentence for the user. A shared
  // log may fail an append and later deliver() it all the same.
  virtual Task<Result<void>> append(Records records) = 0;

  // Retained records of `range` with a revision in (after, until], oldest first, at most `limit`
  // (0: all). expired when `after` < compacted.
  virtual Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                                    std::size_t limit) = 0;
  // The versions that the keys of `range` had at revision `at`, in key order, at most `limit` (0:
  // all). expired when `at` < compacted. Volatile keys: as they were written last.
  virtual Task<Result<std::vector<Record>>> state(Range range, Revision at, std::size_t limit) = 0;
  // The same for as many pages as the caller likes to have. While it is being read, retention does
  // not take that state away until there is four times as much history as is to be kept.
  virtual std::unique_ptr<StateReader> read_state(Range range, Revision at);
  // The versions that these records superseded, in no order, without those that are kept no more.
  virtual Task<Result<std::vector<Record>>> superseded_by(std::vector<Record> records);
  // Oldest revision that all these can read. compact(R) moves it to R at once, though what that
  // gives up goes from disk later. The log's own retention (SqliteOptions) moves it after appends:
  // once versions superseded up to revision S are over the bound in age or bytes, they are dropped
  // oldest first and this becomes S. So it never lies between; it does not move while nothing is
  // written; and a crash may move back what compact() did, never below what is really there. Any
  // thread.
  virtual Revision compacted() const = 0;

  // Records superseded at or before `revision` may be dropped from disk, in small steps between
  // appends. A log may put it off until it is worth the writing.
  virtual Task<Result<void>> compact(Revision revision) = 0;

  // Everything appended so far is on disk when this resolves, volatile and relaxed records too.
  virtual Task<Result<void>> sync() = 0;

  // Writes what is still held back and closes. No call may follow.
  virtual Task<Result<void>> close() = 0;

  // --- Shared logs only. A log of one server decides here, forwards nothing, delivers nothing.

  virtual void attach(LogUser& /*user*/) {}  // before replay; the user outlives the log
  virtual Decider decider() const { return Decider::here; }
  // Ops for whoever decides, in order, each with its verdict. The records arrive by deliver(),
  // perhaps after this resolves. unavailable: not known whether it happened, unless the message
  // says that nothing was sent.
  virtual Task<std::vector<Result<Revision>>> forward(std::vector<Op> ops);
  // A revision at or after everything acknowledged anywhere before the call. The store waits until
  // it was delivered. Code::unavailable without a quorum.
  virtual Task<Result<Revision>> barrier();
  // Puts `state` in place of everything this log holds.
  virtual Task<Result<void>> replace(Recovered at, std::vector<Record> state);
};

// Nothing survives.
std::unique_ptr<Log> make_memory_log();

enum class Durability : std::uint8_t {
  full,     // fsync before an append resolves
  relaxed,  // the operating system decides when: a power cut may lose the last seconds
};

// Encryption at rest of some keys' values. Thread-safe: logs call it on their own threads.
class Sealer {
 public:
  virtual ~Sealer() = default;
  virtual bool covers(std::string_view key) const = 0;
  virtual std::string seal(std::string_view key, std::string_view value) const = 0;
  // Fails with a sentence for the user when no known key opens it.
  virtual Result<std::string> open(std::string_view key, std::string_view sealed) const = 0;
};

struct SqliteOptions {
  std::string path;  // the database file; its directory must exist
  Durability durability = Durability::full;
  // How long a volatile record may wait for the disk: the first append after this writes those that
  // have not been superseded. One that keeps being superseded (a Lease) is written once, when its
  // key is new, and again at close. By default a little more than an Event lives: most Events never
  // reach the disk, and a crash loses those of the last hour.
  Duration volatile_interval = std::chrono::minutes(61);
  // Retention of superseded versions on disk: dropped once older than `history` (0: age does not
  // matter), and the oldest as soon as all together take more than `history_bytes` (0: no bound).
  Duration history = std::chrono::hours(24);
  std::size_t history_bytes = 256U << 20U;
  // A state read in pages is looked for by reading all of the newest versions, so for many keys at
  // once: twice as many at most, some 150 bytes each.
  std::size_t noted_keys = 256U << 10U;
  std::shared_ptr<const Sealer>
      sealer;  // null: nothing is sealed, and sealed values cannot be read
};

// A SQLite database in WAL mode with its own thread. Blocks the caller for some milliseconds:
// checks that nobody else holds the file, that it is a skiff database and that its format is known;
// replay() then checks every record it reads against its checksum. Every error says what to do.
// docs/internals/store.md describes the format.
Result<std::unique_ptr<Log>> open_sqlite_log(Env env, SqliteOptions options);

// What a server's SQLite log wrote to its disk since it was opened.
struct WriteSummary {
  std::uint64_t bytes = 0;    // to the database and its log, all told
  std::uint64_t per_day = 0;  // at that rate
  // Bytes of records by the first two segments of their keys ("core/pods"), most first.
  std::vector<std::pair<std::string, std::uint64_t>> records;
};
// Taken from the text of /metrics, so that it works from outside too. All zero where there is
// nothing of it.
WriteSummary summarize_writes(std::string_view metrics, WallTime now);

}  // namespace skiff::store
