// Writes for the leader, and linearizable reads.
#include "raft_log.hpp"
#include "skiff/base/log.hpp"

namespace skiff::raft {

using store::Decider;
using store::Op;
using store::Revision;

namespace {

constexpr std::size_t kForwardBytes = 4U << 20U;
constexpr std::size_t kRemembered = 8192;

Error unknown(std::string_view why) {
  return {Code::unavailable, std::string(why) + "; it is not known whether this was done"};
}

}  // namespace

// --- Asking.

// Fails with a sentence that says when nothing was sent.
Task<Result<Verdicts>> RaftLogImpl::ask(FrameType type, std::string payload) {
  const Id leader = skiff_engine_leader(engine_.get());
  const auto to = find(leader);
  if (decider() != Decider::elsewhere || !to) co_return not_here();
  if (requests_.size() >= options_.max_requests) {
    co_return Error{Code::too_many_requests, "too much waits for the leader; nothing was sent"};
  }
  const std::uint64_t number = next_request_++;
  std::string body;
  put_fixed64(body, number);
  body += payload;
  Request request;
  request.leader = leader;
  request.waiter = std::make_shared<Waiter>(env_.executor);
  const WaiterPtr waiter = request.waiter;
  requests_.emplace(number, std::move(request));
  struct Erase {
    RaftLogImpl& log;
    std::uint64_t number;
    ~Erase() { log.requests_.erase(number); }
  } erase{*this, number};
  send_frame_to(type, *to, body);
  auto wait = [](WaiterPtr w) -> Task<Result<void>> {
    while (!w->done) co_await w->changed.wait();
    co_return w->outcome;
  };
  const auto outcome =
      co_await with_timeout(*env_.clock, options_.request_timeout, "the leader", wait(waiter));
  if (!outcome) {
    if (outcome.error().code == Code::timeout) co_return unknown("the leader does not answer");
    co_return outcome.error();
  }
  co_return std::move(requests_.find(number)->second.verdicts);
}

Task<Result<Verdicts>> RaftLogImpl::forward_some(std::vector<Op> ops) {
  std::string payload;
  put_ops(payload, ops);
  auto answer = co_await ask(FrameType::forward, std::move(payload));
  if (answer && answer->size() != ops.size()) co_return unknown("the leader's answer is damaged");
  co_return answer;
}

Task<Verdicts> RaftLogImpl::forward(std::vector<Op> ops) {
  Verdicts out;
  if (decider() == Decider::here && user_ != nullptr)
    co_return co_await user_->decide(std::move(ops));
  for (std::size_t at = 0; at < ops.size();) {
    std::vector<Op> some;
    std::size_t bytes = 0;
    while (at < ops.size() && (some.empty() || bytes < kForwardBytes)) {
      bytes += ops[at].value.size() + ops[at].key.size() + 128;
      some.push_back(std::move(ops[at++]));
    }
    const std::size_t count = some.size();
    auto answer = co_await forward_some(std::move(some));
    if (!answer) {
      out.insert(out.end(), count, answer.error());
      continue;
    }
    for (auto& verdict : *answer) out.push_back(std::move(verdict));
  }
  co_return out;
}

void RaftLogImpl::fail_requests(const Error& why) {
  for (auto& [number, request] : requests_) request.waiter->finish(why);
}

void RaftLogImpl::receive_answer(std::string_view payload) {
  WireReader in(payload);
  const auto it = requests_.find(in.fixed(8));
  if (it == requests_.end() || it->second.waiter->done) return;
  Verdicts verdicts;
  if (!get_verdicts(in, verdicts) || !in.done()) {
    it->second.waiter->finish(unknown("the leader's answer is damaged"));
    return;
  }
  it->second.verdicts = std::move(verdicts);
  it->second.waiter->finish({});
}

// --- Being asked. What arrives twice is done once.

bool RaftLogImpl::first_time(Id from, std::uint64_t request) {
  const std::pair<Id, std::uint64_t> key(from, request);
  if (!seen_.insert(key).second) return false;
  seen_order_.push_back(key);
  if (seen_order_.size() > kRemembered) {
    seen_.erase(seen_order_.front());
    seen_order_.pop_front();
  }
  return true;
}

void RaftLogImpl::answer(FrameType type, Id to, std::uint64_t request, const Verdicts& verdicts) {
  std::string body;
  put_fixed64(body, request);
  put_verdicts(body, verdicts);
  send_frame(type, to, body);
}

Task<bool> RaftLogImpl::ready() {
  while (warming()) co_await change_signal_.wait();
  co_return decider() == Decider::here;
}

void RaftLogImpl::receive_request(FrameHeader header, std::string_view payload) {
  WireReader in(payload);
  const std::uint64_t number = in.fixed(8);
  if (!in.ok() || !first_time(header.from, number)) return;
  const bool busy = answering_ >= options_.max_requests;
  const bool elsewhere = decider() != Decider::here && !warming();
  const Error why =
      busy ? Error{Code::too_many_requests, "the leader is busy; nothing was done"} : not_here();
  if (header.type == FrameType::forward) {
    auto ops = get_ops(in);
    if (!ops) {
      complain(header.address, "garbage from a server", ops.error());
    } else if (busy || elsewhere) {
      answer(FrameType::verdicts, header.from, number, Verdicts(ops->size(), why));
    } else {
      tasks_.spawn("raft forwarded", answer_forward(header, number, std::move(*ops)));
    }
    return;
  }
  if (header.type == FrameType::read) {
    if (busy || elsewhere) {
      answer(FrameType::revision, header.from, number, Verdicts(1, why));
    } else {
      tasks_.spawn("raft read", answer_read(header, number));
    }
    return;
  }
  Server server;
  const std::uint64_t verb = in.number();
  server.id = in.number();
  server.address = in.bytes();
  if (!in.done() || verb < 1 || verb > 3) return;
  if (busy || elsewhere) {
    answer(FrameType::changed, header.from, number, Verdicts(1, why));
  } else {
    tasks_.spawn("raft change", answer_change(header, number, static_cast<Verb>(verb), server));
  }
}

Task<void> RaftLogImpl::answer_forward(FrameHeader header, std::uint64_t request,
                                       std::vector<Op> ops) {
  ++answering_;
  Verdicts verdicts;
  const std::size_t count = ops.size();
  if (user_ != nullptr && co_await ready()) {
    verdicts = co_await user_->decide(std::move(ops));
  } else {
    verdicts.assign(count, not_here());
  }
  --answering_;
  answer(FrameType::verdicts, header.from, request, verdicts);
}

Task<void> RaftLogImpl::answer_read(FrameHeader header, std::uint64_t request) {
  ++answering_;
  Verdicts verdicts;
  (void)co_await ready();
  verdicts.push_back(co_await confirm_leadership());
  --answering_;
  answer(FrameType::revision, header.from, request, verdicts);
}

// --- Read index (dissertation, 6.4). The leader notes what is committed and asks the voters
// whether they know of a later term. A majority that does not means that no other leader had been
// elected by then; so nothing acknowledged or shown before the question is missing from what was
// noted. The answer waits until that is applied.

Task<Result<Revision>> RaftLogImpl::barrier() {
  if (decider() == Decider::here) co_return co_await confirm_leadership();
  const auto answer = co_await ask(FrameType::read, {});
  if (decider() == Decider::nobody) {
    co_return Error{Code::unavailable,
                    "a majority of the servers cannot be reached: what is read may be stale"};
  }
  if (!answer) co_return Error{Code::unavailable, answer.error().message};
  if (answer->size() != 1) co_return Error{Code::unavailable, "the leader's answer is damaged"};
  co_return answer->front();
}

Task<Result<Revision>> RaftLogImpl::confirm_leadership() {
  if (decider() != Decider::here) co_return not_here();
  // What is committed others may show already; here an append of several entries is shown as one.
  const Index committed = skiff_engine_commit(engine_.get());
  WaiterPtr waiter;
  if (voters() > 1) {
    if (confirmations_.size() >= options_.max_requests) {
      co_return Error{Code::too_many_requests, "too many reads wait for a majority"};
    }
    Confirmation c;
    c.round = round_ + 1;  // a round that is open was asked before this
    c.waiter = std::make_shared<Waiter>(env_.executor);
    waiter = c.waiter;
    confirmations_.push_back(std::move(c));
    if (!round_open_) next_round();
  } else if (applied_ >= committed) {
    co_return applied_revision_;
  }
  auto wait = [](RaftLogImpl* log, WaiterPtr w, Index until) -> Task<Result<void>> {
    while (w && !w->done) co_await w->changed.wait();
    if (w && !w->outcome) co_return w->outcome;
    while (log->applied_ < until) co_await log->change_signal_.wait();
    co_return Result<void>();
  };
  auto waiting = wait(this, waiter, committed);
  const auto outcome = co_await with_timeout(*env_.clock, options_.request_timeout, "a majority",
                                             std::move(waiting));
  if (outcome) co_return applied_revision_;
  co_return Error{Code::unavailable, "a majority of the servers does not answer"};
}

void RaftLogImpl::next_round() {
  if (confirmations_.empty() || !leading()) return;
  ++round_;
  round_open_ = true;
  round_sent_ = env_.clock->now();
  round_yes_.clear();
  std::string body;
  put_number(body, skiff_engine_term(engine_.get()));
  put_number(body, round_);
  for (const Server& server : servers()) {
    if (server.id == options_.id) {
      if (server.role == Role::voter) round_yes_.insert(server.id);
    } else if (server.role == Role::voter) {
      send_frame_to(FrameType::confirm, server, body);
    }
  }
}

void RaftLogImpl::receive_confirm(const FrameHeader& header, std::string_view payload) {
  WireReader in(payload);
  const Term term = in.number();
  const std::uint64_t round = in.number();
  if (!in.done() || term != skiff_engine_term(engine_.get())) return;
  std::string body;
  put_number(body, term);
  put_number(body, round);
  send_frame(FrameType::confirmed, header.from, body);
}

void RaftLogImpl::receive_confirmed(const FrameHeader& header, std::string_view payload) {
  WireReader in(payload);
  const Term term = in.number();
  const std::uint64_t round = in.number();
  if (!in.done() || !leading() || term != skiff_engine_term(engine_.get()) || !round_open_ ||
      round != round_) {
    return;
  }
  const auto server = find(header.from);
  const Servers all = servers();
  const bool votes = std::any_of(all.begin(), all.end(), [&](const Server& s) {
    return s.id == header.from && s.role == Role::voter;
  });
  if (!server || !votes) return;
  round_yes_.insert(header.from);
  if (round_yes_.size() <= voters() / 2) return;
  round_open_ = false;
  for (auto it = confirmations_.begin(); it != confirmations_.end();) {
    if (it->round <= round) {
      it->waiter->finish({});
      it = confirmations_.erase(it);
    } else {
      ++it;
    }
  }
  std::erase_if(confirmations_, [](const Confirmation& c) { return c.waiter.use_count() == 1; });
  next_round();
}

}  // namespace skiff::raft
