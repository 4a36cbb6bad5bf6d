// Who is a server of the cluster, who leads, and how they are.
#include "raft_log.hpp"
#include "skiff/base/log.hpp"

namespace skiff::raft {

using store::Decider;

namespace {

constexpr Duration kHandOver = std::chrono::seconds(2);

Server* find_in(Servers& servers, Id id) {
  const auto it =
      std::find_if(servers.begin(), servers.end(), [&](const Server& s) { return s.id == id; });
  return it == servers.end() ? nullptr : &*it;
}

std::string named(Id id) { return "server " + std::to_string(id); }

}  // namespace

void RaftLogImpl::members_changed() {
  const Servers now = servers();
  options_.network->set_peers(now);
  for (const Server& s : now) addresses_.erase(s.id);
  for (auto& [id, out] : outbound_) {
    Servers copy = now;
    if (find_in(copy, id) == nullptr) out->stop = true;
  }
  change_signal_.notify_all();
  status_signal_.notify_all();
}

// --- Changes. One at a time, and each is committed before the next begins.

Task<Result<void>> RaftLogImpl::add(Server server) { return change(Verb::add, std::move(server)); }

Task<Result<void>> RaftLogImpl::promote(Id id) {
  Server server;
  server.id = id;
  return change(Verb::promote, std::move(server));
}

Task<Result<void>> RaftLogImpl::remove(Id id) {
  Server server;
  server.id = id;
  return change(Verb::remove, std::move(server));
}

Task<Result<void>> RaftLogImpl::change(Verb verb, Server server) {
  if (decider() == Decider::here && verb == Verb::remove && server.id == options_.id &&
      voters() > 1) {
    // Somebody else is to see to it.
    SKIFF_CO_CHECK(co_await hand_over(0));
  }
  if (decider() == Decider::here) co_return co_await change_here(verb, std::move(server));
  std::string payload;
  put_number(payload, static_cast<std::uint64_t>(verb));
  put_number(payload, server.id);
  put_bytes(payload, server.address);
  const auto answer = co_await ask(FrameType::change, std::move(payload));
  if (!answer) co_return answer.error();
  if (answer->size() != 1) co_return Error{Code::unavailable, "the leader's answer is damaged"};
  if (!answer->front()) co_return answer->front().error();
  co_return Result<void>();
}

Task<void> RaftLogImpl::answer_change(FrameHeader header, std::uint64_t request, Verb verb,
                                      Server server) {
  ++answering_;
  Result<void> outcome = not_here();
  if (co_await ready()) {
    if (verb == Verb::remove && server.id == options_.id) {
      outcome = co_await change(verb, server);
    } else {
      outcome = co_await change_here(verb, server);
    }
  }
  --answering_;
  Verdicts verdicts;
  if (outcome) {
    verdicts.emplace_back(store::Revision{0});
  } else {
    verdicts.emplace_back(outcome.error());
  }
  answer(FrameType::changed, header.from, request, verdicts);
}

Task<Result<void>> RaftLogImpl::change_here(Verb verb, Server server) {
  if (changing_) co_return Error{Code::conflict, "another change of servers is under way"};
  struct Flag {
    bool& flag;
    explicit Flag(bool& f) : flag(f) { flag = true; }
    ~Flag() { flag = false; }
  } flag(changing_);
  if (skiff_engine_change_pending(engine_.get())) {
    co_return Error{Code::conflict, "another change of servers is under way"};
  }
  switch (verb) {
    case Verb::add:
      co_return co_await add_here(std::move(server));
    case Verb::promote:
      co_return co_await promote_here(server.id);
    default:
      co_return co_await remove_here(server.id);
  }
}

Task<Result<void>> RaftLogImpl::add_here(Server server) {
  if (server.id == 0 || !is_address(server.address)) {
    co_return Error{Code::invalid, "'" + server.address + "' is no address of a server"};
  }
  Servers all = servers();
  for (const Server& s : all) {
    if (s.id == server.id && s.address == server.address) co_return Result<void>();
    if (s.id == server.id || s.address == server.address) {
      co_return Error{Code::already_exists, named(s.id) + " at " + s.address +
                                                " is one of the servers already: remove it first"};
    }
  }
  if (all.size() >= 16) co_return Error{Code::invalid, "a cluster has at most 16 servers"};
  server.role = Role::standby;
  log::info("raft", "a server joins", {{"server", server.id}, {"address", server.address}});
  all.push_back(std::move(server));
  co_return co_await submit_servers(std::move(all));
}

Task<Result<void>> RaftLogImpl::promote_here(Id id) {
  Servers all = servers();
  const Server* found = find_in(all, id);
  if (found == nullptr) co_return Error{Code::not_found, named(id) + " is none of the servers"};
  if (found->role == Role::voter) co_return Result<void>();
  SKIFF_CO_CHECK(co_await catch_up(id));
  all = servers();
  Server* server = find_in(all, id);
  if (server == nullptr) co_return Error{Code::not_found, named(id) + " is none of the servers"};
  server->role = Role::voter;
  co_return co_await submit_servers(std::move(all));
}

// Until the server has what the leader has, or nearly (dissertation, 4.2.1).
Task<Result<void>> RaftLogImpl::catch_up(Id id) {
  skiff_engine* e = engine_.get();
  if (skiff_engine_matched(e, id) == skiff_engine_last(e)) co_return Result<void>();
  skiff_update update;
  const int rv = skiff_engine_catch_up(e, now_ms(), id, &update);
  if (rv != 0) co_return Error{Code::conflict, "another change of servers is under way"};
  absorb(update, {}, 0);
  settle();
  auto wait = [](RaftLogImpl* log, Id server) -> Task<Result<void>> {
    for (;;) {
      const int state = skiff_engine_catch_up_state(log->engine_.get(), server);
      if (state == 3) co_return Result<void>();
      if (state != 1) {
        co_return Error{Code::unavailable, named(server) + " does not keep up with the leader"};
      }
      co_await log->change_signal_.wait();
    }
  };
  auto waiting = wait(this, id);
  co_return co_await with_timeout(*env_.clock, 6 * options_.request_timeout,
                                  named(id) + " catches up", std::move(waiting));
}

Task<Result<void>> RaftLogImpl::remove_here(Id id) {
  Servers all = servers();
  const Server* server = find_in(all, id);
  if (server == nullptr) co_return Result<void>();
  if (server->role == Role::voter && voters() == 1) {
    co_return Error{Code::invalid,
                    "the last voter cannot be removed: promote another server first"};
  }
  if (id == options_.id) co_return Error{Code::conflict, "the leader does not remove itself"};
  log::info("raft", "a server is removed", {{"server", id}, {"address", server->address}});
  // It will not hear of it from raft.
  const Server gone = *server;
  std::erase_if(all, [&](const Server& s) { return s.id == id; });
  const auto outcome = co_await submit_servers(std::move(all));
  if (outcome) {
    std::string told;
    put_number(told, skiff_engine_term(engine_.get()));
    send_frame_to(FrameType::stranger, gone, told);
  }
  co_return outcome;
}

Task<Result<void>> RaftLogImpl::submit_servers(Servers all) {
  Entry entry;
  entry.term = skiff_engine_term(engine_.get());
  entry.kind = Entry::Kind::servers;
  entry.data = std::make_shared<const std::string>(encode_servers(all));
  skiff_entry raw{};
  raw.term = entry.term;
  raw.kind = static_cast<std::uint8_t>(entry.kind);
  raw.data = entry.data->data();
  raw.size = entry.data->size();
  skiff_update update;
  const int rv = skiff_engine_submit(engine_.get(), now_ms(), &raw, &update);
  if (rv == SKIFF_CONFLICT) {
    co_return Error{Code::conflict, "another change of servers is under way"};
  }
  if (rv != 0) co_return not_here();
  const Index index = update.first;
  absorb(update, {&entry, 1}, index);
  // Peers must be reachable before the change is committed.
  members_changed();
  settle();
  auto wait = [](RaftLogImpl* log, Index until, Term term) -> Task<Result<void>> {
    while (log->applied_ < until) {
      if (!log->leading() || skiff_engine_term(log->engine_.get()) != term) {
        co_return Error{Code::unavailable,
                        "the leader changed; it is not known whether the servers were changed"};
      }
      co_await log->change_signal_.wait();
    }
    co_return Result<void>();
  };
  auto waiting = wait(this, index, entry.term);
  const auto outcome = co_await with_timeout(*env_.clock, options_.request_timeout,
                                             "the change of servers", std::move(waiting));
  if (!outcome && outcome.error().code == Code::timeout) {
    co_return Error{Code::unavailable,
                    "a majority does not answer; it is not known whether the servers were changed"};
  }
  co_return outcome;
}

// --- Leadership.

Task<Result<void>> RaftLogImpl::transfer_leadership(Id to) {
  if (!started_ || !leading()) {
    co_return Error{Code::conflict, "this server does not lead; ask the one that does"};
  }
  co_return co_await hand_over(to);
}

Task<Result<void>> RaftLogImpl::hand_over(Id to) {
  skiff_update update;
  const Term term = skiff_engine_term(engine_.get());
  const int rv = skiff_engine_transfer(engine_.get(), now_ms(), to, &update);
  if (rv == SKIFF_NOT_LEADER)
    co_return Error{Code::conflict, "the leadership is being handed over"};
  if (rv != 0) co_return Error{Code::invalid, "there is no such voter to hand the leadership to"};
  absorb(update, {}, 0);
  settle();
  auto wait = [](RaftLogImpl* log, Term before) -> Task<Result<void>> {
    for (;;) {
      skiff_engine* e = log->engine_.get();
      const Id leader = skiff_engine_leader(e);
      if (!log->leading() && leader != 0 && skiff_engine_term(e) > before) {
        co_return Result<void>();
      }
      if (log->leading() && skiff_engine_transferee(e) == 0) {
        co_return Error{Code::unavailable, "the other server did not take the leadership over"};
      }
      if (log->closed_) co_return Error{Code::unavailable, "the server is stopping"};
      co_await log->change_signal_.wait();
    }
  };
  // Who was to take over may have ended since, and a majority with it: then nobody ever leads.
  auto waiting = wait(this, term);
  co_return co_await with_timeout(*env_.clock, kHandOver, "handing over the leadership",
                                  std::move(waiting));
}

Task<Result<void>> RaftLogImpl::reset_to_lone_survivor() {
  if (!started_ || closing_) co_return not_here();
  if (leading() || decider() == Decider::elsewhere) {
    co_return Error{Code::conflict, "there is a leader: remove the other servers instead"};
  }
  // Nothing may happen in between: what is on its way to the disk first, then the core anew.
  started_ = false;
  options_.network->receive({});
  fail_requests({Code::unavailable, "this server becomes a cluster of its own"});
  while (written_seq_ < next_seq_ || installing_) co_await written_signal_.wait();
  Entries::Loaded loaded;
  loaded.state = hard_;
  loaded.snapshot.index = skiff_engine_snapshot_index(engine_.get());
  loaded.first = log_first_;
  for (const Stored& stored : log_) loaded.entries.push_back(stored.entry);
  Entries::Batch batch;
  Result<void> outcome = make_reset(loaded, batch);
  if (outcome) {
    loaded.snapshot = mark_;
    Entries::Batch& next = next_write();
    next.state = batch.state;
    next.first = batch.first;
    next.entries = batch.entries;
    const std::uint64_t seq = next_seq_;
    while (written_seq_ < seq) co_await written_signal_.wait();
    hard_ = *batch.state;
    Stored stored{batch.entries.front(), nullptr};
    log_bytes_ += cost(stored);
    log_.push_back(std::move(stored));
    was_leading_ = false;
    removed_ = false;
    outcome = start_engine(loaded);
  }
  started_ = true;
  options_.network->receive([this](std::string frame) { receive(std::move(frame)); });
  members_changed();
  settle();
  co_return outcome;
}

// --- Status.

PeerStatus RaftLogImpl::peer_status(const Server& server) const {
  PeerStatus out;
  out.server = server;
  out.self = server.id == options_.id;
  out.leader = server.id == skiff_engine_leader(engine_.get());
  if (out.self) {
    out.matched = skiff_engine_stored(engine_.get());
    out.healthy = broken_.empty() && disk_trouble_.empty() && !removed_;
    out.trouble = !broken_.empty() ? broken_ : disk_trouble_;
    return out;
  }
  const auto peer = peers_.find(server.id);
  if (peer != peers_.end() && peer->second.contact) {
    out.last_contact = env_.clock->now() - *peer->second.contact;
  }
  if (leading()) {
    out.matched = skiff_engine_matched(engine_.get(), server.id);
    const Index last = skiff_engine_last(engine_.get());
    out.lag = last > out.matched ? last - out.matched : 0;
    out.receiving_snapshot = outbound_.count(server.id) != 0;
  }
  const Duration patience = 2 * options_.election_timeout;
  if (peer != peers_.end() && !peer->second.trouble.empty()) {
    out.trouble = peer->second.trouble;
  } else if ((leading() || out.leader) && (!out.last_contact || *out.last_contact > patience)) {
    out.trouble = out.last_contact ? "it does not answer" : "it has not answered yet";
  } else if (out.receiving_snapshot) {
    out.trouble = "it receives a snapshot";
  }
  out.healthy = out.trouble.empty();
  return out;
}

RaftStatus RaftLogImpl::status() const {
  RaftStatus out;
  out.id = options_.id;
  out.cluster = hard_.cluster;
  if (!engine_ || closed_) {
    out.state = "stopped";
    return out;
  }
  const int state = skiff_engine_state(engine_.get());
  out.state = state == SKIFF_LEADER      ? "leader"
              : state == SKIFF_CANDIDATE ? "candidate"
                                         : "follower";
  if (removed_) {
    out.state = "removed";
  } else if (skiff_engine_n_servers(engine_.get()) == 0) {
    out.state = "joining";
  }
  out.term = skiff_engine_term(engine_.get());
  out.leader = skiff_engine_leader(engine_.get());
  out.last = skiff_engine_last(engine_.get());
  out.committed = skiff_engine_commit(engine_.get());
  out.applied = applied_;
  out.snapshot = skiff_engine_snapshot_index(engine_.get());
  out.revision = applied_revision_;
  out.entry_bytes = log_bytes_;
  out.quorum = decider() != Decider::nobody;
  out.trouble = !broken_.empty()         ? broken_
                : !disk_trouble_.empty() ? disk_trouble_
                                         : inner_trouble_;
  if (out.trouble.empty() && removed_) out.trouble = "this server was removed from the cluster";
  if (out.trouble.empty() && !out.quorum && out.state != "joining") {
    out.trouble = "a majority of the servers cannot be reached: reads may be stale, writes fail";
  }
  for (const Server& server : servers()) out.servers.push_back(peer_status(server));
  return out;
}

}  // namespace skiff::raft
