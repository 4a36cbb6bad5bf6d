#include "nemesis.hpp"

#include <fmt/format.h>

namespace skiff::sim {
namespace {

constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::last);
constexpr std::string_view kNames[kFaults] = {
    "crash",      "crash-all",  "restart", "pause",    "partition",  "one-way",   "slow-link",
    "loss",       "duplicate",  "reorder", "damage",   "disk-error", "disk-full", "disk-slow",
    "clock-rate", "clock-jump", "compact", "transfer", "member"};

bool needs_cluster(Fault fault) { return fault == Fault::transfer || fault == Fault::member; }

}  // namespace

std::string_view name_of(Fault fault) { return kNames[static_cast<std::size_t>(fault)]; }

Nemesis::Nemesis(Field& field, std::vector<std::unique_ptr<Node>>& nodes, std::vector<int> clients,
                 bool shared, std::uint32_t without)
    : field_(field),
      nodes_(nodes),
      clients_(std::move(clients)),
      shared_(shared),
      dice_(field.world.dice("nemesis")) {
  // Each seed has its own mixture: a run with everything at once finds less.
  for (std::size_t i = 0; i < kFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    const bool on = dice_.chance(0.5);
    if (!on || (without >> i & 1U) != 0 || (needs_cluster(fault) && !shared)) continue;
    kinds_ |= 1U << i;
    enabled_.push_back(fault);
  }
  pace_ = dice_.between(100ms, 4s);
  set_network();
}

void Nemesis::set_network() {
  Net::Manners& m = field_.net.manners;
  if (has(Fault::loss)) m.loss = dice_.chance(0.2) ? 0.2 : 0.02;
  if (has(Fault::duplicate)) m.duplicate = dice_.chance(0.2) ? 0.2 : 0.02;
  if (has(Fault::reorder)) m.late = dice_.chance(0.2) ? 0.2 : 0.02;
  if (has(Fault::damage)) m.damage = dice_.chance(0.2) ? 0.02 : 0.002;
  if (dice_.chance(0.2)) m.high = 30ms;
}

Task<void> Nemesis::run() {
  if (enabled_.empty()) co_return;
  while (!over_) {
    co_await field_.world.sleep(dice_.between(Duration{}, 2 * pace_));
    if (!over_) act(dice_.pick(enabled_));
  }
}

// Undoes something later, unless everything was healed before.
void Nemesis::later(Duration d, std::function<void()> f) {
  field_.world.after(d, [this, f = std::move(f)] {
    if (!over_) f();
  });
}

Node* Nemesis::leader() {
  for (const auto& node : nodes_) {
    if (node->store() != nullptr && node->store()->decider() == store::Decider::here) {
      return node.get();
    }
  }
  return nullptr;
}

Node& Nemesis::target() {
  Node* first = dice_.chance(0.5) ? leader() : nullptr;
  return first != nullptr ? *first : any();
}

void Nemesis::crash(Node& node) {
  node.kill();
  later(a_while(), [&node] { node.start(raft::Start::join); });
}

void Nemesis::partition(bool one_way) {
  World& world = field_.world;
  world.count(Count::partitions);
  std::vector<int> hosts = clients_;
  for (const auto& node : nodes_) hosts.push_back(node->host());
  std::vector<int> left;
  std::vector<int> right;
  if (Node* first = dice_.chance(0.4) ? leader() : nullptr; first != nullptr) {
    // The leader, perhaps with some clients that believe in it.
    for (const int h : hosts) {
      const bool with = h == first->host() || (h >= 100 && dice_.chance(0.3));
      (with ? left : right).push_back(h);
    }
  } else {
    for (const int h : hosts) (dice_.chance(0.5) ? left : right).push_back(h);
  }
  for (const int a : left) {
    for (const int b : right) {
      field_.net.cut_one_way(a, b);
      if (!one_way) field_.net.cut_one_way(b, a);
    }
  }
  world.note(one_way ? "one-way" : "partition", static_cast<int>(left.size()),
             static_cast<std::int64_t>(right.size()), left.empty() ? 0 : left.back());
  later(a_while(), [this] {
    field_.world.note("connected");
    field_.net.heal();
  });
}

void Nemesis::disk_trouble(Fault fault) {
  Node& node = target();
  field_.world.note("disk", node.host(), static_cast<int>(fault));
  Disk& disk = node.disk;
  if (fault == Fault::disk_full) {
    disk.manners.full = true;
  } else if (fault == Fault::disk_slow) {
    field_.world.count(Count::slow_disks);
    disk.manners.low = 20ms;
    disk.manners.high = dice_.chance(0.3) ? 3s : 400ms;
  } else {
    disk.manners.error = dice_.chance(0.3) ? 1.0 : 0.2;
    disk.manners.read_error = 0.2;
  }
  later(a_while(), [&disk] { disk.manners = Disk::Manners(); });
}

void Nemesis::transfer() {
  Node* first = leader();
  if (first == nullptr || first->raft() == nullptr) return;
  const auto task = [](raft::RaftLog* log) -> Task<void> {
    (void)co_await log->transfer_leadership(0);
  };
  field_.world.note("transfer", first->host());
  first->run("transfer", task(first->raft()));
}

void Nemesis::act(Fault fault) {
  World& world = field_.world;
  switch (fault) {
    case Fault::crash:
      return crash(target());
    case Fault::crash_all:
      if (!dice_.chance(0.3)) return;
      for (const auto& node : nodes_) crash(*node);
      return;
    case Fault::restart: {
      Node& node = target();
      node.stop();
      return later(a_while(), [&node] { node.start(raft::Start::join); });
    }
    case Fault::pause: {
      Node& node = target();
      node.pause();
      return later(a_while(), [&node] { node.resume(); });
    }
    case Fault::partition:
      return partition(false);
    case Fault::one_way:
      return partition(true);
    case Fault::slow_link: {
      const int a = any().host();
      const int b = any().host();
      field_.net.slow(a, b, dice_.chance(0.5) ? 20 : 200);
      return later(a_while(), [this] { field_.net.heal(); });
    }
    case Fault::disk_error:
    case Fault::disk_full:
    case Fault::disk_slow:
      return disk_trouble(fault);
    case Fault::clock_rate: {
      world.count(Count::clock_faults);
      Node& node = any();
      node.clock.set_rate(0.7 + static_cast<double>(dice_.below(70)) / 100);
      return later(a_while(), [&node] { node.clock.set_rate(1); });
    }
    case Fault::clock_jump:
      world.count(Count::clock_faults);
      return any().clock.jump_wall(dice_.between(-7200s, 7200s));
    case Fault::compact:
      return any().compact(static_cast<store::Revision>(dice_.below(200)));
    case Fault::transfer:
      return transfer();
    case Fault::member:
      return change_members();
    default:
      return;  // the network's manners, set once
  }
}

void Nemesis::change_members() {
  if (changing_) return;
  changing_ = true;
  const auto task = [](Nemesis* self, Node* node) -> Task<void> {
    co_await self->remove_and_return(*node);
    self->changing_ = false;
  };
  field_.world.tasks.spawn("members", task(this, &any()));
}

// A server is taken out and comes back as another, with an empty disk.
Task<void> Nemesis::remove_and_return(Node& node) {
  World& world = field_.world;
  const raft::Id id = node.address().id;
  node.leaving = true;
  world.note("remove", node.host(), static_cast<std::int64_t>(id));
  world.count(Count::memberships);
  // Gone only when a leader that still leads says so: a voter's disk must not be exchanged early.
  const auto removed = std::make_shared<bool>(false);
  const auto task = [](raft::RaftLog* log, raft::Id who, std::shared_ptr<bool> done) -> Task<void> {
    const auto outcome = co_await log->remove(who);
    if (!outcome && outcome.error().code != Code::not_found) co_return;
    const auto leads = co_await log->barrier();
    if (leads) *done = true;
  };
  while (!*removed && !over_) {
    Node* first = leader();
    if (first == &node) {
      transfer();
    } else if (first != nullptr && first->raft() != nullptr) {
      first->run("remove", task(first->raft(), id, removed));
    }
    co_await world.sleep(700ms);
  }
  if (!*removed || over_) {
    node.leaving = false;
    co_return;
  }
  node.kill();
  if (!over_) co_await world.sleep(a_while());
  node.kill();  // whoever started it again did not know
  node.leaving = false;
  node.wipe(id + 100 + ++identities_);
  node.start(raft::Start::join);
}

void Nemesis::heal() {
  over_ = true;
  field_.world.note("heal");
  field_.net.heal();
  field_.net.manners = Net::Manners();
  for (const auto& node : nodes_) {
    node->disk.manners = Disk::Manners();
    node->clock.set_rate(1);
    node->resume();
    node->start(raft::Start::join);
  }
}

}  // namespace skiff::sim
