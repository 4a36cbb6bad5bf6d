#include "status.hpp"

#include "skiff/api/value.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

// How the registry hands over a token that leads on where an expired one ended.
constexpr std::string_view kContinueCause = "Continue";

Value details_of(const ErrorDetails& d) {
  Value out = Value::object();
  if (!d.name.empty()) out.set("name", d.name);
  if (!d.group.empty()) out.set("group", d.group);
  if (!d.kind.empty()) out.set("kind", d.kind);
  if (!d.uid.empty()) out.set("uid", d.uid);
  for (const Cause& c : d.causes) {
    if (c.reason == kContinueCause) continue;
    Value cause = Value::object({{"reason", c.reason}, {"message", c.message}});
    if (!c.field.empty()) cause.set("field", c.field);
    out.member("causes").push_back(std::move(cause));
  }
  if (d.retry_after_seconds > 0) out.set("retryAfterSeconds", d.retry_after_seconds);
  return out;
}

}  // namespace

int http_status(Code code) noexcept {
  switch (code) {
    case Code::bad_request:
      return 400;
    case Code::unauthorized:
      return 401;
    case Code::forbidden:
      return 403;
    case Code::not_found:
      return 404;
    case Code::method_not_allowed:
      return 405;
    case Code::not_acceptable:
      return 406;
    case Code::already_exists:
    case Code::conflict:
      return 409;
    case Code::expired:
      return 410;
    case Code::too_large:
      return 413;
    case Code::unsupported_media:
      return 415;
    case Code::invalid:
      return 422;
    case Code::too_many_requests:
      return 429;
    case Code::internal:
    case Code::canceled:
      return 500;
    case Code::unavailable:
      return 503;
    case Code::timeout:
      return 504;
  }
  return 500;
}

std::string_view reason_of(Code code) noexcept {
  switch (code) {
    case Code::bad_request:
      return "BadRequest";
    case Code::unauthorized:
      return "Unauthorized";
    case Code::forbidden:
      return "Forbidden";
    case Code::not_found:
      return "NotFound";
    case Code::method_not_allowed:
      return "MethodNotAllowed";
    case Code::not_acceptable:
      return "NotAcceptable";
    case Code::already_exists:
      return "AlreadyExists";
    case Code::conflict:
      return "Conflict";
    case Code::expired:
      return "Expired";
    case Code::too_large:
      return "RequestEntityTooLarge";
    case Code::unsupported_media:
      return "UnsupportedMediaType";
    case Code::invalid:
      return "Invalid";
    case Code::too_many_requests:
      return "TooManyRequests";
    case Code::internal:
    case Code::canceled:
      return "InternalError";
    case Code::unavailable:
      return "ServiceUnavailable";
    case Code::timeout:
      return "Timeout";
  }
  return "InternalError";
}

std::string status_json(const Error& error) {
  Value doc = Value::object({{"kind", "Status"}, {"apiVersion", "v1"}});
  Value metadata = Value::object();
  if (error.details) {
    for (const Cause& c : error.details->causes) {
      if (c.reason == kContinueCause) metadata.set("continue", c.message);
    }
  }
  doc.set("metadata", std::move(metadata));
  doc.set("status", "Failure");
  doc.set("message", error.message);
  doc.set("reason", reason_of(error.code));
  if (error.details) {
    Value details = details_of(*error.details);
    if (!details.empty()) doc.set("details", std::move(details));
  }
  doc.set("code", http_status(error.code));
  return api::to_json(doc);
}

http::Response status_response(const Error& error) {
  http::Buffers body;
  body.emplace_back(status_json(error));
  http::Response response =
      http::Response::make(http_status(error.code), "application/json", std::move(body));
  if (error.details && error.details->retry_after_seconds > 0) {
    response.headers.add("Retry-After", std::to_string(error.details->retry_after_seconds));
  }
  if (error.code == Code::unauthorized) {
    response.headers.add("WWW-Authenticate", "Bearer realm=\"kubernetes\"");
  }
  return response;
}

Error not_found_path() {
  return {Code::not_found, "the server could not find the requested resource",
          std::make_shared<ErrorDetails>()};
}

}  // namespace skiff::apiserver
