// Servers in one process on virtual time: a network that can be cut, disks that survive them.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <set>

#include "segments.hpp"
#include "skiff/raft/raft.hpp"
#include "support/loop.hpp"

namespace skiff::raft::test {

using store::Op;
using store::Record;
using store::Records;
using store::Revision;

// --- Network: 1 ms from anyone to anyone.

struct Wires {
  explicit Wires(skiff::test::Loop& l) : loop(l), group(l.io.get_executor()) {}
  ~Wires() {
    group.cancel();
    loop.run();
  }
  skiff::test::Loop& loop;
  TaskGroup group;
  std::map<Id, Network::Receiver> receivers;
  std::set<std::pair<Id, Id>> cut;  // one way
  int drop_one_in = 0;
  bool twice = false;
  std::size_t sent = 0;
  std::size_t large = 0;  // of those, no mere heartbeats

  void isolate(Id id, const std::vector<Id>& all) {
    for (const Id other : all) {
      cut.insert({id, other});
      cut.insert({other, id});
    }
  }
  Task<void> carry(Id to, std::string frame) {
    co_await loop.clock.sleep_for(1ms);
    const auto it = receivers.find(to);
    if (it != receivers.end() && it->second) it->second(std::move(frame));
  }
};

class FakeNetwork final : public Network {
 public:
  FakeNetwork(Wires& wires, Id self) : wires_(wires), self_(self) {}
  ~FakeNetwork() override { wires_.receivers.erase(self_); }
  bool send(const Server& to, std::string frame) override {
    ++wires_.sent;
    if (frame.size() > 1000) ++wires_.large;
    if (wires_.cut.count({self_, to.id}) != 0) return true;
    if (wires_.drop_one_in != 0 &&
        wires_.loop.random.below(static_cast<std::uint64_t>(wires_.drop_one_in)) == 0) {
      return true;
    }
    if (wires_.twice) wires_.group.spawn("frame", wires_.carry(to.id, frame));
    wires_.group.spawn("frame", wires_.carry(to.id, std::move(frame)));
    return true;
  }
  void receive(Receiver receiver) override { wires_.receivers[self_] = std::move(receiver); }
  void set_peers(const Servers& peers) override { peers_ = peers; }
  Servers peers_;

 private:
  Wires& wires_;
  Id self_;
};

// --- Disks.

struct Disk {
  Entries::Loaded entries;
  std::vector<Record> records;  // of the inner log, in order
  store::Recovered floor;       // what a snapshot said
  std::size_t synced = 0;       // of `records`
  bool full = false;
  Clock* slow = nullptr;  // by it, an append of the inner log takes a second, a replacement 20
  int replacements = 0;
  int writes = 0;
};

class FakeEntries final : public Entries {
 public:
  FakeEntries(Clock& clock, std::shared_ptr<Disk> disk) : clock_(clock), disk_(std::move(disk)) {}
  Task<Result<Loaded>> load() override { co_return disk_->entries; }
  Task<Result<void>> write(Batch batch) override {
    co_await clock_.sleep_for(1ms);
    if (disk_->full) co_return Error{Code::unavailable, "the disk is full"};
    ++disk_->writes;
    const bool fits = apply_batch(disk_->entries, std::move(batch));
    REQUIRE(fits);
    co_return Result<void>();
  }
  Task<Result<void>> close() override { co_return Result<void>(); }

 private:
  Clock& clock_;
  std::shared_ptr<Disk> disk_;
};

class FakeInner final : public store::Log {
 public:
  explicit FakeInner(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}
  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    std::map<std::string, Record> newest;
    Recovered out = disk_->floor;
    for (const Record& r : disk_->records) {
      newest.insert_or_assign(r.item->key, r);
      out.revision = std::max(out.revision, r.item->modified);
    }
    for (auto& [key, r] : newest) {
      if (!r.erase) each(r);
    }
    co_return out;
  }
  Task<Result<void>> append(Records records) override {
    if (disk_->slow != nullptr) co_await disk_->slow->sleep_for(1s);
    for (const Record& r : *records) {
      REQUIRE((disk_->records.empty() || r.item->modified > disk_->records.back().item->modified));
      REQUIRE_FALSE(r.is_volatile);
      disk_->records.push_back(r);
    }
    co_return Result<void>();
  }
  Task<Result<std::vector<Record>>> history(store::Range range, Revision after, Revision until,
                                            std::size_t) override {
    std::vector<Record> out;
    for (const Record& r : disk_->records) {
      if (r.item->modified > after && r.item->modified <= until && range.contains(r.item->key)) {
        out.push_back(r);
      }
    }
    co_return out;
  }
  Task<Result<std::vector<Record>>> state(store::Range range, Revision at,
                                          std::size_t limit) override {
    std::map<std::string, Record> newest;
    for (const Record& r : disk_->records) {
      if (r.item->modified <= at && range.contains(r.item->key)) {
        newest.insert_or_assign(r.item->key, r);
      }
    }
    std::vector<Record> out;
    for (auto& [key, r] : newest) {
      if (!r.erase && (limit == 0 || out.size() < limit)) out.push_back(r);
    }
    co_return out;
  }
  Revision compacted() const override { return disk_->floor.compacted; }
  Task<Result<void>> compact(Revision) override { co_return Result<void>(); }
  Task<Result<void>> sync() override {
    disk_->synced = disk_->records.size();
    co_return Result<void>();
  }
  Task<Result<void>> close() override { co_return Result<void>(); }
  Task<Result<void>> replace(Recovered at, std::vector<Record> state) override {
    if (disk_->slow != nullptr) co_await disk_->slow->sleep_for(20s);
    ++disk_->replacements;
    std::sort(state.begin(), state.end(),
              [](const Record& a, const Record& b) { return a.item->modified < b.item->modified; });
    disk_->records = std::move(state);
    disk_->synced = 0;
    disk_->floor = at;
    co_return Result<void>();
  }

 private:
  std::shared_ptr<Disk> disk_;
};

// --- A store that only remembers.

class FakeUser final : public store::LogUser {
 public:
  store::Log* log = nullptr;
  std::map<std::string, std::string> values;
  Revision revision = 0;
  Revision given = 0;
  std::map<std::string, Revision> revisions;
  int delivered = 0;
  int replaced = 0;
  std::vector<std::string> deciders;

  void publish(const std::vector<Record>& records) {
    for (const Record& r : records) {
      REQUIRE(r.item->modified > revision);
      revision = r.item->modified;
      revisions[r.item->key] = revision;
      if (r.erase) {
        values.erase(r.item->key);
      } else {
        values[r.item->key] = r.item->value;
      }
    }
  }
  void deliver(Records records) override {
    ++delivered;
    publish(*records);
  }
  void replace(store::Recovered at, std::vector<Record> state) override {
    ++replaced;
    values.clear();
    for (const Record& r : state) values[r.item->key] = r.item->value;
    revision = at.revision;
  }
  void decider_changed() override {
    static const char* const kNames[] = {"here", "elsewhere", "nobody"};
    deciders.emplace_back(kNames[static_cast<int>(log->decider())]);
  }
  Task<std::vector<Result<Revision>>> decide(std::vector<Op> ops) override {
    std::vector<Record> records;
    given = std::max(given, revision);
    for (Op& op : ops) {
      auto item = std::make_shared<store::Item>();
      item->key = op.key;
      item->value = op.value;
      item->attributes = op.attributes;
      item->modified = ++given;
      Record r;
      r.previous = revisions[op.key];
      r.item = item;
      r.erase = op.type == Op::Type::erase;
      r.is_volatile = op.is_volatile;
      r.author = op.author;
      records.push_back(std::move(r));
    }
    std::vector<Result<Revision>> out;
    auto shared = std::make_shared<const std::vector<Record>>(std::move(records));
    const auto outcome = co_await log->append(shared);
    for (const Record& r : *shared) {
      if (outcome) {
        out.emplace_back(r.item->modified);
      } else {
        out.emplace_back(outcome.error());
      }
    }
    if (outcome) publish(*shared);
    co_return out;
  }
};

// --- A server.

struct Node {
  Id id = 0;
  std::shared_ptr<Disk> disk = std::make_shared<Disk>();
  std::unique_ptr<FakeNetwork> network;
  std::unique_ptr<FakeEntries> entries;
  std::unique_ptr<FakeUser> user;
  std::unique_ptr<RaftLog> log;
};

struct Cluster {
  skiff::test::Loop loop;
  Wires wires{loop};
  std::map<Id, Node> nodes;
  std::size_t keep_bytes = 8U << 20U;
  std::size_t keep_behind_bytes = 64U << 20U;
  std::size_t apply_bytes = 1U << 20U;
  std::size_t chunk_bytes = 512U << 10U;
  std::size_t entry_bytes = 1U << 20U;
  bool power_cuts = false;

  ~Cluster() {
    for (auto& [id, node] : nodes) stop(id);
  }

  // Runs `task` to its end, time going on meanwhile.
  template <class T>
  T wait(Task<T> task, Duration limit = 60s) {
    std::optional<T> out;
    TaskGroup group(loop.io.get_executor());
    auto run = [](Task<T> t, std::optional<T>& o) -> Task<void> {
      o.emplace(co_await std::move(t));
    };
    group.spawn("waited for", run(std::move(task), out));
    const TimePoint end = loop.clock.now() + limit;
    while (!out && loop.clock.now() < end) loop.run(1ms);
    REQUIRE(out.has_value());
    loop.run();
    return std::move(*out);
  }

  static std::string address(Id id) { return "https://10.0.0." + std::to_string(id) + ":6443"; }

  Result<store::Recovered> start(Id id, Start how) {
    Node& node = nodes[id];
    node.id = id;
    node.network = std::make_unique<FakeNetwork>(wires, id);
    node.entries = std::make_unique<FakeEntries>(loop.clock, node.disk);
    node.user = std::make_unique<FakeUser>();
    RaftOptions options;
    options.id = id;
    options.address = address(id);
    options.start = how;
    options.inner = std::make_unique<FakeInner>(node.disk);
    options.network = node.network.get();
    options.entries = node.entries.get();
    options.keep_bytes = keep_bytes;
    options.keep_behind_bytes = keep_behind_bytes;
    options.apply_bytes = apply_bytes;
    options.snapshot_chunk_bytes = chunk_bytes;
    options.max_entry_bytes = entry_bytes;
    auto made = make_raft_log(loop.env, std::move(options));
    REQUIRE(made.has_value());
    node.log = std::move(*made);
    node.user->log = node.log.get();
    node.log->attach(*node.user);
    auto open = [](FakeUser* u) -> Task<Result<store::Recovered>> {
      auto recovered =
          co_await u->log->replay([u](Record r) { u->values[r.item->key] = r.item->value; });
      if (recovered) u->revision = recovered->revision;
      co_return recovered;
    };
    return wait(open(node.user.get()));
  }

  void stop(Id id) {
    Node& node = nodes[id];
    if (!node.log) return;
    const auto closed = wait(node.log->close());
    node.log.reset();
    node.network.reset();
  }

  // Nothing leaves it any more, not even to its disk.
  void crash(Id id) {
    Node& node = nodes[id];
    if (!node.log) return;
    auto after = std::make_shared<Disk>(*node.disk);
    std::swap(*node.disk, *after);  // the running server writes to what nobody reads again
    const auto before = wires.cut;
    wires.isolate(id, ids());
    wires.receivers.erase(id);
    auto dead = node.disk;
    node.disk = std::make_shared<Disk>(*after);
    if (power_cuts) {  // of what the inner log was not asked to sync, only a beginning remains
      const std::size_t kept = node.disk->records.size() - node.disk->synced;
      node.disk->records.resize(node.disk->synced + loop.random.below(kept + 1));
    }
    (void)wait(node.log->close());
    node.log.reset();
    node.network.reset();
    wires.cut = before;
  }

  std::vector<Id> ids() const {
    std::vector<Id> out;
    for (const auto& [id, node] : nodes) out.push_back(id);
    return out;
  }

  // 0: none that is ready.
  Id leader() const {
    for (const auto& [id, node] : nodes) {
      if (node.log && node.log->decider() == store::Decider::here) return id;
    }
    return 0;
  }
  Id wait_leader(Duration limit = 10s) {
    const TimePoint end = loop.clock.now() + limit;
    while (leader() == 0 && loop.clock.now() < end) loop.run(1ms);
    return leader();
  }

  Result<Revision> put(Id at, std::string key, std::string value, bool is_volatile = false) {
    Node& node = nodes[at];
    Op op;
    op.key = std::move(key);
    op.value = std::move(value);
    op.is_volatile = is_volatile;
    std::vector<Op> ops;
    ops.push_back(std::move(op));
    auto verdicts = node.log->decider() == store::Decider::here
                        ? wait(node.user->decide(std::move(ops)))
                        : wait(node.log->forward(std::move(ops)));
    REQUIRE(verdicts.size() == 1);
    return verdicts.front();
  }

  // 1, 2, 3... as voters; 1 leads.
  void make(Id count) {
    REQUIRE(start(1, Start::bootstrap).has_value());
    REQUIRE(wait_leader() == 1);
    for (Id id = 2; id <= count; ++id) {
      REQUIRE(start(id, Start::join).has_value());
      Server server;
      server.id = id;
      server.address = address(id);
      const auto added = wait(nodes[1].log->add(server));
      INFO((added ? "" : added.error().message));
      REQUIRE(added.has_value());
      const auto promoted = wait(nodes[1].log->promote(id));
      INFO((promoted ? "" : promoted.error().message));
      REQUIRE(promoted.has_value());
    }
    loop.run(500ms);
  }
};

}  // namespace skiff::raft::test
