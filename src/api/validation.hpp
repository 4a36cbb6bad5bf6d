// What the validation files share. Paths are the ones users read: `spec.containers[0].name`.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "formats.hpp"
#include "label_checks.hpp"
#include "skiff/api/codec.hpp"

namespace skiff::api {

using Path = std::string;

inline Path child(const Path& path, std::string_view name) {
  return path.empty() ? Path(name) : path + "." + std::string(name);
}
inline Path at(const Path& path, std::size_t index) {
  return path + "[" + std::to_string(index) + "]";
}
inline Path key(const Path& path, std::string_view name) {
  return path + "[" + std::string(name) + "]";
}

constexpr std::string_view kImmutable = "field is immutable";
constexpr std::string_view kNotNegative = "must be greater than or equal to 0";
constexpr std::string_view kPositive = "must be greater than zero";

// Each complaint becomes an Invalid cause with `value`.
void complain(FieldErrors& errors, const Path& path, const Value& value,
              const Complaints& complaints);
inline void check_text(FieldErrors& errors, const Path& path, const Value& value,
                       Complaints (*format)(std::string_view)) {
  complain(errors, path, value, format(value.as_string()));
}
// Required when empty, else its format.
void check_required_text(FieldErrors& errors, const Path& path, const Value& value,
                         Complaints (*format)(std::string_view));
// Invalid, "field is immutable", when they differ.
void check_immutable(FieldErrors& errors, const Path& path, const Value& now, const Value& before);
// A path in a volume or a mount: relative, without "..".
void check_relative_path(FieldErrors& errors, const Path& path, const Value& value);

// Pieces that stand in many kinds. `path` is the value's own.
void validate_labels(FieldErrors& errors, const Path& path, const Value& labels);
void validate_annotations(FieldErrors& errors, const Path& path, const Value& annotations);
void validate_label_selector(FieldErrors& errors, const Path& path, const Value& selector);
void validate_node_selector(FieldErrors& errors, const Path& path, const Value& selector);
void validate_affinity(FieldErrors& errors, const Path& path, const Value& affinity);
void validate_tolerations(FieldErrors& errors, const Path& path, const Value& tolerations);
void validate_topology_spread(FieldErrors& errors, const Path& path, const Value& constraints);
void validate_resources(FieldErrors& errors, const Path& path, const Value& resources);
// `resource` names what a container may ask for ("cpu", "example.com/gpu").
void validate_resource_name(FieldErrors& errors, const Path& path, std::string_view name);
void validate_quantity_not_negative(FieldErrors& errors, const Path& path, const Value& quantity);
void validate_env(FieldErrors& errors, const Path& path, const Value& container);
void validate_field_ref(FieldErrors& errors, const Path& path, const Value& ref, bool in_volume);
void validate_resource_field_ref(FieldErrors& errors, const Path& path, const Value& ref,
                                 bool in_volume);
void validate_volumes(FieldErrors& errors, const Path& path, const Value& volumes);
void validate_claim_spec(FieldErrors& errors, const Path& path, const Value& spec);

// Where a pod spec stands decides some of its rules.
struct PodContext {
  bool is_pod = false;  // else a template
  bool create = true;
};
void validate_containers(FieldErrors& errors, const Path& path, const Value& spec,
                         const PodContext& context);
void validate_pod_spec(FieldErrors& errors, const Path& path, const Value& spec,
                       const PodContext& context);
void validate_pod_template(FieldErrors& errors, const Path& path, const Value& pod_template);

// One object to judge.
struct Subject {
  const Resource& resource;
  const Value& doc;
  const Value* old;  // null on create
  std::string_view subresource;
  FieldErrors& errors;

  const Value& before() const {
    static const Value kNull;
    return old ? *old : kNull;
  }
};

struct KindRule {
  std::string_view type;  // OpenAPI definition name
  void (*check)(const Subject&);
  bool of_status = false;  // runs for the status subresource, else for the object itself
};
std::span<const KindRule> pod_rules();
std::span<const KindRule> service_rules();
std::span<const KindRule> workload_rules();
std::span<const KindRule> config_rules();
std::span<const KindRule> cluster_rules();
std::span<const KindRule> network_rules();
std::span<const KindRule> storage_rules();
std::span<const KindRule> extension_rules();

}  // namespace skiff::api
