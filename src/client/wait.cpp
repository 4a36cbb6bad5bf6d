#include "wait.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/system/system_error.hpp>

namespace skiff::client {

Task<void> Changes::wait_until(std::uint64_t seen, Clock* clock, TimePoint when) {
  using namespace asio::experimental::awaitable_operators;  // NOLINT
  if (count_ != seen) co_return;
  bool canceled = false;
  try {
    co_await (wait(seen) || clock->sleep_until(when));
  } catch (const std::exception&) {
    // Both sides end this way when the caller is cancelled; Asio then throws an aggregate, which
    // nobody above knows as a cancellation.
    canceled = true;
  }
  if (canceled) throw boost::system::system_error(asio::error::operation_aborted);
}

}  // namespace skiff::client
