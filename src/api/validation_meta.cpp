// Rules of metadata, for every kind (API conventions, "Metadata").
#include <algorithm>

#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kAnnotationsLimit = 256U << 10U;
constexpr std::size_t kManagerLimit = 128;
constexpr std::size_t kCronJobName = 52;  // jobs add eleven characters

enum class NameRule : std::uint8_t { subdomain, label, label_1035, path_segment, any };

NameRule name_rule(const Resource& r) {
  if (r.group == "rbac.authorization.k8s.io") return NameRule::path_segment;
  if (r.group == "certificates.k8s.io") return NameRule::any;
  if (r.group.empty() && r.plural == "namespaces") return NameRule::label;
  if (r.group.empty() && r.plural == "services") return NameRule::label_1035;
  if (r.plural == "ipaddresses") return NameRule::any;  // checked with the rest of the kind
  if (r.plural == "apiservices") return NameRule::path_segment;
  return NameRule::subdomain;
}

Complaints name_errors(const Resource& r, std::string_view name) {
  switch (name_rule(r)) {
    case NameRule::label:
      return dns1123_label_errors(name);
    case NameRule::label_1035:
      return dns1035_label_errors(name);
    case NameRule::path_segment:
      return path_segment_errors(name);
    case NameRule::any:
      return {};
    case NameRule::subdomain:
      break;
  }
  return dns1123_subdomain_errors(name);
}

// Kinds that are answered, never stored: their metadata may be empty.
bool is_stored(const Resource& r) { return r.allows(kGet) || r.allows(kList); }

void validate_name(const Resource& r, const Value& meta, FieldErrors& errors) {
  const std::string& generate = meta["generateName"].as_string();
  if (!generate.empty()) {
    std::string prefix = generate;
    if (prefix.size() > 1 && prefix.back() == '-') prefix.back() = 'a';  // random text follows
    complain(errors, "metadata.generateName", meta["generateName"], name_errors(r, prefix));
  }
  const std::string& name = meta["name"].as_string();
  if (name.empty()) return errors.required("metadata.name", "name or generateName is required");
  complain(errors, "metadata.name", meta["name"], name_errors(r, name));
  if (r.plural == "cronjobs" && name.size() > kCronJobName)
    errors.invalid("metadata.name", meta["name"], "must be no more than 52 characters");
}

void validate_namespace(const Resource& r, const Value& meta, FieldErrors& errors) {
  const Value& ns = meta["namespace"];
  if (!r.namespaced) {
    if (!ns.as_string().empty()) errors.forbidden("metadata.namespace", "not allowed on this type");
    return;
  }
  check_required_text(errors, "metadata.namespace", ns, dns1123_label_errors);
}

void validate_owner(FieldErrors& errors, const Path& path, const Value& owner) {
  const std::string& version = owner["apiVersion"].as_string();
  auto slash = version.find('/');
  bool no_version = version.empty() || slash == version.size() - 1;
  if (no_version) errors.invalid(child(path, "apiVersion"), version, "version must not be empty");
  for (const char* field : {"kind", "name", "uid"})
    if (owner[field].as_string().empty())
      errors.invalid(child(path, field), "", "must not be empty");
  if (version == "v1" && owner["kind"].as_string() == "Event")
    errors.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner");
}

void validate_owners(FieldErrors& errors, const Value& owners) {
  if (owners.empty()) return;
  const Path path = "metadata.ownerReferences";
  std::string controller;
  for (const Value& owner : owners.items()) {
    validate_owner(errors, path, owner);
    if (!owner["controller"].as_bool()) continue;
    std::string name = owner["kind"].as_string() + "/" + owner["name"].as_string();
    if (!controller.empty()) {
      errors.invalid(path, owners,
                     "Only one reference can have Controller set to true. Found \"true\" in "
                     "references for " +
                         controller + " and " + name);
    } else {
      controller = std::move(name);
    }
  }
}

void validate_finalizers(const Value& meta, const Value* old, FieldErrors& errors) {
  const Value& finalizers = meta["finalizers"];
  if (finalizers.empty()) return;
  const Path path = "metadata.finalizers";
  bool orphan = false, foreground = false;
  std::size_t index = 0;
  for (const Value& f : finalizers.items()) {
    const std::string& name = f.as_string();
    complain(errors, path, f, label_key_errors(name));
    bool standard = name == "kubernetes" || name == "orphan" || name == "foregroundDeletion";
    if (!standard && name.find('/') == std::string::npos)
      errors.invalid(at(path, index), f,
                     "name is neither a standard finalizer name nor is it fully qualified");
    ++index;
    orphan = orphan || name == "orphan";
    foreground = foreground || name == "foregroundDeletion";
  }
  if (orphan && foreground)
    errors.invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
  if (!old || (*old)["metadata"]["deletionTimestamp"].is_null()) return;
  std::string added;
  auto before = (*old)["metadata"]["finalizers"].items();
  for (const Value& f : finalizers.items()) {
    if (std::find(before.begin(), before.end(), f) != before.end()) continue;
    added += (added.empty() ? "" : ", ") + to_json(f);
  }
  if (!added.empty())
    errors.forbidden(path,
                     "no new finalizers can be added if the object is being deleted, found new "
                     "finalizers []string{" +
                         added + "}");
}

void validate_managed_fields(const Value& entries, FieldErrors& errors) {
  std::size_t index = 0;
  for (const Value& e : entries.items()) {
    Path path = at("metadata.managedFields", index++);
    const std::string& operation = e["operation"].as_string();
    if (operation != "Apply" && operation != "Update")
      errors.invalid(child(path, "operation"), e["operation"], "must be `Apply` or `Update`");
    if (const std::string& type = e["fieldsType"].as_string(); !type.empty() && type != "FieldsV1")
      errors.invalid(child(path, "fieldsType"), e["fieldsType"], "must be `FieldsV1`");
    if (e["manager"].as_string().size() > kManagerLimit)
      errors.too_long(child(path, "manager"), kManagerLimit);
  }
}

void validate_meta_update(const Value& meta, const Value& old, FieldErrors& errors) {
  if (meta["generation"].as_int() < old["generation"].as_int() && meta.has("generation"))
    errors.invalid("metadata.generation", meta["generation"], "must not be decremented");
  for (const char* field : {"name", "namespace"})
    check_immutable(errors, child("metadata", field), meta[field], old[field]);
  // The server keeps these whether or not a client repeats them.
  for (const char* field :
       {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"})
    if (meta.has(field) && (std::string_view(field) != "deletionGracePeriodSeconds"))
      check_immutable(errors, child("metadata", field), meta[field], old[field]);
}

}  // namespace

void validate_labels(FieldErrors& errors, const Path& path, const Value& labels) {
  for (const Member& m : labels.members()) {
    complain(errors, path, m.name, label_key_errors(m.name));
    complain(errors, path, m.value, label_value_errors(m.value.as_string()));
  }
}

void validate_annotations(FieldErrors& errors, const Path& path, const Value& annotations) {
  std::size_t size = 0;
  for (const Member& m : annotations.members()) {
    std::string lower(m.name);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
      return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    });
    complain(errors, path, m.name, label_key_errors(lower));
    size += m.name.size() + m.value.as_string().size();
  }
  if (size > kAnnotationsLimit) errors.too_long(path, kAnnotationsLimit);
}

void validate_metadata(const Resource& resource, const Value& doc, const Value* old,
                       FieldErrors& errors) {
  const Value& meta = doc["metadata"];
  if (!is_stored(resource)) return;
  if (old) {
    validate_meta_update(meta, (*old)["metadata"], errors);
  } else {
    validate_name(resource, meta, errors);
    validate_namespace(resource, meta, errors);
  }
  if (meta["generation"].as_int() < 0)
    errors.invalid("metadata.generation", meta["generation"], std::string(kNotNegative));
  if (const Value& labels = meta["labels"]; !labels.empty())
    validate_labels(errors, "metadata.labels", labels);
  if (const Value& annotations = meta["annotations"]; !annotations.empty())
    validate_annotations(errors, "metadata.annotations", annotations);
  validate_owners(errors, meta["ownerReferences"]);
  validate_finalizers(meta, old, errors);
  validate_managed_fields(meta["managedFields"], errors);
}

}  // namespace skiff::api
