// A server: a process that can be killed, paused and started again, and a machine that stays.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checker.hpp"
#include "disk_entries.hpp"
#include "disk_log.hpp"
#include "host.hpp"
#include "net.hpp"
#include "skiff/raft/raft.hpp"
#include "skiff/store/store.hpp"

namespace skiff::sim {

// Bugs that can be planted, by wrapping what a server is made of. The product knows nothing of
// them.
enum class Plant : std::uint8_t {
  none,
  early_ack,       // a write is acknowledged before it is on disk
  forget_vote,     // a vote is not synced before it is sent
  skip_on_resume,  // a watch that resumes leaves out an event
  reuse_revision,  // after a restart, numbering begins too low
  stale_read,      // a linearizable read asks nobody
  two_deciders,    // a follower decides for itself when it cannot reach the leader
  snapshot_hole,   // a state handed over lacks a key
  false_bookmark,  // a bookmark runs ahead of the events
  last
};
std::string_view name_of(Plant plant);
Result<Plant> parse_plant(std::string_view text);

// Wrappers with the bug inside, or the thing itself.
std::unique_ptr<store::Log> plant_in(Plant plant, std::unique_ptr<store::Log> log, World& world,
                                     bool shared);
std::unique_ptr<raft::Entries> plant_in(Plant plant, std::unique_ptr<raft::Entries> entries,
                                        World& world);
void plant_in(Plant plant, store::WatchOptions& options);

// What the members of a cluster have in common, drawn from the seed.
struct Tuning {
  bool shared = false;  // several servers over Raft
  Plant plant = Plant::none;
  store::StoreOptions store;
  std::size_t keep_bytes = 64U << 10U;
  std::size_t keep_behind_bytes = 64U << 10U;
  std::size_t apply_bytes = 16U << 10U;
  Duration apply_interval = 5s;
  std::size_t max_entry_bytes = 16U << 10U;
  std::size_t chunk_bytes = 4U << 10U;
  Duration request_timeout = 5s;
};

// An ordered stream from a server to one client.
struct Stream {
  explicit Stream(Executor executor) : changed(std::move(executor)) {}
  struct Message {
    std::vector<store::Event> events;
    store::Revision bookmark = 0;
  };
  std::deque<Message> arrived;
  std::size_t travelling = 0;
  store::Revision loaded = 0;  // up to here the server knows the past from its disk only
  std::optional<Error> over;   // told to the client after what has arrived
  bool torn = false;           // something was lost on the way: nothing after it arrives
  bool abandoned = false;      // nobody reads any more
  TimePoint last_arrival{};
  Signal changed;  // both ends wait for it
};
using StreamPtr = std::shared_ptr<Stream>;

struct Answer {
  std::optional<Error> error;  // of the whole call; unavailable: not known what happened
  bool refused = false;        // with `error`: certainly nothing happened
  std::vector<Result<store::ItemPtr>> verdicts;
  store::Page page;
};
using Reply = std::function<void(Answer)>;

class Node {
 public:
  Node(World& world, Net& net, Checker& checker, const Tuning& tuning, int host);
  ~Node();

  // Starts a process, if none is there. `start` matters only when there are no entries yet.
  void start(raft::Start start);
  void kill();    // at once: what is not synced is lost
  void stop();    // in order, as on SIGTERM
  void pause();   // SIGSTOP
  void resume();  // SIGCONT
  bool running() const { return process_ != nullptr; }
  bool serving() const;
  bool paused() const { return clock.paused(); }
  std::size_t unburied() const { return unburied_; }
  void wipe(raft::Id id);  // another disk, another identity; only when not running

  raft::RaftLog* raft() const;
  store::Store* store() const;
  raft::Server address() const;
  int host() const { return host_; }
  std::string describe() const;  // for whoever reads a trace
  // Runs `task` as part of the process; it is cancelled when that dies.
  void run(std::string name, Task<void> task);
  void receive(std::string frame);

  // --- Requests as they arrive. `reply` is called at most once, never after death.
  void commit(std::vector<store::Op> ops, Reply reply);
  void read(store::Range range, bool linearizable, store::Revision at, Reply reply);
  void watch(int client, store::WatchOptions options, StreamPtr stream);
  void compact(store::Revision back);

  bool leaving = false;  // somebody is taking it out of the cluster
  HostClock clock;
  Disk disk;
  std::function<Node*(int)> peers;  // by host

 private:
  struct Process;
  class Port;
  using ProcessPtr = std::shared_ptr<Process>;

  Task<void> open(ProcessPtr p, raft::Start start);
  std::unique_ptr<store::Log> make_log(const ProcessPtr& p, raft::Start start);
  Task<void> tap(ProcessPtr p);
  Task<void> serve_commit(ProcessPtr p, std::vector<store::Op> ops, Reply reply);
  Task<void> serve_read(ProcessPtr p, store::Range range, bool linearizable, store::Revision at,
                        Reply reply);
  Task<void> serve_watch(ProcessPtr p, int client, store::WatchOptions options, StreamPtr stream);
  Task<void> serve_bookmarks(ProcessPtr p, int client, std::weak_ptr<store::Watch> watch,
                             StreamPtr stream);
  void push(const ProcessPtr& p, int client, const StreamPtr& stream, Stream::Message message);
  Task<void> bury(ProcessPtr p, bool in_order);

  World& world_;
  Net& net_;
  Checker& checker_;
  const Tuning& tuning_;
  int host_;
  Dice dice_;
  raft::Id id_;
  LogFile log_file_;
  EntriesFile entries_file_;
  ProcessPtr process_;
  std::size_t unburied_ = 0;
};

}  // namespace skiff::sim
