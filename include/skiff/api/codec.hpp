// What a document goes through on its way in, all driven by the schema.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {

// Errors gathered while validating: each becomes a cause of a 422 Status, worded as upstream words
// it: field `spec.replicas`, message `Invalid value: -1: must be greater than or equal to 0`.
class FieldErrors {
 public:
  void required(std::string field, std::string detail = "");
  void invalid(std::string field, const Value& value, std::string detail);
  void not_supported(std::string field, const Value& value, std::vector<std::string> allowed);
  void duplicate(std::string field, const Value& value);
  void forbidden(std::string field, std::string detail);
  void too_long(std::string field, std::size_t max);
  void too_many(std::string field, std::size_t actual, std::size_t max);
  void not_found(std::string field, const Value& value);
  void type_invalid(std::string field, const Value& value, std::string detail);
  bool empty() const noexcept { return causes_.empty(); }
  std::span<const Cause> causes() const noexcept { return causes_; }
  // `Deployment.apps "web" is invalid: spec.replicas: Invalid value: ...`, several as `[a, b]`;
  // Code::invalid with details. Not for an empty list.
  Error to_error(std::string_view group, std::string_view kind, std::string_view name) const;

 private:
  // The same message for the same field is kept once.
  void add(std::string_view reason, std::string field, std::string message);
  std::vector<Cause> causes_;
};

// Checks the shape of `doc` against `type` as Go's decoder would: wrong types are an error
// (bad_request, worded as upstream: `json: cannot unmarshal string into Go struct field
// DeploymentSpec.spec.replicas of type int32`); names match exactly; unknown fields are removed and
// reported (`unknown field "spec.foo"`) in `unknown`; explicit nulls are dropped; times, quantities
// and int-or-strings are checked and canonicalised.
// What remains is in the form Go would encode: members in the schema's order, map keys sorted,
// empty optional members left out, structs that are not pointers always there (`"resources":{}`).
// `unknown` may be null; it receives at most 100. `doc` is unspecified after an error.
Result<void> decode(const Type& type, Value& doc, std::vector<std::string>* unknown);

// Fills defaults, as upstream's versioned defaulting does for this kind (schema defaults, then the
// hand-written ones that depend on other fields). `doc` has been decoded. Doing it twice changes
// nothing more. What needs the cluster's state (addresses, IP families) is the registry's to fill.
void apply_defaults(const Resource& resource, Value& doc);

// Metadata rules, then required fields, enums, formats and ranges, then the kind's own cross-field
// rules. `doc` has been decoded and defaulted and has its name. `old` is null on create; on update
// immutability is checked too. `subresource` is "" or "status" (then only the status is checked),
// or of pods "ephemeralcontainers" or "resize". Without it, a status that has its own subresource
// is not looked at.
void validate(const Resource& resource, const Value& doc, const Value* old,
              std::string_view subresource, FieldErrors& errors);

// Metadata rules alone (names, labels, annotations, owner references, finalizers).
void validate_metadata(const Resource& resource, const Value& doc, const Value* old,
                       FieldErrors& errors);

}  // namespace skiff::api
