// Several stores over one log, as a script wants it: who leads, who hears of what and when.
#pragma once

#include <algorithm>
#include <deque>
#include <map>

#include "fixture.hpp"

namespace skiff::store::testing {

class SharedLog;

// What the servers agree on.
struct SharedState {
  explicit SharedState(Executor executor) : released(std::move(executor)) {}

  std::vector<Record> records;  // committed, oldest first
  Revision compacted = 0;
  Revision resumable = 0;
  int leader = 1;  // 0: nobody
  std::map<int, SharedLog*> servers;

  bool held = false;                // appends wait
  std::optional<std::string> lost;  // what waiting appends end with; their records stay in limbo
  std::vector<Record> limbo;
  Signal released;
  int reads = 0;  // history() and state() asked

  // The keys as they were at `at`.
  std::map<std::string, Record> state_at(Revision at) const {
    std::map<std::string, Record> state;
    for (const Record& r : records) {
      if (r.item->modified > at) break;
      if (r.erase) {
        state.erase(r.item->key);
      } else {
        state[r.item->key] = r;
      }
    }
    return state;
  }
  Revision newest() const { return records.empty() ? 0 : records.back().item->modified; }
  // Appended by `by` (0: by nobody who is waiting); everybody else hears of it.
  void commit(std::vector<Record> more, int by);
};

class SharedLog final : public Log {
 public:
  SharedLog(std::shared_ptr<SharedState> state, int number)
      : state_(std::move(state)), number_(number) {
    state_->servers[number_] = this;
  }
  ~SharedLog() override {
    if (state_->servers[number_] == this) state_->servers.erase(number_);
  }

  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    for (auto& [key, record] : state_->state_at(state_->newest())) each(copy(record));
    Recovered at{state_->newest(), state_->compacted, state_->resumable};
    co_return at;
  }
  Task<Result<void>> append(Records records) override {
    const auto state = state_;
    while (state->held && !state->lost) co_await state->released.wait();
    if (state->lost) {
      state->limbo.insert(state->limbo.end(), records->begin(), records->end());
      co_return Error{Code::unavailable, *state->lost};
    }
    state->commit(*records, number_);
    co_return Result<void>();
  }
  Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                            std::size_t limit) override {
    const auto state = state_;
    ++state->reads;
    while (slow) co_await state->released.wait();
    if (after < state->compacted) co_return Error{Code::expired, "the log has forgotten that"};
    std::vector<Record> out;
    for (const Record& r : state->records) {
      if (r.item->modified <= after || !range.contains(r.item->key)) continue;
      if (r.item->modified > until || (limit != 0 && out.size() == limit)) break;
      out.push_back(copy(r));
    }
    co_return out;
  }
  Task<Result<std::vector<Record>>> state(Range range, Revision at, std::size_t limit) override {
    const auto state = state_;
    ++state->reads;
    while (slow) co_await state->released.wait();
    if (at < state->compacted) co_return Error{Code::expired, "the log has forgotten that"};
    std::vector<Record> out;
    for (const auto& [key, record] : state->state_at(at)) {
      if (!range.contains(key)) continue;
      if (limit != 0 && out.size() == limit) break;
      out.push_back(copy(record));
    }
    co_return out;
  }
  Revision compacted() const override { return state_->compacted; }
  Task<Result<void>> compact(Revision revision) override {
    state_->compacted = std::max(state_->compacted, revision);
    co_return Result<void>();
  }
  Task<Result<void>> sync() override { co_return Result<void>(); }
  Task<Result<void>> close() override {
    state_->servers.erase(number_);
    co_return Result<void>();
  }

  void attach(LogUser& user) override { user_ = &user; }
  Decider decider() const override {
    if (cut || state_->leader == 0) return Decider::nobody;
    return state_->leader == number_ ? Decider::here : Decider::elsewhere;
  }
  Task<std::vector<Result<Revision>>> forward(std::vector<Op> ops) override {
    const auto leader = state_->servers.find(state_->leader);
    if (decider() != Decider::elsewhere || leader == state_->servers.end()) {
      const Result<Revision> refusal = Error{Code::unavailable, "nothing was sent: no leader"};
      co_return std::vector<Result<Revision>>(ops.size(), refusal);
    }
    co_return co_await leader->second->user_->decide(std::move(ops));
  }
  Task<Result<Revision>> barrier() override {
    if (decider() == Decider::nobody) co_return Error{Code::unavailable, "no leader"};
    co_return state_->newest();
  }

  void hear(const std::vector<Record>& records) {
    auto heard = std::make_shared<std::vector<Record>>();
    for (const Record& r : records) heard->push_back(copy(r));
    unheard_.push_back(std::move(heard));
    if (!lagging) catch_up();
  }
  void catch_up() {
    while (!unheard_.empty()) {
      const Records records = unheard_.front();
      unheard_.pop_front();
      user_->deliver(records);
    }
  }
  // A snapshot of what all agree on, in place of what was not heard.
  void receive_snapshot() {
    unheard_.clear();
    std::vector<Record> state;
    for (auto& [key, record] : state_->state_at(state_->newest())) state.push_back(copy(record));
    user_->replace({state_->newest(), state_->newest(), state_->newest()}, std::move(state));
  }
  LogUser& user() { return *user_; }

  bool lagging = false;  // records wait in unheard_
  bool cut = false;      // no connection
  bool slow = false;     // reads of history wait

 private:
  // Another server has bytes of its own.
  static Record copy(const Record& record) {
    Record out = record;
    out.item = std::make_shared<Item>(*record.item);
    return out;
  }
  std::shared_ptr<SharedState> state_;
  int number_;
  LogUser* user_ = nullptr;
  std::deque<Records> unheard_;
};

inline void SharedState::commit(std::vector<Record> more, int by) {
  records.insert(records.end(), more.begin(), more.end());
  for (auto& [number, server] : servers) {
    if (number != by) server->hear(more);
  }
}

}  // namespace skiff::store::testing
