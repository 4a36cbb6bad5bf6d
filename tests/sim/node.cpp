#include "node.hpp"

#include <fmt/format.h>

#include "node_process.hpp"

namespace skiff::sim {

using store::Range;
using store::Revision;
using store::Store;

namespace {

constexpr Duration kLingering = std::chrono::seconds(60);  // a stop that takes longer is stuck

}  // namespace

Node::Node(World& world, Net& net, Checker& checker, const Tuning& tuning, int host)
    : clock(world),
      disk(world, clock, host),
      world_(world),
      net_(net),
      checker_(checker),
      tuning_(tuning),
      host_(host),
      dice_(world.dice("node" + std::to_string(host))),
      id_(raft::Id(host) * 1000 + 1) {
  if (!tuning.shared) {
    log_file_.survived = [this](const store::Record& r) { checker_.decided(host_, r); };
  }
}

Node::~Node() = default;

raft::RaftLog* Node::raft() const { return process_ ? process_->raft : nullptr; }
Store* Node::store() const {
  return process_ && process_->serving ? process_->store.get() : nullptr;
}
bool Node::serving() const { return process_ && process_->serving && !clock.paused(); }

raft::Server Node::address() const {
  return {id_, "https://s" + std::to_string(host_) + ":6443", raft::Role::voter};
}

std::string Node::describe() const {
  if (!process_) return "down";
  std::string out = process_->serving ? "serving" : "opening";
  if (process_->store) out += fmt::format(", revision {}", process_->store->revision());
  const raft::RaftLog* log = process_->raft_opening;
  if (log == nullptr) return out;
  const auto s = log->status();
  out += fmt::format(", {} id {} term {} leader {} last {} committed {} applied {} snapshot {} {}",
                     s.state, s.id, s.term, s.leader, s.last, s.committed, s.applied, s.snapshot,
                     s.trouble);
  for (const auto& p : s.servers) {
    out += fmt::format(" [{} {} {} matched {} {}]", p.server.id, p.server.address,
                       raft::name_of(p.server.role), p.matched,
                       p.receiving_snapshot ? "gets a snapshot" : p.trouble);
  }
  return out;
}

void Node::run(std::string name, Task<void> task) {
  process_->tasks.spawn(std::move(name), std::move(task));
}

void Node::wipe(raft::Id id) {
  SKIFF_ASSERT(!process_, "a running server's disk is not exchanged");
  id_ = id;
  const auto survived = log_file_.survived;
  log_file_ = LogFile();
  log_file_.survived = survived;
  entries_file_ = EntriesFile();
}

void Node::start(raft::Start start) {
  if (process_) return;
  world_.note("start", host_);
  process_ = std::make_shared<Process>(*this, dice_.seed());
  process_->opening.spawn("open", open(process_, start));
}

std::unique_ptr<store::Log> Node::make_log(const ProcessPtr& p, raft::Start start) {
  DiskLogOptions options;
  options.durable = !tuning_.shared;
  if (!tuning_.shared) {
    return plant_in(tuning_.plant, make_disk_log(disk, log_file_, p->life, options), world_, false);
  }
  options.appended = [this](const std::vector<store::Record>& records) {
    for (const store::Record& r : records) checker_.decided(host_, r);
  };
  raft::RaftOptions o;
  o.id = id_;
  o.address = address().address;
  o.start = start;
  o.inner = make_disk_log(disk, log_file_, p->life, options);
  o.network = &p->port;
  p->entries = plant_in(tuning_.plant, make_disk_entries(disk, entries_file_, p->life), world_);
  o.entries = p->entries.get();
  o.keep_bytes = tuning_.keep_bytes;
  o.keep_behind_bytes = tuning_.keep_behind_bytes;
  o.apply_bytes = tuning_.apply_bytes;
  o.apply_interval = tuning_.apply_interval;
  o.max_entry_bytes = tuning_.max_entry_bytes;
  o.snapshot_chunk_bytes = tuning_.chunk_bytes;
  o.request_timeout = tuning_.request_timeout;
  auto log = raft::make_raft_log(p->env, std::move(o));
  if (!log) {
    world_.violation("options", log.error().message);
    return store::make_memory_log();
  }
  p->raft_opening = log->get();
  return plant_in(tuning_.plant, std::move(*log), world_, true);
}

// A server that cannot open its files says so and is started again by whoever supervises it.
Task<void> Node::open(ProcessPtr p, raft::Start start) {
  while (p->life->alive) {
    auto opened = co_await Store::open(p->env, make_log(p, start), tuning_.store);
    if (opened) {
      p->store = std::move(*opened);
      break;
    }
    p->raft_opening = nullptr;
    world_.note("cannot-open", host_, 0, 0, opened.error().message);
    co_await clock.sleep_for(500ms);
  }
  if (!p->life->alive) co_return;
  p->raft = p->raft_opening;
  p->shown = p->loaded = p->store->revision();
  world_.note("open", host_, p->store->revision(), p->store->compacted());
  // What was there before anybody watched.
  const auto all = p->store->range(Range{});
  if (all) {
    checker_.read({0, host_, Range{}, all->revision, all->items, false}, {});
  }
  p->taps.spawn("tap", tap(p));
  p->serving = true;
}

// Shows the checker everything that this server shows.
Task<void> Node::tap(ProcessPtr p) {
  for (;;) {
    store::WatchOptions options;
    options.max_pending = 1'000'000;
    auto watch = p->store->watch(options);
    if (!watch) co_return;
    for (;;) {
      auto events = co_await (*watch)->next();
      if (!events) {
        world_.note("tap-over", host_, 0, 0, events.error().message);
        break;
      }
      for (const store::Event& event : *events) {
        if (event.revision() <= p->shown) {
          world_.violation("order", fmt::format("server {} shows revision {} after {}", host_,
                                                event.revision(), p->shown));
        }
        p->shown = event.revision();
        world_.note("show", host_, event.revision(), event.type == store::Event::Type::erase,
                    event.item->key);
        checker_.published(host_, event);
      }
    }
    const auto all = p->store->range(Range{});
    if (all) {
      p->shown = p->loaded = all->revision;
      checker_.read({0, host_, Range{}, all->revision, all->items, false}, {});
    }
  }
}

void Node::kill() {
  if (!process_) return;
  world_.note("kill", host_);
  world_.count(Count::kills);
  resume();
  const ProcessPtr p = std::exchange(process_, nullptr);
  p->life->alive = false;
  p->serving = false;
  log_file_.crash(world_, dice_, host_);
  entries_file_.crash(world_, dice_, host_);
  if (std::exchange(p->ending, true)) return;  // it was about to end in order
  ++unburied_;
  world_.tasks.spawn("bury", bury(p, false));
}

void Node::stop() {
  if (!process_ || !process_->serving || clock.paused()) return;
  world_.note("stop", host_);
  process_->serving = false;
  process_->ending = true;
  ++unburied_;
  world_.tasks.spawn("stop", bury(process_, true));
}

// Ends a process: in order, or what is left of it after it was killed. Its memory must come to an
// end either way, and soon.
Task<void> Node::bury(ProcessPtr p, bool in_order) {
  const auto ended = std::make_shared<bool>(false);
  world_.after(kLingering, [this, ended] {
    if (!*ended) {
      world_.violation("stuck", fmt::format("server {} does not stop", host_));
    }
  });
  p->opening.cancel();
  co_await p->opening.join();
  p->tasks.cancel();
  co_await p->tasks.join();
  if (p->store) {
    const auto closed = co_await p->store->close();
    world_.note("closed", host_, closed ? 1 : 0);
    co_await p->taps.join();
  }
  p->raft = nullptr;
  p->raft_opening = nullptr;
  p->store.reset();
  *ended = true;
  if (in_order && p->life->alive) {
    p->life->alive = false;
    log_file_.crash(world_, dice_, host_);  // the machine goes on: only open writes are in doubt
    entries_file_.crash(world_, dice_, host_);
    if (process_ == p) process_.reset();
  }
  p->entries.reset();
  --unburied_;
}

void Node::pause() {
  if (!process_ || clock.paused()) return;
  world_.note("pause", host_);
  world_.count(Count::pauses);
  clock.pause();
  net_.hold(host_);
}

void Node::resume() {
  if (!clock.paused()) return;
  world_.note("resume", host_);
  clock.resume();
  net_.release(host_);
}

void Node::receive(std::string frame) {
  if (process_) process_->port.arrived(std::move(frame));
}

}  // namespace skiff::sim
