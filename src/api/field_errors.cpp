#include "skiff/api/codec.hpp"

namespace skiff::api {
namespace {

// `Invalid value: "x": detail`, the way upstream prints a value: strings quoted, the rest as JSON.
std::string body(std::string_view what, const Value* value, std::string_view detail) {
  std::string out(what);
  if (value) {
    out += ": ";
    if (value->is_null()) {
      out += "null";
    } else {
      append_json(out, *value);
    }
  }
  if (!detail.empty()) {
    out += ": ";
    out += detail;
  }
  return out;
}

}  // namespace

void FieldErrors::add(std::string_view reason, std::string field, std::string message) {
  for (const Cause& c : causes_)
    if (c.field == field && c.message == message) return;
  causes_.push_back(Cause{std::string(reason), std::move(message), std::move(field)});
}

void FieldErrors::required(std::string field, std::string detail) {
  add("FieldValueRequired", std::move(field), body("Required value", nullptr, detail));
}

void FieldErrors::invalid(std::string field, const Value& value, std::string detail) {
  add("FieldValueInvalid", std::move(field), body("Invalid value", &value, detail));
}

void FieldErrors::not_supported(std::string field, const Value& value,
                                std::vector<std::string> allowed) {
  std::string detail;
  for (const std::string& a : allowed) {
    detail += detail.empty() ? "supported values: " : ", ";
    append_json(detail, Value(a));
  }
  add("FieldValueNotSupported", std::move(field), body("Unsupported value", &value, detail));
}

void FieldErrors::duplicate(std::string field, const Value& value) {
  add("FieldValueDuplicate", std::move(field), body("Duplicate value", &value, ""));
}

void FieldErrors::forbidden(std::string field, std::string detail) {
  add("FieldValueForbidden", std::move(field), body("Forbidden", nullptr, detail));
}

void FieldErrors::too_long(std::string field, std::size_t max) {
  add("FieldValueTooLong", std::move(field),
      body("Too long", nullptr, "may not be more than " + std::to_string(max) + " bytes"));
}

void FieldErrors::too_many(std::string field, std::size_t actual, std::size_t max) {
  Value count(actual);
  add("FieldValueTooMany", std::move(field),
      body("Too many", &count, "must have at most " + std::to_string(max) + " items"));
}

void FieldErrors::not_found(std::string field, const Value& value) {
  add("FieldValueNotFound", std::move(field), body("Not found", &value, ""));
}

void FieldErrors::type_invalid(std::string field, const Value& value, std::string detail) {
  add("FieldValueTypeInvalid", std::move(field), body("Invalid value", &value, detail));
}

Error FieldErrors::to_error(std::string_view group, std::string_view kind,
                            std::string_view name) const {
  std::string message(kind);
  if (!group.empty()) message.append(".").append(group);
  message += ' ';
  append_json(message, Value(name));
  message += " is invalid: ";
  if (causes_.size() != 1) message += '[';
  for (const Cause& c : causes_) {
    if (&c != &causes_.front()) message += ", ";
    message += c.field + ": " + c.message;
  }
  if (causes_.size() != 1) message += ']';
  auto details = std::make_shared<ErrorDetails>();
  details->group = group;
  details->kind = kind;
  details->name = name;
  details->causes = causes_;
  return Error{Code::invalid, std::move(message), std::move(details)};
}

}  // namespace skiff::api
