// A store::Log that several servers share: Raft (Ongaro and Ousterhout, 2014; Ongaro's dissertation
// for pre-vote, check-quorum, membership and read index) on libraft's pure step function, with
// network, disk and time given from outside.
//
// A write is a batch of records. The leader's store decides it; append() makes it one entry of the
// shared log, which a majority has on disk before append() resolves: one fsync on each server,
// however many records. Committed records go to the store above at once and to the `inner` log
// (this server's database, with history and compaction) in larger steps; entries are forgotten only
// once the inner log has them on disk. docs/internals/raft.md says more.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/store/log.hpp"

namespace skiff::raft {

using Id = std::uint64_t;     // of a server, random, never 0, never used for another server
using Term = std::uint64_t;   // counts elections; 0: before the first
using Index = std::uint64_t;  // of an entry, from 1; 0: none

enum class Role : std::uint8_t {
  voter,    // has the entries, votes, counts for a majority
  standby,  // has the entries
  spare,    // has nothing yet
};
std::string_view name_of(Role role) noexcept;

struct Server {
  Id id = 0;
  std::string address;  // "https://10.0.0.1:6443": where its peers reach it
  Role role = Role::voter;
  bool operator==(const Server&) const = default;
};
using Servers = std::vector<Server>;

// --- What a server is given. A simulation gives others.

// One-way messages between servers. May lose, delay, repeat and reorder them, and may deliver
// garbage: frames carry a checksum, their sender and their receiver. Used on the loop.
class Network {
 public:
  using Receiver = std::function<void(std::string frame)>;
  virtual ~Network() = default;
  // False when the queue to that server is full: nothing was sent. Never waits.
  virtual bool send(const Server& to, std::string frame) = 0;
  // Who is told of frames that arrive, on the loop. Empty: they are dropped.
  virtual void receive(Receiver receiver) = 0;
  // These are the servers now; what is kept for others may go.
  virtual void set_peers(const Servers& peers) = 0;
};

struct Entry {
  enum class Kind : std::uint8_t { records = 1, barrier = 2, servers = 3 };
  Term term = 0;
  Kind kind = Kind::records;
  std::shared_ptr<const std::string> data;  // never null; records: see docs/internals/raft.md
};

// What must be known before a server speaks again.
struct HardState {
  Term term = 0;
  Id vote = 0;                // whom it voted for in that term
  std::uint64_t cluster = 0;  // identity; frames of another cluster are refused; 0: none yet
  Id self = 0;                // whose entries these are
  bool operator==(const HardState&) const = default;
};

// The state up to `index` is in the inner log. index 0: there is none.
struct SnapshotMark {
  Index index = 0;
  Term term = 0;
  std::string servers;  // encoded, as of `index`
  Index servers_index = 0;
};

// Durable storage of entries. Calls are made one at a time.
class Entries {
 public:
  struct Loaded {
    HardState state;
    SnapshotMark snapshot;
    Index first = 1;  // of `entries`; where they would begin when there are none
    std::vector<Entry> entries;
    Index committed = 0;  // known to be: not all that is
  };
  // One write. Parts are applied in this order.
  struct Batch {
    std::optional<HardState> state;
    std::optional<SnapshotMark> snapshot;
    bool restart = false;  // with `snapshot`: all entries go; the next is snapshot->index + 1
    Index keep_from = 0;   // entries before this are no longer needed; 0: as before
    Index first = 0;       // of `entries`. Entries with this index and later ones are replaced
    std::vector<Entry> entries;
    Index committed = 0;  // noted on the way
  };
  virtual ~Entries() = default;
  // Once, before the first write. Fails with a sentence for the user when something acknowledged is
  // damaged; what was being written when the machine stopped is dropped silently.
  virtual Task<Result<Loaded>> load() = 0;
  // All of it is durable when this resolves; a crash before may leave a prefix of the entries.
  // After a failure (Code::unavailable: no space, an I/O error) the same batch is given again
  // later.
  virtual Task<Result<void>> write(Batch batch) = 0;
  virtual Task<Result<void>> close() = 0;
};

struct EntriesOptions {
  std::string directory;  // made when missing, mode 0700
  // relaxed: no fsync. A power cut can then lose acknowledged writes if it takes a majority.
  store::Durability durability = store::Durability::full;
  std::size_t segment_bytes = 4U << 20U;  // files are filled in place and used again
};
// Files with checksums, one write and one fdatasync a batch. The directory is locked.
Result<std::unique_ptr<Entries>> open_raft_entries(Env env, EntriesOptions options);

// --- The log.

enum class Start : std::uint8_t {
  // No entries yet: be a cluster of one that begins with the inner log's state. Otherwise go on.
  bootstrap,
  // No entries yet: wait until a leader speaks (somebody calls add() there). Otherwise go on.
  join,
  // The others are lost for good: go on as a cluster of one with everything this server has. The
  // cluster gets a new identity, so that the others, should they come back, are refused.
  reset,
};

struct RaftOptions {
  Id id = 0;
  std::string address;
  Start start = Start::bootstrap;
  std::unique_ptr<store::Log> inner;            // for example SQLite with Durability::relaxed
  Network* network = nullptr;                   // outlives the log
  Entries* entries = nullptr;                   // outlives the log, which closes it
  std::shared_ptr<const store::Sealer> sealer;  // seals values in entries and in transit

  // A follower that hears nothing for one to two of these calls an election; a leader that hears
  // nothing from a majority for one steps down. Losing a leader costs two to four of them.
  Duration election_timeout = std::chrono::milliseconds(450);
  Duration heartbeat = std::chrono::milliseconds(150);
  Duration request_timeout = std::chrono::seconds(10);  // forward(), barrier(), changes of members

  // Entries kept for servers that are a little behind; beyond, they get a snapshot. Memory and
  // disk. For one that answers and still lacks more, or gets a snapshot just now, the second bound
  // holds, or the size of that snapshot; and twice, four times, eight times that when it needs
  // another and another one: else it would never catch up with busy servers.
  std::size_t keep_bytes = 8U << 20U;
  std::size_t keep_behind_bytes = 64U << 20U;
  // Records wait in memory for the inner log until they are this many bytes or this old; they are
  // in entries meanwhile.
  std::size_t apply_bytes = 1U << 20U;
  Duration apply_interval = std::chrono::minutes(10);
  std::size_t max_entry_bytes = 1U << 20U;     // a larger batch becomes several entries
  std::size_t max_pending_bytes = 64U << 20U;  // not committed yet; beyond: too_many_requests
  std::size_t max_requests = 1024;             // forwarded here or from here at once
  std::size_t snapshot_chunk_bytes = 512U << 10U;
};

struct PeerStatus {
  Server server;
  bool self = false;
  bool leader = false;
  // Only the leader knows these of others.
  Index matched = 0;                     // it has entries up to here
  std::uint64_t lag = 0;                 // entries behind
  std::optional<Duration> last_contact;  // empty: never
  bool receiving_snapshot = false;
  bool healthy = false;
  std::string trouble;  // a sentence when it is not
};

struct RaftStatus {
  Id id = 0;
  std::uint64_t cluster = 0;
  std::string state;  // leader, follower, candidate, joining, removed or stopped
  Term term = 0;
  Id leader = 0;  // 0: not known
  Index last = 0;
  Index committed = 0;
  Index applied = 0;
  Index snapshot = 0;
  store::Revision revision = 0;  // applied
  std::size_t entry_bytes = 0;   // in memory
  bool quorum = false;           // writes are possible as far as this server knows
  std::string trouble;           // a sentence, for example that the disk is full
  std::vector<PeerStatus> servers;
};

// What store::Log says, and: append() only while decider() is `here`; forward() and barrier() on
// any server. The LogUser is given by attach(), before replay(). Used on the loop only; close()
// hands leadership over first.
class RaftLog : public store::Log {
 public:
  virtual RaftStatus status() const = 0;

  // Changes of members, one at a time, on any server (they go to the leader). conflict: another
  // change is under way. unavailable: no leader, or not known whether it happened: look at
  // status(). Adding makes a standby that gets all entries, with a snapshot first; what is added
  // twice with the same address is fine. already_exists: the id or the address belongs to another.
  virtual Task<Result<void>> add(Server server) = 0;
  // Waits until the standby has (almost) everything, then it votes. not_found, unavailable.
  virtual Task<Result<void>> promote(Id id) = 0;
  // The leader hands over first when it is itself removed. invalid: the last voter.
  virtual Task<Result<void>> remove(Id id) = 0;
  // To that voter, or to the most advanced one (0). Resolves when there is another leader;
  // unavailable: it did not take over, or none was heard of within two seconds.
  virtual Task<Result<void>> transfer_leadership(Id to) = 0;
  // Start::reset at run time: no quorum is in sight and the others will not come back. Everything
  // this server has becomes committed. conflict while there is a leader.
  virtual Task<Result<void>> reset_to_lone_survivor() = 0;

  // Waits for the next change of leader, members or trouble.
  virtual Task<void> status_changed() = 0;
};

// invalid: the options make no sense. Everything else shows in replay().
Result<std::unique_ptr<RaftLog>> make_raft_log(Env env, RaftOptions options);

// A new identity for a server.
Id random_id(Random& random);

}  // namespace skiff::raft
