// Implementation of with_timeout; included by clock.hpp only.
#pragma once

#include <optional>

namespace skiff {

template <class T>
Task<Result<T>> with_timeout(Clock& clock, Duration limit, std::string what, Task<Result<T>> task) {
  auto outcome = co_await race_for(std::move(task), clock.sleep_for(limit));
  if (outcome) co_return std::move(*outcome);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  co_return Error{Code::timeout, what + ": no answer within " + std::to_string(ms) + " ms"};
}

}  // namespace skiff
