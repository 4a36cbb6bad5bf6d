#include "run.hpp"

#include <fmt/format.h>

#include "nemesis.hpp"

namespace skiff::sim {
namespace {

using store::Revision;

Tuning draw_tuning(World& world, const RunOptions& options) {
  Dice dice = world.dice("tuning");
  Tuning t;
  t.shared = options.shared;
  t.plant = options.plant;
  t.store.history = dice.chance(0.5) ? dice.between(2s, 30s) : Duration(5min);
  t.store.history_bytes = dice.chance(0.5) ? (2U + dice.below(30)) << 10U : 16U << 20U;
  t.keep_bytes = (1U + dice.below(64)) << 10U;
  t.apply_bytes = (1U + dice.below(32)) << 10U;
  t.apply_interval = dice.between(200ms, 20s);
  t.max_entry_bytes = (1U + dice.below(16)) << 10U;
  t.chunk_bytes = 512U << dice.below(6);
  t.request_timeout = dice.between(1s, 10s);
  t.keep_behind_bytes = t.keep_bytes << dice.below(3);
  return t;
}

class Run {
 public:
  explicit Run(RunOptions options)
      : options_(std::move(options)),
        world_(options_.seed, options_.trace),
        net_(world_),
        checker_(world_),
        tuning_(draw_tuning(world_, options_)),
        dice_(world_.dice("run")),
        field_{world_, net_, checker_, {}, false} {}

  void go();
  Outcome outcome() const {
    return {world_.hash(), world_.now(), world_.counts(), world_.violations()};
  }
  bool at_rest() const { return at_rest_; }

 private:
  void set_up();
  bool wait_for(Duration limit, const std::function<bool()>& ready);
  bool recovered();
  void compare();
  bool shut_down();
  Task<void> admin();
  Task<void> observe();
  void tend(Node& first, Node& node);
  void sweep(Node& first);

  RunOptions options_;
  World world_;
  Net net_;
  Checker checker_;
  Tuning tuning_;
  Dice dice_;
  Field field_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
  std::map<raft::Term, raft::Id> leaders_;
  std::uint64_t identities_ = 0;
  bool tending_ = false;
  bool at_rest_ = false;
};

void Run::set_up() {
  const std::size_t servers = options_.shared ? (dice_.chance(0.25) ? 5 : 3) : 1;
  for (std::size_t i = 0; i < servers; ++i) {
    nodes_.push_back(
        std::make_unique<Node>(world_, net_, checker_, tuning_, static_cast<int>(i) + 1));
    nodes_.back()->peers = [this](int host) -> Node* {
      const auto at = static_cast<std::size_t>(host - 1);
      return at < nodes_.size() ? nodes_[at].get() : nullptr;
    };
    field_.servers.push_back(nodes_.back().get());
    nodes_.back()->start(i == 0 ? raft::Start::bootstrap : raft::Start::join);
  }
  const std::size_t clients = 2 + dice_.below(6);
  for (std::size_t i = 0; i < clients; ++i) {
    clients_.push_back(std::make_unique<Client>(field_, 100 + static_cast<int>(i)));
  }
  const std::size_t watchers = 2 + dice_.below(5);
  for (std::size_t i = 0; i < watchers; ++i) {
    watchers_.push_back(std::make_unique<Watcher>(field_, 200 + static_cast<int>(i)));
  }
}

bool Run::wait_for(Duration limit, const std::function<bool()>& ready) {
  const Duration end = world_.now() + limit;
  while (!ready()) {
    if (world_.now() > end || !world_.run_for(200ms)) return false;
  }
  return true;
}

// What an administrator does: servers that are not members become members.
Task<void> Run::admin() {
  for (;;) {
    co_await world_.sleep(500ms);
    Node* first = nullptr;
    for (const auto& node : nodes_) {
      const bool decides =
          node->store() != nullptr && node->store()->decider() == store::Decider::here;
      if (decides && node->raft() != nullptr) first = node.get();
    }
    if (first == nullptr || tending_) continue;
    for (const auto& node : nodes_) {
      if (!tending_ && node->running() && !node->leaving) tend(*first, *node);
    }
    if (!tending_) sweep(*first);
  }
}

void Run::tend(Node& first, Node& node) {
  const auto status = first.raft()->status();
  const raft::Id id = node.address().id;
  const raft::PeerStatus* found = nullptr;
  for (const auto& peer : status.servers) {
    if (peer.server.id == id) found = &peer;
  }
  const auto task = [](Run* self, raft::RaftLog* log, raft::Server server, bool add) -> Task<void> {
    if (add) {
      server.role = raft::Role::standby;
      (void)co_await log->add(server);
    } else {
      (void)co_await log->promote(server.id);
    }
    self->tending_ = false;
  };
  if (found != nullptr && found->server.role == raft::Role::voter) return;
  if (node.raft() != nullptr && node.raft()->status().state == "removed") {
    world_.note("retire", node.host());
    node.kill();
    node.wipe(id + 100'000 + ++identities_);
    return node.start(raft::Start::join);
  }
  world_.note(found == nullptr ? "add" : "promote", node.host(), static_cast<std::int64_t>(id));
  tending_ = true;
  world_.after(10s, [this] { tending_ = false; });  // its server may die under it
  first.run("tend", task(this, first.raft(), node.address(), found == nullptr));
}

// Members that no longer are anybody are taken out.
void Run::sweep(Node& first) {
  for (const auto& peer : first.raft()->status().servers) {
    bool known = false;
    for (const auto& node : nodes_) known |= node->address().id == peer.server.id;
    if (known) continue;
    const auto task = [](Run* self, raft::RaftLog* log, raft::Id id) -> Task<void> {
      (void)co_await log->remove(id);
      self->tending_ = false;
    };
    world_.note("sweep", 0, static_cast<std::int64_t>(peer.server.id));
    tending_ = true;
    world_.after(10s, [this] { tending_ = false; });
    return first.run("sweep", task(this, first.raft(), peer.server.id));
  }
}

// One leader a term, whoever is asked.
Task<void> Run::observe() {
  for (;;) {
    co_await world_.sleep(25ms);
    for (const auto& node : nodes_) {
      if (node->raft() == nullptr || node->paused()) continue;
      const auto status = node->raft()->status();
      if (status.state != "leader") continue;
      const auto [it, fresh] = leaders_.emplace(status.term, status.id);
      if (fresh) {
        world_.count(Count::leaders);
        world_.note("leader", node->host(), static_cast<std::int64_t>(status.term));
      } else if (it->second != status.id) {
        world_.violation("two-leaders", fmt::format("servers {} and {} both lead in term {}",
                                                    it->second, status.id, status.term));
      }
    }
  }
}

bool Run::recovered() {
  for (const auto& node : nodes_) {
    if (!node->running()) node->start(raft::Start::join);  // it was on its way down
  }
  Revision at = 0;
  for (const auto& node : nodes_) {
    if (!node->serving()) return false;
    if (at == 0) at = node->store()->revision();
    if (node->store()->revision() != at) return false;
    if (!options_.shared) continue;
    if (node->store()->decider() == store::Decider::nobody) return false;
  }
  return true;
}

// The last word of every server.
void Run::compare() {
  for (const auto& node : nodes_) {
    if (node->store() == nullptr) continue;
    const auto all = node->store()->range(store::Range{});
    checker_.read({0, node->host(), store::Range{}, all->revision, all->items, recovered()},
                  {checker_.floor(), world_.now()});
  }
}

bool Run::shut_down() {
  for (const auto& node : nodes_) node->stop();
  const bool ended = wait_for(90s, [this] {
    for (const auto& node : nodes_) {
      if (node->running() || node->unburied() != 0) return false;
    }
    return true;
  });
  if (!ended) return false;
  for (const auto& watcher : watchers_) watcher->end();
  world_.end();
  return true;
}

void Run::go() {
  set_up();
  world_.tasks.spawn("observe", observe());
  if (options_.shared) world_.tasks.spawn("admin", admin());
  if (!wait_for(60s, [this] { return recovered(); })) {
    world_.violation("no-start", "the servers do not begin to serve");
    return;
  }
  std::vector<int> hosts;
  for (std::size_t i = 0; i < clients_.size(); ++i) hosts.push_back(100 + static_cast<int>(i));
  for (std::size_t i = 0; i < watchers_.size(); ++i) hosts.push_back(200 + static_cast<int>(i));
  Nemesis nemesis(field_, nodes_, hosts, options_.shared, options_.without);
  for (const auto& client : clients_) world_.tasks.spawn("client", client->run());
  for (const auto& watcher : watchers_) world_.tasks.spawn("watcher", watcher->run());
  world_.tasks.spawn("nemesis", nemesis.run());
  if (!world_.run_for(options_.length)) return;
  nemesis.heal();
  if (!world_.run_for(5s)) return;
  field_.over = true;
  if (!world_.run_for(8s)) return;
  const Revision before = checker_.newest();
  if (!wait_for(90s, [this] { return recovered(); })) {
    world_.violation("no-recovery", "the servers are healed and do not serve the same state");
    for (const auto& node : nodes_) world_.note("state", node->host(), 0, 0, node->describe());
  }
  world_.note("healed", 0, before);
  compare();
  at_rest_ = shut_down();
  checker_.finish();
}

}  // namespace

Outcome run_seed(RunOptions options) {
  auto run = std::make_unique<Run>(std::move(options));
  run->go();
  Outcome outcome = run->outcome();
  // What does not end cannot be taken down either.
  if (!run->at_rest()) (void)run.release();
  return outcome;
}

RunOptions minimise(RunOptions options, const std::string& rule,
                    const std::function<void(std::string_view)>& tell) {
  const auto breaks = [&](const RunOptions& o) {
    RunOptions silent = o;
    silent.trace = nullptr;
    for (const Violation& v : run_seed(silent).violations) {
      if (v.rule == rule) return true;
    }
    return false;
  };
  for (std::size_t i = 0; i < static_cast<std::size_t>(Fault::last); ++i) {
    RunOptions fewer = options;
    fewer.without |= 1U << i;
    if (fewer.without == options.without || !breaks(fewer)) continue;
    options = fewer;
    tell(fmt::format("happens without {}", name_of(static_cast<Fault>(i))));
  }
  while (options.length > 2s) {
    RunOptions shorter = options;
    shorter.length = options.length * 3 / 4;
    if (!breaks(shorter)) break;
    options = shorter;
  }
  return options;
}

}  // namespace skiff::sim
