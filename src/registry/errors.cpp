#include "errors.hpp"

namespace skiff::registry::errors {
namespace {

std::shared_ptr<const ErrorDetails> details(const api::Resource& resource, std::string_view name) {
  auto d = std::make_shared<ErrorDetails>();
  d->group = std::string(resource.group);
  d->kind = std::string(resource.plural);
  d->name = std::string(name);
  return d;
}

std::string named(const api::Resource& resource, std::string_view name) {
  std::string out = qualified(resource);
  out += " \"";
  out += name;
  out += '"';
  return out;
}

}  // namespace

std::string qualified(const api::Resource& resource) {
  std::string out(resource.plural);
  if (!resource.group.empty()) {
    out += '.';
    out += resource.group;
  }
  return out;
}

Error not_found(const api::Resource& resource, std::string_view name) {
  return {Code::not_found, named(resource, name) + " not found", details(resource, name)};
}

Error already_exists(const api::Resource& resource, std::string_view name) {
  return {Code::already_exists, named(resource, name) + " already exists", details(resource, name)};
}

Error conflict(const api::Resource& resource, std::string_view name, std::string_view why) {
  std::string message = "Operation cannot be fulfilled on " + named(resource, name) + ": ";
  message += why;
  return {Code::conflict, std::move(message), details(resource, name)};
}

Error modified(const api::Resource& resource, std::string_view name) {
  return conflict(resource, name,
                  "the object has been modified; please apply your changes to the latest version "
                  "and try again");
}

Error forbidden(const api::Resource& resource, std::string_view name, std::string_view why) {
  std::string message = name.empty() ? qualified(resource) : named(resource, name);
  message += " is forbidden: ";
  message += why;
  return {Code::forbidden, std::move(message), details(resource, name)};
}

Error bad_request(std::string message) { return {Code::bad_request, std::move(message)}; }

Error method_not_allowed(const api::Resource& resource, std::string_view verb) {
  std::string message(verb);
  message += " is not supported on resources of kind \"" + qualified(resource) + "\"";
  return {Code::method_not_allowed, std::move(message), details(resource, "")};
}

Error invalid(const api::Resource& resource, std::string_view name,
              const api::FieldErrors& causes) {
  return causes.to_error(resource.group, resource.kind, name);
}

Error invalid_field(const api::Resource& resource, std::string_view name, std::string_view field,
                    const api::Value& value, std::string_view why) {
  api::FieldErrors causes;
  causes.invalid(std::string(field), value, std::string(why));
  return invalid(resource, name, causes);
}

Error expired(std::string_view why) { return {Code::expired, std::string(why)}; }

Error future_revision(std::int64_t asked, std::int64_t newest) {
  auto d = std::make_shared<ErrorDetails>();
  d->retry_after_seconds = 1;
  d->causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  return {Code::timeout,
          "Too large resource version: " + std::to_string(asked) +
              ", current: " + std::to_string(newest),
          std::move(d)};
}

Error internal(std::string_view why) {
  return {Code::internal, "Internal error occurred: " + std::string(why)};
}

}  // namespace skiff::registry::errors
