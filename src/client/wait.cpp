#include "wait.hpp"

namespace skiff::client {

Task<void> Changes::wait_until(std::uint64_t seen, Clock* clock, TimePoint when) {
  if (count_ == seen) co_await race(wait(seen), clock->sleep_until(when));
}

}  // namespace skiff::client
