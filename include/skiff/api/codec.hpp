// What a document goes through on its way in, all driven by the schema.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {

// Errors gathered while validating: each becomes a cause of a 422 Status, worded as upstream words
// it: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.
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
  // `Deployment.apps "web" is invalid: [...]`, Code::invalid with details.
  Error to_error(std::string_view group, std::string_view kind, std::string_view name) const;

 private:
  std::vector<Cause> causes_;
};

// Checks the shape of `doc` against `type` as Go's decoder would: wrong types are an error
// (bad_request, worded as upstream: `json: cannot unmarshal string into Go struct field
// DeploymentSpec.spec.replicas of type int32`); names match exactly; unknown fields are removed and
// reported (`unknown field "spec.foo"`) in `unknown`; explicit nulls are dropped; times, quantities
// and int-or-strings are checked and canonicalised.
Result<void> decode(const Type& type, Value& doc, std::vector<std::string>* unknown);

// Fills defaults, as upstream's versioned defaulting does for this kind (schema defaults, then the
// hand-written ones that depend on other fields).
void apply_defaults(const Resource& resource, Value& doc);

// Required fields, enums, formats, ranges, list-map key uniqueness, metadata rules, then the kind's
// own cross-field rules. `old` is null on create; on update immutability is checked too.
// `subresource` is "" or e.g. "status".
void validate(const Resource& resource, const Value& doc, const Value* old,
              std::string_view subresource, FieldErrors& errors);

// Metadata rules alone (names, labels, annotations, owner references, finalizers).
void validate_metadata(const Resource& resource, const Value& doc, const Value* old,
                       FieldErrors& errors);

}  // namespace skiff::api
