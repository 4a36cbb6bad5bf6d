// Coroutines and what they wait for. Everything here belongs to one executor (the loop's strand):
// it is not thread-safe, and needs no lock. BlockingPool is the one way to other threads and back.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "skiff/base/result.hpp"

namespace skiff {

namespace asio = boost::asio;

using Executor = asio::any_io_executor;

// A coroutine. Parameters are taken by value: a reference would dangle at the first suspension.
template <class T = void>
using Task = asio::awaitable<T>;

// Something that happened: coroutines wait, notify_all() wakes every one that waits now. Waiting
// throws operation_aborted when the waiting task is cancelled.
class Signal {
 public:
  explicit Signal(Executor executor);
  Task<void> wait();
  void notify_all();

 private:
  asio::steady_timer timer_;  // never expires; cancelling it is the wake-up, so no clock is read
};

// Owns tasks. Nothing is spawned outside a group, and a group is joined before it dies.
class TaskGroup {
 public:
  explicit TaskGroup(Executor executor);
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();  // every task must have ended: a live one is a broken invariant

  // Starts `task`; `name` appears in the log should it end with an exception other than
  // cancellation, which ends the process: expected failures are Results.
  void spawn(std::string name, Task<void> task);

  // Asks every running task to stop at its next suspension point. Tasks spawned later are not
  // affected.
  void cancel();

  // Returns when no task is left. Not affected by cancel(); the calling coroutine is deaf to
  // cancellation from then on.
  Task<void> join();

  std::size_t size() const noexcept { return entries_.size(); }
  std::vector<std::string> names() const;  // of the tasks that run, oldest first
  const Executor& executor() const noexcept { return executor_; }

 private:
  struct Entry {
    std::string name;
    asio::cancellation_signal signal;
    bool ended = false;
  };
  void finished(std::list<std::shared_ptr<Entry>>::iterator entry, std::exception_ptr error);

  Executor executor_;
  std::list<std::shared_ptr<Entry>> entries_;
  Signal ended_;
};

// Runs both until one has ended, cancels the other and waits until that has ended too. When the
// caller is cancelled both are, and that is plain cancellation.
Task<void> race(Task<void> one, Task<void> other);

// The same; empty when `other` ended and `task` gave no value.
template <class T>
Task<std::optional<T>> race_for(Task<T> task, Task<void> other) {
  std::optional<T> value;
  auto keep = [](Task<T> t, std::optional<T>* out) -> Task<void> {
    out->emplace(co_await std::move(t));
  };
  co_await race(keep(std::move(task), &value), std::move(other));
  co_return value;
}

// A bounded queue between coroutines of one executor.
template <class T>
class Channel {
 public:
  Channel(Executor executor, std::size_t capacity) : capacity_(capacity), changed_(executor) {}

  // False when full or closed.
  bool try_push(T value) {
    if (closed_ || queue_.size() >= capacity_) return false;
    queue_.push_back(std::move(value));
    changed_.notify_all();
    return true;
  }
  // Waits for room; false once closed.
  Task<bool> push(T value) {
    while (!closed_ && queue_.size() >= capacity_) co_await changed_.wait();
    co_return try_push(std::move(value));
  }
  // The next value; empty once closed and drained.
  Task<std::optional<T>> pop() {
    while (queue_.empty() && !closed_) co_await changed_.wait();
    co_return try_pop();
  }
  std::optional<T> try_pop() {
    if (queue_.empty()) return std::nullopt;
    std::optional<T> value(std::move(queue_.front()));
    queue_.pop_front();
    changed_.notify_all();
    return value;
  }
  void close() {
    closed_ = true;
    changed_.notify_all();
  }
  bool closed() const noexcept { return closed_; }
  std::size_t size() const noexcept { return queue_.size(); }

 private:
  std::size_t capacity_;
  std::deque<T> queue_;
  bool closed_ = false;
  Signal changed_;
};

// Runs blocking functions (file systems, clone, name lookups) away from the loop, in the order in
// which they were handed in. With zero threads the function runs at once on the caller's thread:
// what simulations use. With one it is a thread of its own for whoever needs one.
class BlockingPool {
 public:
  explicit BlockingPool(std::size_t threads);
  ~BlockingPool();  // joins
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Waits for what was handed in; what comes later is never run.
  void join();
  // Runs `work` on a pool thread; nobody waits for it. May be called from any thread.
  void post(std::function<void()> work);
  // The same after a while, during which the pool does other work; join() waits for it too. With
  // zero threads there is no while.
  void post_after(std::chrono::nanoseconds wait, std::function<void()> work);

  // Runs `function()` on a pool thread and resumes the caller on its own executor with the result.
  // `function` must not touch state of the loop. Once begun it is run to its end and its result
  // handed over, even when the caller is cancelled meanwhile: that shows at its next wait.
  template <class F>
  Task<std::invoke_result_t<F>> run(F function) {
    using R = std::invoke_result_t<F>;
    if (!pool_) co_return function();
    // The pool works on what is in this frame; the frame lives until the pool has let go of it.
    std::conditional_t<std::is_void_v<R>, bool, std::optional<R>> value{};
    std::exception_ptr error;
    std::function<void()> work = [&] {
      try {
        if constexpr (std::is_void_v<R>) {
          function();
        } else {
          value.emplace(function());
        }
      } catch (...) {
        error = std::current_exception();
      }
    };
    co_await on_pool(std::move(work));
    if (error) std::rethrow_exception(error);
    if constexpr (!std::is_void_v<R>) co_return std::move(*value);
  }

 private:
  Task<void> on_pool(std::function<void()> work);
  std::unique_ptr<asio::thread_pool> pool_;
};

// True when the running task was asked to stop: long loops without I/O should look now and then.
Task<bool> stop_requested();

// Lets other ready handlers run.
Task<void> yield();

}  // namespace skiff
