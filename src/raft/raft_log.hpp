// The log itself. One object; its parts stand in several files:
//   raft_log.cpp       store::Log, start and stop
//   raft_steps.cpp     the core's steps: entries to disk, messages out and in, time
//   raft_apply.cpp     committed entries to the store and the inner log; forgetting entries
//   raft_requests.cpp  forwarded writes, linearizable reads
//   raft_members.cpp   changes of members, leadership, status
//   raft_snapshots.cpp snapshots to and from other servers
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "frames.hpp"

namespace skiff::raft {

// What somebody waits for.
struct Waiter {
  explicit Waiter(Executor executor) : changed(std::move(executor)) {}
  void finish(Result<void> r) {
    if (done) return;
    done = true;
    outcome = std::move(r);
    changed.notify_all();
  }
  Signal changed;
  bool done = false;
  bool abandoned = false;  // who waited was cancelled
  Result<void> outcome{};
};
using WaiterPtr = std::shared_ptr<Waiter>;

class RaftLogImpl final : public RaftLog {
 public:
  RaftLogImpl(Env env, RaftOptions options);
  ~RaftLogImpl() override;

  // store::Log
  Task<Result<Recovered>> replay(std::function<void(store::Record)> each) override;
  Task<Result<void>> append(store::Records records) override;
  Task<Result<std::vector<store::Record>>> history(store::Range range, store::Revision after,
                                                   store::Revision until,
                                                   std::size_t limit) override;
  Task<Result<std::vector<store::Record>>> state(store::Range range, store::Revision at,
                                                 std::size_t limit) override;
  store::Revision compacted() const override { return inner_->compacted(); }
  Task<Result<void>> compact(store::Revision revision) override;
  Task<Result<void>> sync() override;
  Task<Result<void>> close() override;
  void attach(store::LogUser& user) override { user_ = &user; }
  store::Decider decider() const override;
  Task<std::vector<Result<store::Revision>>> forward(std::vector<store::Op> ops) override;
  Task<Result<store::Revision>> barrier() override;
  Task<Result<void>> replace(Recovered at, std::vector<store::Record> state) override;

  // RaftLog
  RaftStatus status() const override;
  Task<Result<void>> add(Server server) override;
  Task<Result<void>> promote(Id id) override;
  Task<Result<void>> remove(Id id) override;
  Task<Result<void>> transfer_leadership(Id to) override;
  Task<Result<void>> reset_to_lone_survivor() override;
  Task<void> status_changed() override { co_await status_signal_.wait(); }

 private:
  struct Stored {
    Entry entry;
    store::Records records;  // when they came from this store
  };
  // Entries of one append(): they are applied together.
  struct Group {
    Index first = 0;
    Term term = 0;
    std::size_t bytes = 0;
    WaiterPtr waiter;
  };
  struct Outgoing {
    std::uint64_t gate = 0;  // not before this write is done
    Server to;
    std::string frame;
  };
  struct Peer {
    std::optional<TimePoint> contact;
    int snapshots = 0;  // sent since it last had everything
    std::string trouble;
    int lost = 0;  // results in a row that it cannot give with all it acknowledged
    std::optional<TimePoint> told_stranger;
  };
  struct Request {
    Id leader = 0;
    WaiterPtr waiter;
    Verdicts verdicts;
  };
  struct Confirmation {
    std::uint64_t round = 0;
    WaiterPtr waiter;
  };
  struct Outbound {  // a snapshot on its way to a server
    explicit Outbound(Executor executor) : changed(std::move(executor)) {}
    void begin(std::uint64_t number) {  // once more from the start
      transfer = number;
      acked = next = 0;
      unacked.clear();
    }
    std::uint64_t transfer = 0;
    Index index = 0;   // of its state
    Index wanted = 0;  // what the core asks for, or newer
    std::uint64_t acked = 0;
    std::uint64_t next = 0;
    std::uint64_t heard = 0;  // acknowledgements, also of what was acknowledged before
    bool stop = false;
    std::deque<std::string> unacked;  // payloads from `acked` on
    Signal changed;
  };
  struct Inbound {
    std::uint64_t transfer = 0;
    Id from = 0;
    std::uint64_t next = 0;
    Term term = 0;
    SnapshotMark mark;
    Recovered at;
    std::vector<store::Record> records;
  };
  enum class Verb : std::uint8_t { add = 1, promote = 2, remove = 3 };
  class InnerLock;
  class AppendGuard;

  // raft_log.cpp
  Task<Result<Entries::Loaded>> prepare();
  Task<Result<Recovered>> replay_inner(const std::function<void(store::Record)>& each);
  Result<void> make_reset(Entries::Loaded& loaded, Entries::Batch& batch);
  Result<void> start_engine(const Entries::Loaded& loaded);
  Result<Index> submit_records(std::span<const store::Record> records, store::Records whole);
  Error not_here() const;

  // raft_steps.cpp
  std::uint64_t now_ms() const;
  void absorb(skiff_update& update, std::span<const Entry> given, Index given_first);
  void absorb_entries(const skiff_update& update, std::span<const Entry> given, Index given_first);
  void send_core(const skiff_message& message);
  void send_append(const skiff_message& message, const Server& to);
  void send_frame(FrameType type, Id to, std::string_view payload);
  void send_frame_to(FrameType type, const Server& to, std::string_view payload);
  void flush_outbox();
  void settle();  // at the end of whatever changed something
  void state_changed();
  void fail_groups(Index from, const Error& why);
  void arm();
  Task<void> sleep_then_tick(TimePoint when);
  void tick();
  Task<void> write_loop();
  void written(const Entries::Batch& batch, std::uint64_t seq);
  void receive(std::string bytes);
  bool accept(const FrameHeader& header);
  void receive_core(const FrameHeader& header, std::string_view payload);
  void receive_stranger(const FrameHeader& header, std::string_view payload);
  void complain(const std::string& about, std::string_view message, const Error& error);
  std::optional<Server> find(Id id) const;
  Servers servers() const;
  Servers committed_servers() const;
  std::size_t voters() const;
  bool leading() const { return engine_ && skiff_engine_state(engine_.get()) == SKIFF_LEADER; }
  Term term_of(Index index) const;
  Index last_index() const { return log_first_ + log_.size() - 1; }
  std::size_t cost(const Stored& stored) const { return stored.entry.data->size() + 160; }
  void truncate_log(Index from);
  Entries::Batch& next_write();

  // raft_apply.cpp
  Task<void> apply_loop();
  Task<bool> apply_one();
  Task<Result<void>> apply_records(Index index, Stored stored);
  void queue_for_inner(const std::vector<store::Record>& records);
  Task<Result<void>> flush_inner();
  Task<void> write_inner(WaiterPtr waiter);
  bool inner_due() const;
  void start_flush();
  Task<void> flush_when_due();
  void forget_when_due();
  Task<void> forget_entries();
  Index known_to_all() const;
  unsigned trailing_entries(Index index);
  std::vector<store::Record> take_for_inner();

  // raft_requests.cpp
  Task<Result<Verdicts>> ask(FrameType type, std::string payload);
  Task<Result<Verdicts>> forward_some(std::vector<store::Op> ops);
  Task<Result<store::Revision>> confirm_leadership();
  void next_round();
  void receive_request(FrameHeader header, std::string_view payload);
  Task<void> answer_forward(FrameHeader header, std::uint64_t request, std::vector<store::Op> ops);
  Task<void> answer_read(FrameHeader header, std::uint64_t request);
  Task<void> answer_change(FrameHeader header, std::uint64_t request, Verb verb, Server server);
  void receive_answer(std::string_view payload);
  void receive_confirm(const FrameHeader& header, std::string_view payload);
  void receive_confirmed(const FrameHeader& header, std::string_view payload);
  void fail_requests(const Error& why);
  // It leads, and soon knows everything decided before.
  bool warming() const { return leading() && !closing_ && applied_ < term_first_; }
  Task<bool> ready();
  void answer(FrameType type, Id to, std::uint64_t request, const Verdicts& verdicts);
  bool first_time(Id from, std::uint64_t request);

  // raft_members.cpp
  Task<Result<void>> change(Verb verb, Server server);
  Task<Result<void>> change_here(Verb verb, Server server);
  Task<Result<void>> add_here(Server server);
  Task<Result<void>> promote_here(Id id);
  Task<Result<void>> remove_here(Id id);
  Task<Result<void>> submit_servers(Servers servers);
  Task<Result<void>> catch_up(Id id);
  Task<Result<void>> hand_over(Id to);
  void members_changed();
  PeerStatus peer_status(const Server& server) const;

  // raft_snapshots.cpp
  void start_snapshot(Id to);
  Task<void> send_snapshot(Id to, std::shared_ptr<Outbound> out);
  bool heard_lately(Id id) const;
  Task<Result<void>> send_state(Id to, std::shared_ptr<Outbound> out);
  Task<Result<void>> send_part(Id to, std::shared_ptr<Outbound> out, SnapshotPart part);
  Task<Result<void>> wait_acked(Id to, std::shared_ptr<Outbound> out, std::size_t at_most);
  void receive_part(const FrameHeader& header, std::string_view payload);
  void receive_ack(const FrameHeader& header, std::string_view payload);
  void offer_snapshot(const FrameHeader& header);
  Task<Result<void>> wait_installed(Id to, std::shared_ptr<Outbound> out, std::string last,
                                    Index index);
  void acknowledge(Id to, const SnapshotPart& part, std::uint64_t received);
  Task<void> install(std::shared_ptr<Inbound> in);

  struct EngineDelete {
    void operator()(skiff_engine* e) const { skiff_engine_free(e); }
  };

  Env env_;
  RaftOptions options_;
  std::unique_ptr<store::Log> inner_;
  store::LogUser* user_ = nullptr;
  std::unique_ptr<skiff_engine, EngineDelete> engine_;
  TimePoint base_;

  // Entries and the disk.
  std::deque<Stored> log_;
  Index log_first_ = 1;
  std::size_t log_bytes_ = 0;
  HardState hard_;
  SnapshotMark mark_;
  Entries::Batch next_;
  bool next_used_ = false;
  std::uint64_t next_seq_ = 0;     // of the last write asked for
  std::uint64_t written_seq_ = 0;  // of the last one done
  std::uint64_t gate_ = 0;         // messages wait for this one
  std::deque<Outgoing> outbox_;
  std::string disk_trouble_;
  std::string inner_trouble_;
  std::string broken_;  // for good

  // Own appends.
  std::map<Index, Group> groups_;  // by last index
  std::size_t group_bytes_ = 0;
  std::size_t resuming_ = 0;  // told of their success, not yet running
  std::size_t failing_ = 0;   // told of their failure, not yet running
  store::Revision submitted_revision_ = 0;

  // Applying.
  Index applied_ = 0;
  store::Revision applied_revision_ = 0;
  std::vector<store::Record> for_inner_;
  std::size_t for_inner_bytes_ = 0;
  TimePoint flushed_at_;
  bool inner_busy_ = false;
  bool forgetting_ = false;
  bool flushing_ = false;
  bool installing_ = false;
  std::uint64_t install_transfer_ = 0;  // the last that was put in place, or is being

  // Leadership.
  bool was_leading_ = false;
  Index term_first_ = 0;  // applied this: everything decided before is known here
  Id last_leader_ = 0;
  Term last_term_ = 0;
  std::optional<TimePoint> leader_contact_;
  bool removed_ = false;
  bool closing_ = false;
  bool closed_ = false;
  bool started_ = false;
  bool changing_ = false;
  store::Decider last_decider_ = store::Decider::nobody;

  std::map<Id, Peer> peers_;
  std::map<Id, std::string> addresses_;  // of servers that are in no list known here
  std::map<std::uint64_t, Request> requests_;
  std::uint64_t next_request_ = 0;
  std::set<std::pair<Id, std::uint64_t>> seen_;
  std::deque<std::pair<Id, std::uint64_t>> seen_order_;
  std::size_t answering_ = 0;
  std::vector<Confirmation> confirmations_;
  std::uint64_t round_ = 0;
  bool round_open_ = false;
  TimePoint round_sent_;
  std::set<Id> round_yes_;
  std::map<Id, std::shared_ptr<Outbound>> outbound_;
  std::size_t snapshot_bytes_ = 0;   // of the last that was sent, or so far
  std::size_t kept_for_behind_ = 0;  // bytes of entries over `keep_bytes`
  std::shared_ptr<Inbound> inbound_;
  std::map<std::string, TimePoint> complaints_;
  std::optional<TimePoint> armed_;

  Signal write_signal_;
  Signal written_signal_;
  Signal apply_signal_;
  Signal resumed_signal_;
  Signal inner_signal_;
  Signal change_signal_;  // anything of the core may have changed
  Signal status_signal_;
  TaskGroup inner_tasks_;  // never cancelled: they end when the inner log has answered
  TaskGroup tasks_;
};

// Only one at a time works on the inner log.
class RaftLogImpl::InnerLock {
 public:
  static Task<std::unique_ptr<InnerLock>> take(RaftLogImpl& log) {
    while (log.inner_busy_) co_await log.inner_signal_.wait();
    log.inner_busy_ = true;
    co_return std::unique_ptr<InnerLock>(new InnerLock(log));
  }
  ~InnerLock() {
    log_.inner_busy_ = false;
    log_.inner_signal_.notify_all();
  }
  InnerLock(const InnerLock&) = delete;
  InnerLock& operator=(const InnerLock&) = delete;

 private:
  explicit InnerLock(RaftLogImpl& log) : log_(log) {}
  RaftLogImpl& log_;
};

}  // namespace skiff::raft
