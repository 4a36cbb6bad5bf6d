// The core's steps: what they want on disk, what they want sent, what arrives, and time.
#include "raft_log.hpp"
#include "skiff/base/log.hpp"

namespace skiff::raft {

using store::Decider;

namespace {

// Entries of one message together; a larger one goes alone.
constexpr std::size_t kMessageBytes = 512U << 10U;
constexpr Duration kComplainEvery = std::chrono::seconds(10);
constexpr Duration kRetryDisk = std::chrono::seconds(1);
constexpr std::size_t kMaxOutbox = 4096;
constexpr int kLost = 2;

}  // namespace

std::uint64_t RaftLogImpl::now_ms() const {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(env_.clock->now() - base_).count());
}

// --- What a step asks for.

void RaftLogImpl::absorb(skiff_update& update, std::span<const Entry> given, Index given_first) {
  if (update.hard_state) {
    hard_.term = skiff_engine_term(engine_.get());
    hard_.vote = skiff_engine_vote(engine_.get());
    next_write().state = hard_;
    gate_ = next_seq_;
  }
  if (update.n_entries > 0) absorb_entries(update, given, given_first);
  if (update.snapshot) {
    // The core has forgotten its entries already.
    installing_ = true;
    truncate_log(log_first_);
    next_.entries.clear();
    next_.first = 0;
  }
  for (std::uint32_t i = 0; i < update.n_messages; ++i) send_core(update.messages[i]);
  if (update.state) state_changed();
  if (update.commit) apply_signal_.notify_all();
  change_signal_.notify_all();
}

Entries::Batch& RaftLogImpl::next_write() {
  ++next_seq_;
  next_used_ = true;
  write_signal_.notify_all();
  return next_;
}

void RaftLogImpl::truncate_log(Index from) {
  while (!log_.empty() && last_index() >= from) {
    log_bytes_ -= cost(log_.back());
    log_.pop_back();
  }
  fail_groups(from, {Code::unavailable,
                     "another server leads now; it is not known whether this "
                     "write will be made"});
}

void RaftLogImpl::absorb_entries(const skiff_update& update, std::span<const Entry> given,
                                 Index given_first) {
  truncate_log(update.first);
  Entries::Batch& batch = next_write();
  if (batch.first == 0 || update.first < batch.first) {
    batch.first = update.first;
    batch.entries.clear();
  } else {
    batch.entries.resize(update.first - batch.first);
  }
  for (std::uint32_t i = 0; i < update.n_entries; ++i) {
    const skiff_entry& from = update.entries[i];
    Stored stored;
    if (from.data == nullptr) {  // the core's own
      stored.entry.term = from.term;
      stored.entry.kind = Entry::Kind::barrier;
      stored.entry.data = std::make_shared<const std::string>();
    } else {
      stored.entry = given[update.first + i - given_first];
    }
    batch.entries.push_back(stored.entry);
    log_bytes_ += cost(stored);
    log_.push_back(std::move(stored));
  }
}

void RaftLogImpl::send_core(const skiff_message& message) {
  if (message.type == SKIFF_SNAPSHOT) {
    start_snapshot(message.peer);
    return;
  }
  const auto to = find(message.peer);
  if (!to) return;
  if (message.type == SKIFF_APPEND && message.n_entries > 0) {
    send_append(message, *to);
    return;
  }
  send_frame_to(FrameType::core, *to, encode_core(message, {}));
}

// In several messages when it is much, and so that a list of servers always comes first in one.
void RaftLogImpl::send_append(const skiff_message& message, const Server& to) {
  skiff_message part = message;
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  const auto send = [&] {
    send_frame_to(FrameType::core, to, encode_core(part, entries));
    part.index += entries.size();
    part.log_term = entries.back().term;
    entries.clear();
    bytes = 0;
  };
  for (Index i = message.index + 1; i <= message.index + message.n_entries; ++i) {
    if (i < log_first_ || i > last_index()) break;
    const Entry& entry = log_[i - log_first_].entry;
    const bool full = bytes + entry.data->size() > kMessageBytes;
    if (!entries.empty() && (full || entry.kind == Entry::Kind::servers)) send();
    bytes += entry.data->size();
    entries.push_back(entry);
  }
  if (!entries.empty()) send();
}

void RaftLogImpl::send_frame(FrameType type, Id to, std::string_view payload) {
  if (const auto server = find(to)) send_frame_to(type, *server, payload);
}

void RaftLogImpl::send_frame_to(FrameType type, const Server& to, std::string_view payload) {
  FrameHeader header;
  header.type = type;
  header.cluster = hard_.cluster;
  header.from = options_.id;
  header.to = to.id;
  header.address = options_.address;
  if (outbox_.size() >= kMaxOutbox) return;  // the disk is stuck; raft copes with loss
  Outgoing out{gate_, to, make_frame(header, payload)};
  outbox_.push_back(std::move(out));
  flush_outbox();
}

void RaftLogImpl::flush_outbox() {
  while (!outbox_.empty() && outbox_.front().gate <= written_seq_) {
    options_.network->send(outbox_.front().to, std::move(outbox_.front().frame));
    outbox_.pop_front();
  }
}

void RaftLogImpl::fail_groups(Index from, const Error& why) {
  for (auto it = groups_.lower_bound(from); it != groups_.end();) {
    group_bytes_ -= it->second.bytes;
    if (!it->second.waiter->abandoned) ++failing_;
    it->second.waiter->finish(why);
    it = groups_.erase(it);
  }
}

void RaftLogImpl::state_changed() {
  const bool leads = leading();
  if (leads && !was_leading_) {
    term_first_ = last_index();
    removed_ = false;  // whoever said so has been overruled: its entry was never committed
    submitted_revision_ = 0;
    peers_.clear();
    log::info("raft", "this server leads now",
              {{"term", skiff_engine_term(engine_.get())}, {"index", term_first_}});
  } else if (!leads && was_leading_) {
    log::warn("raft", "this server leads no longer", {{"term", skiff_engine_term(engine_.get())}});
    const Error lost{
        Code::unavailable,
        "this server no longer leads; it is not known whether this write will be made"};
    fail_groups(0, lost);
    for (Confirmation& c : confirmations_) c.waiter->finish(lost);
    confirmations_.clear();
    round_open_ = false;
    for (auto& [id, out] : outbound_) {
      out->stop = true;
      out->changed.notify_all();
    }
  }
  was_leading_ = leads;
  apply_signal_.notify_all();
}

// The end of everything that happens: timers, and whoever wants to know what changed.
void RaftLogImpl::settle() {
  if (!engine_ || closed_) return;
  arm();
  const Id leader = skiff_engine_leader(engine_.get());
  const Term term = skiff_engine_term(engine_.get());
  bool changed = leader != last_leader_ || term != last_term_;
  if (changed) {
    // Whoever was asked may have done it or not, and its answer may not come any more.
    fail_requests({Code::unavailable, "the leader changed; it is not known whether this was done"});
    last_leader_ = leader;
    last_term_ = term;
  }
  const Decider now = decider();
  if (now != last_decider_) {
    changed = true;
    last_decider_ = now;
    if (user_ != nullptr && started_) user_->decider_changed();
  }
  if (changed) status_signal_.notify_all();
}

// --- Time.

void RaftLogImpl::arm() {
  if (closed_ || !started_) return;
  // Alone there is nobody to speak to or to hear from.
  if (leading() && servers().size() == 1) return;
  const std::uint64_t due = std::max(skiff_engine_next_timeout(engine_.get()), now_ms() + 5);
  const TimePoint when = base_ + std::chrono::milliseconds(due);
  if (armed_ && *armed_ <= when) return;
  armed_ = when;
  tasks_.spawn("raft timer", sleep_then_tick(when));
}

Task<void> RaftLogImpl::sleep_then_tick(TimePoint when) {
  co_await env_.clock->sleep_until(when);
  if (armed_ && *armed_ == when) armed_.reset();
  tick();
}

void RaftLogImpl::tick() {
  if (closed_ || !started_) return;
  if (skiff_engine_next_timeout(engine_.get()) <= now_ms()) {
    skiff_update update;
    const int rv = skiff_engine_timeout(engine_.get(), now_ms(), &update);
    if (rv != 0) {
      complain("timeout", "raft cannot go on", {Code::internal, skiff_engine_error(rv)});
    }
    absorb(update, {}, 0);
  }
  if (round_open_ && env_.clock->now() - round_sent_ >= options_.heartbeat) {
    round_open_ = false;  // something got lost: ask again
    next_round();
  }
  if (kept_for_behind_ > 0) forget_when_due();
  settle();
}

// --- The disk: one write at a time, of everything that waits.

Task<void> RaftLogImpl::write_loop() {
  for (;;) {
    while (!next_used_) co_await write_signal_.wait();
    Entries::Batch batch = std::move(next_);
    next_ = Entries::Batch{};
    next_used_ = false;
    const std::uint64_t seq = next_seq_;
    batch.committed = std::max(batch.committed,
                               std::min<Index>(skiff_engine_commit(engine_.get()), last_index()));
    for (;;) {
      Entries::Batch copy = batch;
      const auto outcome = co_await options_.entries->write(std::move(copy));
      if (outcome) break;
      if (disk_trouble_.empty()) {
        log::error("raft", "the disk takes no writes", {{"error", outcome.error()}});
      }
      disk_trouble_ = outcome.error().message;
      fail_groups(0, {Code::unavailable, disk_trouble_});
      // They stay in the log and may yet be made: nothing is decided before that is known.
      if (leading()) term_first_ = last_index();
      if (leading() && voters() > 1) {
        skiff_update update;
        if (skiff_engine_transfer(engine_.get(), now_ms(), 0, &update) == 0) absorb(update, {}, 0);
      }
      settle();
      status_signal_.notify_all();
      co_await env_.clock->sleep_for(kRetryDisk);
    }
    if (!disk_trouble_.empty()) {
      log::info("raft", "the disk takes writes again");
      disk_trouble_.clear();
      status_signal_.notify_all();
    }
    written(batch, seq);
  }
}

void RaftLogImpl::written(const Entries::Batch& batch, std::uint64_t seq) {
  written_seq_ = seq;
  flush_outbox();
  written_signal_.notify_all();
  if (!batch.entries.empty()) {
    // Some may have been replaced meanwhile; what is still there is a prefix.
    Index last = batch.first + batch.entries.size() - 1;
    while (last >= batch.first && term_of(last) != batch.entries[last - batch.first].term) --last;
    if (last >= batch.first) {
      skiff_update update;
      const int rv = skiff_engine_persisted(engine_.get(), now_ms(), last, &update);
      if (rv == 0) absorb(update, {}, 0);
    }
  }
  settle();
}

Term RaftLogImpl::term_of(Index index) const {
  if (index < log_first_ || index > last_index()) return 0;
  return log_[index - log_first_].entry.term;
}

// --- What arrives.

void RaftLogImpl::complain(const std::string& about, std::string_view message, const Error& error) {
  const TimePoint now = env_.clock->now();
  const auto [it, fresh] = complaints_.try_emplace(about, now);
  if (!fresh && now - it->second < kComplainEvery) return;
  it->second = now;
  if (complaints_.size() > 256) complaints_.clear();
  log::warn("raft", message, {{"about", about}, {"error", error}});
}

bool RaftLogImpl::accept(const FrameHeader& header) {
  const std::string who = "server " + std::to_string(header.from) + " at " + header.address;
  if (header.from == options_.id) {
    complain(who, "another server has this server's identity",
             {Code::conflict, "empty its data directory and let it join again"});
    return false;
  }
  if (header.to != options_.id) {
    complain(who, "a message for another server came here",
             {Code::bad_request, "is one address used by two servers?"});
    return false;
  }
  if (header.cluster != hard_.cluster) {
    if (hard_.cluster == 0 && header.cluster != 0 && options_.start == Start::join &&
        (header.type == FrameType::core || header.type == FrameType::snapshot)) {
      hard_.cluster = header.cluster;
      hard_.self = options_.id;
      next_write().state = hard_;
      gate_ = next_seq_;
      log::info("raft", "this server joins a cluster", {{"invited by", header.address}});
    } else {
      complain(who, "a server of another cluster speaks to this one",
               {Code::forbidden,
                "its cluster was reset or is not this one; empty the data "
                "directory of the wrong one and let it join again"});
      return false;
    }
  }
  if (addresses_.size() < 64 && is_address(header.address)) {
    addresses_[header.from] = header.address;
  }
  return true;
}

void RaftLogImpl::receive(std::string bytes) {
  if (closed_ || !started_) return;
  const auto frame = parse_frame(bytes);
  if (!frame) {
    complain("frame", "garbage from the network", frame.error());
    return;
  }
  const FrameHeader& header = frame->header;
  if (!accept(header)) return;
  peers_[header.from].contact = env_.clock->now();
  switch (header.type) {
    case FrameType::core:
      receive_core(header, frame->payload);
      break;
    case FrameType::forward:
    case FrameType::read:
    case FrameType::change:
      receive_request(header, frame->payload);
      break;
    case FrameType::verdicts:
    case FrameType::revision:
    case FrameType::changed:
      receive_answer(frame->payload);
      break;
    case FrameType::confirm:
      receive_confirm(header, frame->payload);
      break;
    case FrameType::confirmed:
      receive_confirmed(header, frame->payload);
      break;
    case FrameType::snapshot:
      receive_part(header, frame->payload);
      break;
    case FrameType::snapshot_ack:
      receive_ack(header, frame->payload);
      break;
    case FrameType::stranger:
      receive_stranger(header, frame->payload);
      break;
  }
  settle();
}

void RaftLogImpl::receive_core(const FrameHeader& header, std::string_view payload) {
  auto message = decode_core(payload);
  if (!message) {
    complain(header.address, "garbage from a server", message.error());
    return;
  }
  const Servers members = servers();
  const bool member = std::any_of(members.begin(), members.end(),
                                  [&](const Server& s) { return s.id == header.from; });
  Peer& peer = peers_[header.from];
  if (leading() && !member) {
    const TimePoint now = env_.clock->now();
    if (!peer.told_stranger || now - *peer.told_stranger > std::chrono::seconds(1)) {
      peer.told_stranger = now;
      std::string told;
      put_number(told, skiff_engine_term(engine_.get()));
      send_frame(FrameType::stranger, header.from, told);
    }
    return;
  }
  skiff_message& m = message->fields;
  m.peer = header.from;
  m.address = header.address.c_str();
  std::vector<skiff_entry> entries;
  for (const Entry& e : message->entries) {
    skiff_entry entry{};
    entry.term = e.term;
    entry.kind = static_cast<std::uint8_t>(e.kind);
    entry.data = e.data->data();
    entry.size = e.data->size();
    entries.push_back(entry);
  }
  m.n_entries = static_cast<std::uint32_t>(entries.size());
  m.entries = entries.data();
  skiff_update update;
  const int rv = skiff_engine_receive(engine_.get(), now_ms(), &m, &update);
  // A single such result may just be old.
  if (rv == SKIFF_LOST && ++peer.lost >= kLost) {
    peer.trouble =
        "it lost entries that it had acknowledged: remove it, empty its data directory "
        "and let it join again";
    complain(header.address, "a server is not to be trusted", {Code::internal, peer.trouble});
  } else if (rv > 0) {
    complain(header.address, "a message from a server cannot be followed",
             {Code::internal, skiff_engine_error(rv)});
  }
  if (rv == 0 && m.type == SKIFF_APPEND_RESULT && m.rejected == 0) {
    peer.lost = 0;
    peer.trouble.clear();
  }
  absorb(update, message->entries, m.index + 1);
  if (m.type == SKIFF_APPEND && skiff_engine_leader(engine_.get()) == header.from) {
    leader_contact_ = env_.clock->now();
    removed_ = false;
  }
}

void RaftLogImpl::receive_stranger(const FrameHeader& header, std::string_view payload) {
  WireReader in(payload);
  const Term term = in.number();
  if (!in.done() || removed_ || leading() || term < skiff_engine_term(engine_.get())) return;
  removed_ = true;
  log::warn("raft", "this server was removed from the cluster", {{"says", header.address}});
  status_signal_.notify_all();
}

// --- Who is who.

Servers RaftLogImpl::servers() const {
  Servers out;
  for (unsigned i = 0; i < skiff_engine_n_servers(engine_.get()); ++i) {
    const char* address = nullptr;
    int role = 0;
    Server s;
    skiff_engine_server(engine_.get(), i, &s.id, &address, &role);
    s.address = address;
    s.role = role == 0 ? Role::standby : role == 1 ? Role::voter : Role::spare;
    out.push_back(std::move(s));
  }
  return out;
}

Servers RaftLogImpl::committed_servers() const {
  Servers out;
  for (unsigned i = 0; i < skiff_engine_n_committed(engine_.get()); ++i) {
    const char* address = nullptr;
    int role = 0;
    Server s;
    skiff_engine_committed_server(engine_.get(), i, &s.id, &address, &role);
    s.address = address;
    s.role = role == 0 ? Role::standby : role == 1 ? Role::voter : Role::spare;
    out.push_back(std::move(s));
  }
  return out;
}

std::size_t RaftLogImpl::voters() const {
  const Servers all = servers();
  return static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [](const Server& s) { return s.role == Role::voter; }));
}

std::optional<Server> RaftLogImpl::find(Id id) const {
  for (unsigned i = 0; i < skiff_engine_n_servers(engine_.get()); ++i) {
    const char* address = nullptr;
    int role = 0;
    Server s;
    skiff_engine_server(engine_.get(), i, &s.id, &address, &role);
    if (s.id != id) continue;
    s.address = address;
    return s;
  }
  const auto known = addresses_.find(id);
  if (known == addresses_.end()) return std::nullopt;
  Server s;
  s.id = id;
  s.address = known->second;
  return s;
}

}  // namespace skiff::raft
