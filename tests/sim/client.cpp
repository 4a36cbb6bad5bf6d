#include "client.hpp"

#include <fmt/format.h>

namespace skiff::sim {

using store::ItemPtr;
using store::Op;
using store::Range;
using store::Revision;

namespace {

constexpr std::size_t kHot = 4;
constexpr std::size_t kCold = 150;
constexpr std::size_t kLazy = 3;

struct Call {
  explicit Call(Executor executor) : changed(std::move(executor)) {}
  std::optional<Answer> answer;
  bool over = false;
  Signal changed;
};

Answer not_sent() {
  Answer answer;
  answer.error = Error{Code::unavailable, "no route"};
  answer.refused = true;
  return answer;
}

}  // namespace

Client::Client(Field& field, int host)
    : field_(field), host_(host), dice_(field.world.dice("client" + std::to_string(host))) {
  pace_ = dice_.between(5ms, 120ms);
  patience_ = dice_.between(1s, 6s);
  favourite_ = static_cast<int>(dice_.below(8));
}

Task<std::optional<Answer>> Client::call(Node& node, std::function<void(Node&, Reply)> request) {
  const auto state = std::make_shared<Call>(field_.world.executor());
  Net& net = field_.net;
  const int from = node.host();
  Reply reply = [&net, state, from, to = host_](Answer answer) {
    const auto shared = std::make_shared<Answer>(std::move(answer));
    net.message(from, to, [state, shared] {
      if (state->over) return;
      state->over = true;
      state->answer = std::move(*shared);
      state->changed.notify_all();
    });
  };
  const bool sent = net.message(
      host_, from, [&node, request = std::move(request), reply] { request(node, reply); });
  if (!sent) {
    co_await field_.world.sleep(20ms);
    co_return not_sent();
  }
  field_.world.after(patience_, [state] {
    state->over = true;
    state->changed.notify_all();
  });
  while (!state->over) co_await state->changed.wait();
  co_return std::move(state->answer);
}

std::string Client::key() {
  const std::size_t n = dice_.below(100);
  if (n < 55) return "hot/" + std::to_string(dice_.below(kHot));
  if (n < 93) return fmt::format("cold/{:03}", dice_.below(kCold));
  return std::string(kLazyPrefix) + std::to_string(dice_.below(kLazy));
}

void Client::vary(Op& op) {
  op.value = fmt::format("{}.{}", host_, ++made_);
  if (dice_.chance(0.1)) op.value += std::string(dice_.below(3000), '.');
  if (dice_.chance(0.3)) op.revision_slot = static_cast<std::uint32_t>(dice_.below(3));
  if (dice_.chance(0.6)) op.attributes.emplace_back("owner", "n" + std::to_string(dice_.below(3)));
}

Op Client::make_op() {
  Op op;
  op.key = key();
  op.is_volatile = op.key.starts_with(kLazyPrefix);
  const auto seen = seen_.find(op.key);
  const std::size_t n = dice_.below(100);
  if (n < 20) {
    op.type = Op::Type::erase;
    if (n < 10 && seen != seen_.end() && seen->second != 0) op.expect = seen->second;
    if (n % 2 == 0) vary(op);
    return op;
  }
  vary(op);
  if (n < 35) {
    op.expect = 0;
  } else if (n < 70 && seen != seen_.end()) {
    op.expect = seen->second;
  }
  return op;
}

void Client::learn(const ItemPtr& item, bool erased) {
  Revision& seen = seen_[item->key];
  seen = erased ? 0 : std::max(seen, item->modified);
}

Client::Fate Client::judge(const Op& op, const Result<ItemPtr>& verdict, Checker::Begun begun) {
  if (verdict) {
    field_.checker.acknowledged(host_, op, *verdict, begun);
    learn(*verdict, op.type == Op::Type::erase);
    return Fate::done;
  }
  switch (verdict.error().code) {
    case Code::conflict:
    case Code::not_found:
    case Code::already_exists:
      field_.checker.refused(host_, op, verdict.error().code, begun.floor);
      return Fate::refused;
    case Code::too_many_requests:
      return Fate::unsent;
    case Code::unavailable:
    case Code::timeout:
      return Fate::unknown;
    default:
      field_.world.violation("verdict", op.key + ": " + verdict.error().message);
      return Fate::unknown;
  }
}

Task<Client::Fate> Client::attempt(std::vector<Op> ops) {
  Node& node = *field_.servers[(static_cast<std::size_t>(favourite_)) % field_.servers.size()];
  const Revision floor = field_.checker.floor();
  const Duration called = field_.world.now();
  std::function<void(Node&, Reply)> request = [ops](Node& n, Reply reply) {
    n.commit(ops, std::move(reply));
  };
  const auto answer = co_await call(node, std::move(request));
  Fate fate = Fate::unknown;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (answer && !answer->error) {
      fate = judge(ops[i], answer->verdicts[i], {floor, called});
    } else if (answer && answer->refused) {
      fate = Fate::unsent;
    } else {
      fate = Fate::unknown;
    }
    if (fate == Fate::unknown) field_.world.count(Count::unknown);
    field_.world.note("wrote", host_, node.host(), static_cast<std::int64_t>(fate), ops[i].key);
  }
  if (fate == Fate::unknown || fate == Fate::unsent) {
    favourite_ = static_cast<int>(dice_.below(64));
    co_await field_.world.sleep(dice_.between(1ms, 100ms));
  }
  co_return fate;
}

Task<void> Client::write() {
  std::vector<Op> ops;
  const std::size_t n = dice_.chance(0.1) ? 1 + dice_.below(6) : 1;
  while (ops.size() < n) ops.push_back(make_op());
  for (int tries = 0; tries < 3 && !field_.over; ++tries) {
    const Fate fate = co_await attempt(ops);
    if (fate == Fate::done) co_return;
    if (fate == Fate::refused) {
      for (const Op& op : ops) seen_.erase(op.key);
      co_return;
    }
  }
}

Task<void> Client::read() {
  const std::size_t which = dice_.below(field_.servers.size());
  const bool linearizable = dice_.chance(0.7);
  Node& node = *field_.servers[linearizable ? which : dice_.below(field_.servers.size())];
  Range range = Range::key(key());
  if (dice_.chance(0.1)) range = Range::prefix(dice_.chance(0.5) ? "hot/" : "cold/");
  const bool single = range.end.back() == '\0';
  const Revision floor = field_.checker.floor();
  const Duration called = field_.world.now();
  std::function<void(Node&, Reply)> request = [range, linearizable](Node& n, Reply reply) {
    n.read(range, linearizable, 0, std::move(reply));
  };
  const auto answer = co_await call(node, std::move(request));
  if (!answer || answer->error) co_return;
  const store::Page& page = answer->page;
  field_.world.note("read", host_, page.revision, static_cast<std::int64_t>(page.items.size()),
                    range.begin);
  for (const ItemPtr& item : page.items) learn(item, false);
  if (single && page.items.empty()) seen_[range.begin] = 0;
  field_.checker.read({host_, node.host(), range, page.revision, page.items, linearizable},
                      {floor, called});
}

Task<void> Client::run() {
  while (!field_.over) {
    if (dice_.chance(0.6)) {
      co_await write();
    } else {
      co_await read();
    }
    co_await field_.world.sleep(dice_.between(Duration{}, 2 * pace_));
  }
}

}  // namespace skiff::sim
