// Implementation of with_timeout; included by clock.hpp only.
#pragma once

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <variant>

namespace skiff {

template <class T>
Task<Result<T>> with_timeout(Clock& clock, Duration limit, std::string what, Task<Result<T>> task) {
  using namespace asio::experimental::awaitable_operators;  // NOLINT
  auto first = co_await (std::move(task) || clock.sleep_for(limit));
  if (first.index() == 0) co_return std::get<0>(std::move(first));
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  co_return Error{Code::timeout, what + ": no answer within " + std::to_string(ms) + " ms"};
}

}  // namespace skiff
