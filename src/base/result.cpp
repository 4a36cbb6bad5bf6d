#include "skiff/base/result.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace skiff {

void throw_exception_from_error(const Error& error, const boost::source_location& at) {
  throw std::logic_error("value() of a failed Result: " + error.message + " (" + at.file_name() +
                         ":" + std::to_string(at.line()) + ")");
}

std::string_view name_of(Code code) noexcept {
  switch (code) {
    case Code::bad_request:
      return "bad_request";
    case Code::unauthorized:
      return "unauthorized";
    case Code::forbidden:
      return "forbidden";
    case Code::not_found:
      return "not_found";
    case Code::method_not_allowed:
      return "method_not_allowed";
    case Code::not_acceptable:
      return "not_acceptable";
    case Code::already_exists:
      return "already_exists";
    case Code::conflict:
      return "conflict";
    case Code::expired:
      return "expired";
    case Code::too_large:
      return "too_large";
    case Code::unsupported_media:
      return "unsupported_media";
    case Code::invalid:
      return "invalid";
    case Code::too_many_requests:
      return "too_many_requests";
    case Code::internal:
      return "internal";
    case Code::unavailable:
      return "unavailable";
    case Code::timeout:
      return "timeout";
    case Code::canceled:
      return "canceled";
  }
  return "internal";
}

Error annotate(Error error, std::string_view prefix) {
  error.message = std::string(prefix) + ": " + error.message;
  return error;
}

Error errno_error(int number, std::string_view what) {
  Code code = Code::internal;
  switch (number) {
    case ENOENT:
      code = Code::not_found;
      break;
    case EEXIST:
      code = Code::already_exists;
      break;
    case EACCES:
    case EPERM:
      code = Code::forbidden;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::unavailable;
      break;
    case ETIMEDOUT:
      code = Code::timeout;
      break;
    default:
      break;
  }
  char buffer[128];
  const char* text = ::strerror_r(number, buffer, sizeof buffer);
  return {code, std::string(what) + ": " + text};
}

void assertion_failed(const char* condition, const char* message, const char* file,
                      int line) noexcept {
  std::fprintf(stderr, "skiff: broken invariant: %s (%s) at %s:%d\n", message, condition, file,
               line);
  std::abort();
}

}  // namespace skiff
