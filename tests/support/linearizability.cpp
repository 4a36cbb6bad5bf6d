#include "support/linearizability.hpp"

#include <algorithm>
#include <unordered_set>

namespace skiff::test {
namespace {

using Verdict = LinearizabilityResult::Verdict;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// Which operations have been placed, and what the register holds then.
struct State {
  std::vector<std::uint64_t> placed;
  std::int64_t value = 0;
  bool operator==(const State&) const = default;
};

struct StateHash {
  std::size_t operator()(const State& s) const noexcept {
    std::uint64_t h = static_cast<std::uint64_t>(s.value) * 0x9e3779b97f4a7c15U;
    for (const std::uint64_t word : s.placed) {
      h = (h ^ word) * 0xff51afd7ed558ccdU;
      h ^= h >> 32U;
    }
    return h;
  }
};

class Search {
 public:
  Search(std::vector<Operation> operations, std::int64_t initial, std::size_t bound)
      : operations_(std::move(operations)), bound_(bound) {
    state_.value = initial;
    state_.placed.assign((operations_.size() + 63) / 64, 0);
    for (const Operation& o : operations_) left_ += o.end != kNever ? 1U : 0U;
  }

  LinearizabilityResult run();

 private:
  // An operation that was placed, and what must be put back when it is taken off again.
  struct Step {
    std::size_t operation;
    std::int64_t value_before;
  };

  bool placed(std::size_t i) const { return ((state_.placed[i / 64] >> (i % 64)) & 1U) != 0; }
  void flip(std::size_t i) { state_.placed[i / 64] ^= std::uint64_t{1} << (i % 64); }
  bool fits(const Operation& o) const;
  std::int64_t deadline();
  bool advance(std::size_t from);
  bool step_back(std::size_t& from);
  std::string explain() const;

  std::vector<Operation> operations_;  // by their beginning
  std::size_t bound_;
  State state_;
  std::size_t left_ = 0;   // with an end, not placed
  std::size_t first_ = 0;  // all before it are placed
  std::vector<Step> steps_;
  std::vector<Step> longest_;
  std::unordered_set<State, StateHash> seen_;
};

bool Search::fits(const Operation& o) const {
  switch (o.kind) {
    case Operation::Kind::read:
      return state_.value == o.value;
    case Operation::Kind::write:
      return true;
    case Operation::Kind::cas:
      return state_.value == o.expect;
    case Operation::Kind::fail:
      return state_.value != o.expect;
  }
  return false;
}

// The first end among those not placed: whatever begins after it cannot come before it.
std::int64_t Search::deadline() {
  while (first_ < operations_.size() && placed(first_)) ++first_;
  std::int64_t end = kNever;
  for (std::size_t i = first_; i < operations_.size() && operations_[i].begin <= end; ++i) {
    if (!placed(i)) end = std::min(end, operations_[i].end);
  }
  return end;
}

// Places the next operation possible at or after `from`.
bool Search::advance(std::size_t from) {
  const std::int64_t end = deadline();
  for (std::size_t i = std::max(from, first_); i < operations_.size(); ++i) {
    const Operation& o = operations_[i];
    if (o.begin > end) return false;
    if (placed(i) || !fits(o)) continue;
    const std::int64_t before = state_.value;
    if (o.kind == Operation::Kind::write || o.kind == Operation::Kind::cas) state_.value = o.value;
    flip(i);
    if (!seen_.insert(state_).second) {
      flip(i);
      state_.value = before;
      continue;
    }
    steps_.push_back({i, before});
    left_ -= o.end != kNever ? 1U : 0U;
    if (steps_.size() > longest_.size()) longest_ = steps_;
    return true;
  }
  return false;
}

bool Search::step_back(std::size_t& from) {
  if (steps_.empty()) return false;
  const Step step = steps_.back();
  steps_.pop_back();
  flip(step.operation);
  state_.value = step.value_before;
  left_ += operations_[step.operation].end != kNever ? 1U : 0U;
  first_ = std::min(first_, step.operation);
  from = step.operation + 1;
  return true;
}

std::string Search::explain() const {
  std::string out = "could be ordered (the last 10):\n";
  std::vector<bool> done(operations_.size());
  for (const Step& s : longest_) done[s.operation] = true;
  for (std::size_t i = longest_.size() > 10 ? longest_.size() - 10 : 0; i < longest_.size(); ++i) {
    out += "  " + describe(operations_[longest_[i].operation]) + "\n";
  }
  out += "none of these could be next:\n";
  std::int64_t end = kNever;
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    if (done[i] || operations_[i].begin > end) continue;
    end = std::min(end, operations_[i].end);
    out += "  " + describe(operations_[i]) + "\n";
  }
  return out;
}

LinearizabilityResult Search::run() {
  std::size_t from = 0;
  while (left_ > 0) {
    if (seen_.size() >= bound_) return {Verdict::gave_up, "too many orders to try", seen_.size()};
    if (advance(from)) {
      from = 0;
    } else if (!step_back(from)) {
      return {Verdict::no, explain(), seen_.size()};
    }
  }
  return {Verdict::yes, "", seen_.size()};
}

}  // namespace

LinearizabilityResult check_linearizable(std::vector<Operation> history, std::int64_t initial,
                                         std::size_t bound) {
  std::vector<Operation> operations;
  for (Operation& o : history) {
    if (o.outcome == Operation::Outcome::unknown) {
      const bool reads = o.kind == Operation::Kind::read || o.kind == Operation::Kind::fail;
      if (reads) continue;
      o.end = kNever;
    }
    operations.push_back(std::move(o));
  }
  std::stable_sort(operations.begin(), operations.end(),
                   [](const Operation& a, const Operation& b) { return a.begin < b.begin; });
  return Search(std::move(operations), initial, bound).run();
}

std::string describe(const Operation& o) {
  const char* names[] = {"read", "write", "cas", "refused cas"};
  std::string out = o.who.empty() ? "" : o.who + ": ";
  out += names[static_cast<std::size_t>(o.kind)];
  if (o.kind == Operation::Kind::cas || o.kind == Operation::Kind::fail) {
    out += " of " + std::to_string(o.expect);
  }
  if (o.kind != Operation::Kind::fail) out += " value " + std::to_string(o.value);
  out += " from " + std::to_string(o.begin);
  if (o.outcome == Operation::Outcome::unknown) return out + ", fate unknown";
  return out + " to " + std::to_string(o.end);
}

}  // namespace skiff::test
