// A loop under virtual time, and a log that misbehaves on request.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/base/clock.hpp"
#include "skiff/base/env.hpp"
#include "skiff/base/task.hpp"
#include "skiff/store/store.hpp"

namespace skiff::store::testing {

// A memory log that can be slow or fail.
class FakeLog final : public Log {
 public:
  struct Control {
    explicit Control(Executor executor) : released(std::move(executor)) {}
    std::optional<Error> failure;  // what appends end with
    bool held = false;             // appends wait
    Signal released;
    std::vector<std::size_t> appends;  // how many records each had
    std::vector<Record> replayed;      // what replay gives
    Recovered recovered;
  };
  explicit FakeLog(std::shared_ptr<Control> control) : control_(std::move(control)) {}

  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    for (const Record& record : control_->replayed) each(record);
    co_return control_->recovered;
  }
  Task<Result<void>> append(Records records) override {
    control_->appends.push_back(records->size());
    while (control_->held) co_await control_->released.wait();
    if (control_->failure) co_return *control_->failure;
    co_return Result<void>();
  }
  Task<Result<std::vector<Record>>> history(Range, Revision, Revision, std::size_t) override {
    co_return Error{Code::expired, "not kept"};
  }
  Task<Result<std::vector<Record>>> state(Range, Revision, std::size_t) override {
    co_return Error{Code::expired, "not kept"};
  }
  Revision compacted() const override { return std::numeric_limits<Revision>::max(); }
  Task<Result<void>> sync() override { co_return Result<void>(); }
  Task<Result<void>> compact(Revision) override { co_return Result<void>(); }
  Task<Result<void>> close() override { co_return Result<void>(); }

 private:
  std::shared_ptr<Control> control_;
};

class Loop {
 public:
  Loop() : tasks_(io_.get_executor()) {}

  Env env() {
    Env e;
    e.executor = io_.get_executor();
    e.clock = &clock;
    e.metrics = &metrics;
    return e;
  }
  // Runs `task` to its end.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> out;
    tasks_.spawn("test", keep(std::move(task), &out));
    settle();
    SKIFF_ASSERT(out.has_value(), "a test's task has not ended");
    return std::move(*out);
  }
  void spawn(Task<void> task) { tasks_.spawn("test", std::move(task)); }
  // Runs what can run now; with `threads`, until nothing is left to wait for.
  void settle() {
    io_.restart();
    if (threads) io_.run();
    while (io_.poll() > 0) {
    }
  }
  Executor executor() { return io_.get_executor(); }
  asio::io_context& io() { return io_; }
  void cancel() { tasks_.cancel(); }

  VirtualClock clock;
  metrics::Registry metrics;
  bool threads = false;  // the log has one of its own

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* out) {
    *out = co_await std::move(task);
  }
  asio::io_context io_;
  TaskGroup tasks_;
};

inline Op put(std::string key, std::string value, std::optional<Revision> expect = {}) {
  Op op;
  op.key = std::move(key);
  op.value = std::move(value);
  op.expect = expect;
  return op;
}
inline Op erase(std::string key, std::optional<Revision> expect = {}) {
  Op op = put(std::move(key), "", expect);
  op.type = Op::Type::erase;
  return op;
}
inline std::vector<Op> ops(Op a) {
  std::vector<Op> out;
  out.push_back(std::move(a));
  return out;
}

}  // namespace skiff::store::testing
