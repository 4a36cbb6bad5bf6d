// Snapshots: the inner log's state, in parts, to a server whose entries were forgotten. The sender
// has at most a few parts on their way; the receiver puts the state in place once it has all.
#include "raft_log.hpp"
#include "skiff/base/log.hpp"

namespace skiff::raft {

using store::Record;

namespace {

constexpr std::size_t kWindow = 4;  // parts that were not acknowledged yet
constexpr std::size_t kRecordsARead = 1024;
constexpr Duration kRepeat = std::chrono::seconds(1);
constexpr int kPatience = 15;                         // repeats without an answer
constexpr int kFewer = 3;                             // of those once the server has everything
constexpr Duration kGone = std::chrono::seconds(10);  // who has said nothing for so long

}  // namespace

bool RaftLogImpl::heard_lately(Id id) const {
  const auto peer = peers_.find(id);
  return peer != peers_.end() && peer->second.contact &&
         env_.clock->now() - *peer->second.contact < kGone;
}

// The core asks once: from then on it waits for a snapshot to be in place.
void RaftLogImpl::start_snapshot(Id to) {
  if (closing_) return;
  auto& out = outbound_[to];
  const bool begins = !out || out->stop;  // one of an earlier leadership may not have ended yet
  if (begins) out = std::make_shared<Outbound>(env_.executor);
  out->wanted = skiff_engine_snapshot_index(engine_.get());
  if (begins) tasks_.spawn("raft snapshot", send_snapshot(to, out));
}

Task<void> RaftLogImpl::send_snapshot(Id to, std::shared_ptr<Outbound> out) {
  const auto in_place = [&] { return skiff_engine_matched(engine_.get(), to) >= out->wanted; };
  while (!out->stop && leading() && !in_place()) {
    const auto outcome = co_await send_state(to, out);
    if (outcome) continue;
    log::warn("raft", "a snapshot did not get through; it will be tried again",
              {{"server", to}, {"error", outcome.error()}});
    do {
      co_await env_.clock->sleep_for(kRepeat);
    } while (!out->stop && leading() && !heard_lately(to));
  }
  const auto it = outbound_.find(to);
  if (it != outbound_.end() && it->second == out) outbound_.erase(it);
  status_signal_.notify_all();
}

// The newest state that the inner log can be brought to: newer than the core thinks is fine.
Task<Result<void>> RaftLogImpl::send_state(Id to, std::shared_ptr<Outbound> out) {
  SnapshotPart part;
  out->begin(env_.random->next());
  part.transfer = out->transfer;
  part.term = skiff_engine_term(engine_.get());
  part.mark.index = applied_;
  part.mark.term = applied_ == mark_.index ? mark_.term : term_of(applied_);
  part.mark.servers = encode_servers(committed_servers());
  part.mark.servers_index = skiff_engine_servers_index(engine_.get());
  part.at.revision = applied_revision_;
  part.at.compacted = applied_revision_;
  part.at.resumable = applied_revision_;
  const store::Revision revision = applied_revision_;
  out->index = applied_;
  ++peers_[to].snapshots;
  if (part.mark.term == 0) co_return Error{Code::unavailable, "nothing is applied yet"};
  log::info("raft", "sending a snapshot", {{"server", to}, {"index", part.mark.index}});
  SKIFF_CO_CHECK(co_await flush_inner());
  std::vector<Record> records;
  std::size_t bytes = 0;
  const auto state = inner_->read_state(store::Range(), revision);
  for (bool more = true; more;) {
    auto some = co_await state->next(kRecordsARead);
    if (!some) co_return some.error();
    more = some->size() >= kRecordsARead;
    for (Record& record : *some) {
      if (record.erase) continue;
      bytes += record.item->value.size() + record.item->key.size() + 128;
      records.push_back(std::move(record));
      if (bytes < options_.snapshot_chunk_bytes) continue;
      const std::string encoded = encode_records(records, options_.sealer.get());
      part.records = encoded;
      SKIFF_CO_CHECK(co_await send_part(to, out, part));
      records.clear();
      bytes = 0;
      ++part.seq;
    }
  }
  const std::string encoded = encode_records(records, options_.sealer.get());
  part.records = encoded;
  part.last = true;
  SKIFF_CO_CHECK(co_await send_part(to, out, part));
  std::string last = out->unacked.back();
  SKIFF_CO_CHECK(co_await wait_acked(to, out, 0));
  co_return co_await wait_installed(to, out, std::move(last), part.mark.index);
}

// That takes a large one a while. Asked with the last part, the server says that it is still at it.
Task<Result<void>> RaftLogImpl::wait_installed(Id to, std::shared_ptr<Outbound> out,
                                               std::string last, Index index) {
  auto wait = [](RaftLogImpl* log, Id server, Index until, Outbound* o) -> Task<Result<void>> {
    while (!o->stop && skiff_engine_matched(log->engine_.get(), server) < until) {
      co_await log->change_signal_.wait();
    }
    co_return Result<void>();
  };
  for (int silent = 0; silent < kFewer && leading(); ++silent) {
    const std::uint64_t heard = out->heard;
    auto waiting = wait(this, to, index, out.get());
    const auto done = co_await with_timeout(*env_.clock, kRepeat, "a snapshot", std::move(waiting));
    if (done) co_return Result<void>();
    if (out->heard != heard) silent = -1;
    send_frame(FrameType::snapshot, to, last);
  }
  co_return Error{Code::unavailable, "the server has not put it in place"};
}

Task<Result<void>> RaftLogImpl::send_part(Id to, std::shared_ptr<Outbound> out, SnapshotPart part) {
  std::string payload = encode_part(part);
  snapshot_bytes_ = part.seq == 0 ? payload.size() : snapshot_bytes_ + payload.size();
  send_frame(FrameType::snapshot, to, payload);
  out->unacked.push_back(std::move(payload));
  ++out->next;
  return wait_acked(to, std::move(out), kWindow);
}

// Until at most so many parts are on their way. What is lost is sent again.
Task<Result<void>> RaftLogImpl::wait_acked(Id to, std::shared_ptr<Outbound> out,
                                           std::size_t at_most) {
  auto wait = [](std::shared_ptr<Outbound> o, std::uint64_t seen) -> Task<Result<void>> {
    while (o->acked == seen && !o->stop) co_await o->changed.wait();
    co_return Result<void>();
  };
  int silent = 0;
  while (out->unacked.size() > at_most) {
    if (out->stop || !leading()) {
      co_return Error{Code::unavailable, "this server leads no longer"};
    }
    auto waiting = wait(out, out->acked);
    const auto heard = co_await with_timeout(*env_.clock, kRepeat, "an answer", std::move(waiting));
    if (heard) {
      silent = 0;
      continue;
    }
    if (++silent > kPatience) co_return Error{Code::unavailable, "the server does not answer"};
    for (const std::string& payload : out->unacked) send_frame(FrameType::snapshot, to, payload);
  }
  co_return Result<void>();
}

void RaftLogImpl::receive_ack(const FrameHeader& header, std::string_view payload) {
  WireReader in(payload);
  const std::uint64_t transfer = in.fixed(8);
  const std::uint64_t received = in.number();
  const auto it = outbound_.find(header.from);
  if (!in.done() || it == outbound_.end() || it->second->transfer != transfer) return;
  Outbound& out = *it->second;
  if (received > out.next) return;
  ++out.heard;
  bool any = false;
  for (; out.acked < received; ++out.acked) {
    out.unacked.pop_front();
    any = true;
  }
  if (any) out.changed.notify_all();
}

void RaftLogImpl::receive_part(const FrameHeader& header, std::string_view payload) {
  auto part = decode_part(payload);
  if (!part) {
    complain(header.address, "garbage from a server", part.error());
    return;
  }
  if (leading() || part->term < skiff_engine_term(engine_.get())) return;
  if (installing_) {
    if (part->transfer == install_transfer_) acknowledge(header.from, *part, part->seq + 1);
    return;
  }
  if (part->seq == 0 && (!inbound_ || inbound_->transfer != part->transfer)) {
    if (inbound_ && inbound_->term > part->term) return;
    inbound_ = std::make_shared<Inbound>();
    inbound_->transfer = part->transfer;
    inbound_->from = header.from;
    inbound_->term = part->term;
    inbound_->mark = part->mark;
    inbound_->at = part->at;
    log::info("raft", "receiving a snapshot",
              {{"from", header.address}, {"index", part->mark.index}});
  }
  if (!inbound_ || inbound_->transfer != part->transfer || inbound_->from != header.from) return;
  bool complete = false;
  if (part->seq == inbound_->next) {
    auto records = decode_records(part->records, options_.sealer.get());
    if (!records) {
      complain(header.address, "a snapshot cannot be read", records.error());
      inbound_.reset();
      return;
    }
    for (Record& record : *records) inbound_->records.push_back(std::move(record));
    ++inbound_->next;
    complete = part->last;
  }
  acknowledge(header.from, *part, inbound_->next);
  if (complete) offer_snapshot(header);
}

void RaftLogImpl::acknowledge(Id to, const SnapshotPart& part, std::uint64_t received) {
  std::string ack;
  put_fixed64(ack, part.transfer);
  put_number(ack, received);
  send_frame(FrameType::snapshot_ack, to, ack);
}

// The core decides whether it is wanted.
void RaftLogImpl::offer_snapshot(const FrameHeader& header) {
  const std::shared_ptr<Inbound> in = std::move(inbound_);
  inbound_.reset();
  skiff_message m{};
  m.type = SKIFF_SNAPSHOT;
  m.peer = header.from;
  m.address = header.address.c_str();
  m.term = in->term;
  m.index = in->mark.index;
  m.log_term = in->mark.term;
  m.servers_index = in->mark.servers_index;
  m.servers = in->mark.servers.data();
  m.servers_size = in->mark.servers.size();
  skiff_update update;
  const int rv = skiff_engine_receive(engine_.get(), now_ms(), &m, &update);
  if (rv > 0) {
    complain(header.address, "a snapshot cannot be followed",
             {Code::internal, skiff_engine_error(rv)});
  }
  const bool wanted = update.snapshot;
  absorb(update, {}, 0);
  if (!wanted) return;
  install_transfer_ = in->transfer;
  tasks_.spawn("raft install", install(in));
}

// The inner log first: should the machine stop in between, it is ahead of the entries, and what
// they say again is skipped.
Task<void> RaftLogImpl::install(std::shared_ptr<Inbound> in) {
  {
    const auto lock = co_await InnerLock::take(*this);
    for (;;) {
      std::vector<Record> copy = in->records;
      auto outcome = co_await inner_->replace(in->at, std::move(copy));
      if (outcome) outcome = co_await inner_->sync();
      if (outcome) break;
      inner_trouble_ = "a snapshot cannot be put in place: " + outcome.error().message;
      complain("snapshot", "a snapshot cannot be put in place", outcome.error());
      co_await env_.clock->sleep_for(kRepeat);
    }
    inner_trouble_.clear();
    for_inner_.clear();
    for_inner_bytes_ = 0;
  }
  Entries::Batch& batch = next_write();
  batch.snapshot = in->mark;
  batch.restart = true;
  batch.committed = in->mark.index;
  mark_ = in->mark;
  log_first_ = in->mark.index + 1;
  const std::uint64_t seq = next_seq_;
  while (written_seq_ < seq) co_await written_signal_.wait();
  applied_ = in->mark.index;
  applied_revision_ = in->at.revision;
  installing_ = false;
  if (user_ != nullptr) user_->replace(in->at, std::move(in->records));
  skiff_update update;
  const int rv = skiff_engine_snapshot_persisted(engine_.get(), now_ms(), &update);
  if (rv == 0) absorb(update, {}, 0);
  log::info("raft", "a snapshot was put in place", {{"index", in->mark.index}});
  apply_signal_.notify_all();
  settle();
}

}  // namespace skiff::raft
