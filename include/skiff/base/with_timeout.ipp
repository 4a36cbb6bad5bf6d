// Implementation of with_timeout; included by clock.hpp only.
#pragma once

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <optional>
#include <variant>

namespace skiff {

template <class T>
Task<Result<T>> with_timeout(Clock& clock, Duration limit, std::string what, Task<Result<T>> task) {
  using namespace asio::experimental::awaitable_operators;  // NOLINT
  std::optional<std::variant<Result<T>, std::monostate>> first;
  try {
    first.emplace(co_await (std::move(task) || clock.sleep_for(limit)));
  } catch (const asio::multiple_exceptions& e) {
    // Both were cancelled because the caller was: it must see plain cancellation.
    std::rethrow_exception(e.first_exception());
  }
  if (first->index() == 0) co_return std::get<0>(std::move(*first));
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  co_return Error{Code::timeout, what + ": no answer within " + std::to_string(ms) + " ms"};
}

}  // namespace skiff
