// Status documents (API conventions, "Response Status Kind") back to Errors.
#include "skiff/client/http_client.hpp"

namespace skiff::client {
namespace {

struct Reason {
  std::string_view name;
  Code code;
};

constexpr Reason kReasons[] = {
    {"BadRequest", Code::bad_request},
    {"Unauthorized", Code::unauthorized},
    {"Forbidden", Code::forbidden},
    {"NotFound", Code::not_found},
    {"MethodNotAllowed", Code::method_not_allowed},
    {"NotAcceptable", Code::not_acceptable},
    {"AlreadyExists", Code::already_exists},
    {"Conflict", Code::conflict},
    {"Expired", Code::expired},
    {"Gone", Code::expired},
    {"RequestEntityTooLarge", Code::too_large},
    {"UnsupportedMediaType", Code::unsupported_media},
    {"Invalid", Code::invalid},
    {"TooManyRequests", Code::too_many_requests},
    {"InternalError", Code::internal},
    {"ServiceUnavailable", Code::unavailable},
    {"Timeout", Code::timeout},
    {"ServerTimeout", Code::timeout},
};

Code code_of(int http_status) {
  switch (http_status) {
    case 400:
      return Code::bad_request;
    case 401:
      return Code::unauthorized;
    case 403:
      return Code::forbidden;
    case 404:
      return Code::not_found;
    case 405:
      return Code::method_not_allowed;
    case 406:
      return Code::not_acceptable;
    case 409:
      return Code::conflict;
    case 410:
      return Code::expired;
    case 413:
      return Code::too_large;
    case 415:
      return Code::unsupported_media;
    case 422:
      return Code::invalid;
    case 429:
      return Code::too_many_requests;
    case 502:
    case 503:
      return Code::unavailable;
    case 504:
      return Code::timeout;
    default:
      return Code::internal;
  }
}

}  // namespace

Error error_from_status(const Value& status) {
  Error error{code_of(static_cast<int>(status["code"].as_int(500))), status["message"].as_string()};
  const std::string& reason = status["reason"].as_string();
  for (const Reason& known : kReasons) {
    if (known.name == reason) error.code = known.code;
  }
  if (error.message.empty()) error.message = reason.empty() ? "the server failed" : reason;
  const Value& d = status["details"];
  if (!d.is_object()) return error;
  auto details = std::make_shared<ErrorDetails>();
  details->group = d["group"].as_string();
  details->kind = d["kind"].as_string();
  details->name = d["name"].as_string();
  details->uid = d["uid"].as_string();
  details->retry_after_seconds = static_cast<int>(d["retryAfterSeconds"].as_int());
  for (const Value& c : d["causes"].items()) {
    details->causes.push_back(
        {c["reason"].as_string(), c["message"].as_string(), c["field"].as_string()});
  }
  error.details = std::move(details);
  return error;
}

Error error_from_answer(int status, std::string_view body) {
  const auto parsed = api::parse_json(body);
  if (parsed && (*parsed)["kind"].as_string() == "Status") return error_from_status(*parsed);
  std::string message = "the server answered with HTTP status " + std::to_string(status);
  if (!body.empty()) message += ": " + std::string(body.substr(0, 200));
  return {code_of(status), std::move(message)};
}

}  // namespace skiff::client
