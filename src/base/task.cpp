#include "skiff/base/task.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/multiple_exceptions.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include "skiff/base/log.hpp"

namespace skiff {
namespace {

// Of two awaitables joined by || that were both cancelled, Asio throws both exceptions as one.
std::exception_ptr first_of(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const asio::multiple_exceptions& e) {
    return e.first_exception() ? first_of(e.first_exception()) : error;
  } catch (...) {
    return error;
  }
}

[[noreturn]] void throw_canceled() {
  throw boost::system::system_error(asio::error::operation_aborted);
}

}  // namespace

Signal::Signal(Executor executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

Task<void> Signal::wait() {
  // A wake-up and a cancellation both end the wait with operation_aborted; the task's own
  // cancellation state tells them apart.
  boost::system::error_code ignored;
  co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) throw_canceled();
}

void Signal::notify_all() { timer_.cancel(); }

TaskGroup::TaskGroup(Executor executor) : executor_(executor), ended_(std::move(executor)) {}

TaskGroup::~TaskGroup() {
  for (const auto& entry : entries_) {
    log::error("base", "task group destroyed with a live task", {{"task", entry->name}});
  }
  SKIFF_ASSERT(entries_.empty(), "a task group was destroyed before its tasks were joined");
}

void TaskGroup::spawn(std::string name, Task<void> task) {
  auto entry = std::make_shared<Entry>();
  entry->name = std::move(name);
  const auto it = entries_.insert(entries_.end(), entry);
  // The handler keeps the entry alive: its signal must outlive the operation.
  asio::co_spawn(
      executor_, std::move(task),
      asio::bind_cancellation_slot(entry->signal.slot(), [this, it, entry](std::exception_ptr e) {
        finished(it, std::move(e));
      }));
}

void TaskGroup::finished(std::list<std::shared_ptr<Entry>>::iterator entry,
                         std::exception_ptr error) {
  if (error) {
    try {
      std::rethrow_exception(first_of(error));
    } catch (const boost::system::system_error& e) {
      if (e.code() != asio::error::operation_aborted) {
        log::error("base", "task failed", {{"task", (*entry)->name}, {"error", e.what()}});
        SKIFF_ASSERT(false, "an exception escaped from a task");
      }
    } catch (const std::exception& e) {
      log::error("base", "task failed", {{"task", (*entry)->name}, {"error", e.what()}});
      SKIFF_ASSERT(false, "an exception escaped from a task");
    }
  }
  (*entry)->ended = true;
  entries_.erase(entry);
  if (entries_.empty()) ended_.notify_all();
}

std::vector<std::string> TaskGroup::names() const {
  std::vector<std::string> out;
  for (const auto& entry : entries_) out.push_back(entry->name);
  return out;
}

void TaskGroup::cancel() {
  // Emitting may finish tasks at once, which takes them off the list: walk a copy.
  const std::vector<std::shared_ptr<Entry>> copy(entries_.begin(), entries_.end());
  for (const auto& entry : copy) {
    // On the loop this happens at once. From outside it happens when the loop runs, by when the
    // task may be gone, and co_spawn's handler would reach for what went with it.
    asio::dispatch(executor_, [entry] {
      if (!entry->ended) entry->signal.emit(asio::cancellation_type::terminal);
    });
  }
}

Task<void> TaskGroup::join() {
  // A joiner that is itself being cancelled must still wait: the tasks use what it is about to
  // free.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  while (!entries_.empty()) co_await ended_.wait();
}

Task<void> race(Task<void> one, Task<void> other) {
  using namespace asio::experimental::awaitable_operators;  // NOLINT
  std::exception_ptr error;
  try {
    co_await (std::move(one) || std::move(other));
  } catch (...) {
    error = first_of(std::current_exception());
  }
  if (error) std::rethrow_exception(error);
}

BlockingPool::BlockingPool(std::size_t threads) {
  if (threads > 0) pool_ = std::make_unique<asio::thread_pool>(threads);
}

BlockingPool::~BlockingPool() { join(); }

void BlockingPool::join() {
  if (pool_) pool_->join();
}

void BlockingPool::post(std::function<void()> work) {
  if (!pool_) return work();
  asio::post(*pool_, std::move(work));
}

void BlockingPool::post_after(std::chrono::nanoseconds wait, std::function<void()> work) {
  if (!pool_ || wait <= wait.zero()) return post(std::move(work));
  auto timer = std::make_shared<asio::steady_timer>(*pool_, wait);
  timer->async_wait([timer, work = std::move(work)](boost::system::error_code) { work(); });
}

// Not a co_spawn on the pool: cancelling that would reach into a coroutine that another thread
// runs.
Task<void> BlockingPool::on_pool(std::function<void()> work) {
  auto start = [this](auto handler, std::function<void()> w) {
    const auto home = asio::get_associated_executor(handler);
    auto guard = asio::make_work_guard(home);
    asio::post(*pool_, [handler = std::move(handler), w = std::move(w), home,
                        guard = std::move(guard)]() mutable {
      w();
      asio::post(home, std::move(handler));
    });
  };
  return asio::async_initiate<const asio::use_awaitable_t<>, void()>(
      std::move(start), asio::use_awaitable, std::move(work));
}

Task<bool> stop_requested() {
  const auto state = co_await asio::this_coro::cancellation_state;
  co_return state.cancelled() != asio::cancellation_type::none;
}

Task<void> yield() { co_await asio::post(asio::use_awaitable); }

}  // namespace skiff
