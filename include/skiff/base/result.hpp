// Expected failures are values: Result<T> holds a T or an Error.
//
// Errors cross every room, so they carry what a Kubernetes Status needs (API conventions, "Response
// Status Kind"): a code that maps to an HTTP status and reason, one clear sentence, and optional
// structured details. Exceptions are left for cancellation and broken invariants.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skiff {

// What went wrong, in the vocabulary of the Kubernetes API's reasons.
enum class Code : std::uint8_t {
  bad_request,         // 400 BadRequest: malformed input
  unauthorized,        // 401 Unauthorized
  forbidden,           // 403 Forbidden
  not_found,           // 404 NotFound
  method_not_allowed,  // 405 MethodNotAllowed
  not_acceptable,      // 406 NotAcceptable
  already_exists,      // 409 AlreadyExists
  conflict,            // 409 Conflict: stale resourceVersion or a lost compare-and-swap
  expired,             // 410 Expired: the revision asked for was compacted
  too_large,           // 413 RequestEntityTooLarge
  unsupported_media,   // 415 UnsupportedMediaType
  invalid,             // 422 Invalid: well-formed, but a rule refuses it
  too_many_requests,   // 429 TooManyRequests
  internal,            // 500 InternalError
  unavailable,         // 503 ServiceUnavailable
  timeout,             // 504 Timeout
  canceled,            // the caller gave up
};

// One cause of a refusal: `reason` is a CauseType such as "FieldValueRequired", `field` a JSON path
// such as "spec.containers[0].name".
struct Cause {
  std::string reason;
  std::string message;
  std::string field;
};

// Mirrors Kubernetes' StatusDetails.
struct ErrorDetails {
  std::string group;
  std::string kind;
  std::string name;
  std::string uid;
  int retry_after_seconds = 0;
  std::vector<Cause> causes;
};

struct Error {
  Code code = Code::internal;
  std::string message;
  std::shared_ptr<const ErrorDetails> details = nullptr;  // may be null
};

// Found by argument-dependent lookup when value() is called on a failed Result: a broken invariant.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location& at);

template <class T = void>
using Result = boost::system::result<T, Error>;

// The code's name in lower case, for logs ("not_found").
std::string_view name_of(Code code) noexcept;

// The error with `prefix: ` before its message; keeps code and details.
Error annotate(Error error, std::string_view prefix);

// An Error from errno: "what: No such file or directory". ENOENT maps to not_found, EEXIST to
// already_exists, EACCES/EPERM to forbidden, ENOSPC/EDQUOT to unavailable, the rest to internal.
Error errno_error(int number, std::string_view what);

}  // namespace skiff

#define SKIFF_CONCAT2(a, b) a##b
#define SKIFF_CONCAT(a, b) SKIFF_CONCAT2(a, b)

// SKIFF_TRY(auto value, expression): returns the error from the enclosing function, or moves the
// value out. SKIFF_CO_TRY does the same in a coroutine, where the expression may contain co_await.
#define SKIFF_TRY_IMPL(tmp, decl, expr, ret) \
  auto tmp = (expr);                         \
  if (!tmp) ret tmp.error();                 \
  decl = std::move(*tmp)
#define SKIFF_TRY(decl, ...) \
  SKIFF_TRY_IMPL(SKIFF_CONCAT(skiff_try_, __LINE__), decl, (__VA_ARGS__), return )
#define SKIFF_CO_TRY(decl, ...) \
  SKIFF_TRY_IMPL(SKIFF_CONCAT(skiff_try_, __LINE__), decl, (__VA_ARGS__), co_return )

// The same for Result<void>, or where the value is not wanted.
#define SKIFF_CHECK(...) \
  if (auto skiff_check = (__VA_ARGS__); !skiff_check) return skiff_check.error()
#define SKIFF_CO_CHECK(...) \
  if (auto skiff_check = (__VA_ARGS__); !skiff_check) co_return skiff_check.error()

// An invariant that guards data: checked in release builds too; ends the process with a message.
#define SKIFF_ASSERT(condition, message) \
  ((condition) ? void(0) : ::skiff::assertion_failed(#condition, message, __FILE__, __LINE__))

namespace skiff {
[[noreturn]] void assertion_failed(const char* condition, const char* message, const char* file,
                                   int line) noexcept;
}
