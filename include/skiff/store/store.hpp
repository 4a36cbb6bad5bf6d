// The watchable store: an ordered map from keys to bytes with multi-version concurrency control. It
// stands in for etcd, as data store and as message bus, inside the process.
//
// One revision per successful Op, counting up; numbers are never used twice. An empty store is at
// revision 1, so that 0 can mean "none". Reads and watches see exactly what is durable: an Op
// becomes visible in the same turn of the loop in which the log says it is on disk, and its
// watchers are told in that same turn. Everything runs on the loop given at open(); nothing here is
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/store/item.hpp"
#include "skiff/store/log.hpp"

namespace skiff::store {

struct Page {
  std::vector<ItemPtr> items;  // in key order
  Revision revision = 0;       // the revision that was read
  bool more = false;           // the limit was reached and keys remain
  std::size_t remaining = 0;   // how many, if `more` and the read was at the newest revision
};

struct Event {
  enum class Type : std::uint8_t { put, erase };
  Type type = Type::put;
  ItemPtr item;  // put: the new version. erase: the last state; `modified` is the erasing revision
  ItemPtr previous;  // the version before; null for a created key
  Revision revision() const { return item->modified; }
};

// Events of one range in revision order, without gaps or repeats, starting after a given revision.
// One reader. Destroying it ends the watch; no next() may be waiting then.
class Watch {
 public:
  virtual ~Watch() = default;
  // Waits for events and returns all that are pending (at least one), oldest first. Fails with
  // Code::expired when this reader fell more than its bound behind and must list again, and with
  // Code::unavailable when the store was closed; the watch is over then. Throws operation_aborted
  // when the waiting task is cancelled.
  virtual Task<Result<std::vector<Event>>> next() = 0;
  // What is pending now, possibly nothing.
  virtual Result<std::vector<Event>> poll() = 0;
  // Every event up to this revision was delivered: what a bookmark may promise.
  virtual Revision progress() const = 0;
};

struct WatchOptions {
  Range range;
  Revision after = 0;  // events with a greater revision; 0 means from now on
  // Only events whose item or previous version has this attribute.
  std::optional<std::pair<std::string, std::string>> attribute;
  std::size_t max_pending = 10'000;  // beyond: expired
};

struct StoreOptions {
  std::size_t max_value_bytes = 3U << 20U;  // larger puts are refused with too_large
  // Bytes of values that may wait for the log; beyond it commits are refused with
  // too_many_requests.
  std::size_t max_waiting_bytes = 256U << 20U;
  // The window: how much of the past is kept in memory for watches that resume and reads at older
  // revisions; what the log retains on disk is the log's affair. Versions leave it once they have
  // been superseded for `history` (0: age does not matter), and the oldest as soon as all together
  // take more than `history_bytes` or, if that is more, a quarter of what the newest versions take
  // (0: no bound). Checked when something is committed.
  Duration history = std::chrono::minutes(5);
  std::size_t history_bytes = 8U << 20U;
};

class Store {
 public:
  // Replays `log`; env.clock is read, env.metrics may be null. Fails with a message for the user
  // when the log is damaged, locked or of a newer version.
  static Task<Result<std::unique_ptr<Store>>> open(Env env, std::unique_ptr<Log> log,
                                                   StoreOptions options);
  virtual ~Store() = default;

  virtual Revision revision() const = 0;   // newest durable revision
  virtual Revision compacted() const = 0;  // oldest revision that get_at and range_at can read
  // Oldest revision in memory: get, range and watch read from here on. Never below compacted().
  virtual Revision window() const = 0;

  // Newest version, or the one at revision `at`. not_found; expired when `at` is older than
  // window(); bad_request when in the future.
  virtual Result<ItemPtr> get(std::string_view key, Revision at = 0) const = 0;
  virtual Result<Page> range(const Range& range, std::size_t limit = 0, Revision at = 0) const = 0;

  // The same at any retained revision: from memory where possible, else from the log's history.
  // expired when `at` is older than compacted().
  virtual Task<Result<ItemPtr>> get_at(std::string key, Revision at) = 0;
  virtual Task<Result<Page>> range_at(Range range, std::size_t limit, Revision at) = 0;
  // What was committed to `range` after `after` and up to `until`, oldest first: with who and when.
  // The oldest `limit` of them (0: all); until 0: the newest. expired when `after` is older than
  // compacted().
  virtual Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                                    std::size_t limit) = 0;

  // Several servers: resolves once this store shows everything that was acknowledged anywhere
  // before the call (a linearizable read follows). Alone: at once. unavailable without a quorum.
  virtual Task<Result<Revision>> barrier() = 0;
  // Where Ops are decided now, and waiting for that to change. Alone: Decider::here, for ever.
  virtual Decider decider() const = 0;
  virtual Task<void> decider_changed() = 0;

  // Each Op is checked against all accepted before it (durable or on their way), gets its own
  // verdict and revision, and all are made durable by one append. A refused Op (conflict,
  // not_found, already_exists, too_large) does not stop the others. Resolves after durability and
  // publication. When the log fails, the Ops of that append and all that were checked against them
  // fail with Code::unavailable and leave no trace; reads go on. The next commit tries anew, so
  // the store recovers as soon as the log does. A caller cancelled while it waits does not know.
  //
  // Several servers: the Ops go to whoever decides, and this resolves once their outcome shows in
  // this store, refusals too: who reads here afterwards reads nothing older than the verdict. When
  // the decider is lost meanwhile, unavailable: not known whether it happened, unless the message
  // says that nothing was written. Decider::nobody: unavailable at once.
  virtual Task<std::vector<Result<ItemPtr>>> commit(std::vector<Op> ops) = 0;

  // Why the last append failed, while no later one has succeeded: what readiness may report.
  virtual std::optional<Error> failing() const = 0;

  // expired when `after` is older than window(). Events after `after` that have already happened
  // come first. After a restart the window grows back, from the log, as far as a watch asks for and
  // `history_bytes` allows: such a watch waits in next(), and may still end with expired there.
  virtual Result<std::unique_ptr<Watch>> watch(WatchOptions options) = 0;

  // Forgets versions superseded at or before `revision`, in memory and in the log, a slice per turn
  // of the loop. Running watches are not disturbed. bad_request when in the future; nothing to do
  // when already compacted.
  virtual Task<Result<void>> compact(Revision revision) = 0;

  // Writes what is still pending, ends every watch and closes the log. Must have resolved before
  // the store is destroyed, unless nothing is under way. No call may follow.
  virtual Task<Result<void>> close() = 0;
};

}  // namespace skiff::store
