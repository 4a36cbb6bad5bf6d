// Claims, volumes and storage classes.
#include "skiff/api/quantity.hpp"
#include "validation.hpp"

namespace skiff::api {
namespace {

void validate_access_modes(FieldErrors& errors, const Path& path, const Value& modes) {
  if (modes.empty()) return errors.required(path, "at least 1 access mode is required");
  bool exclusive = false;
  for (const Value& mode : modes.items())
    exclusive = exclusive || mode.as_string() == "ReadWriteOncePod";
  if (exclusive && modes.size() > 1)
    errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
}

void validate_positive(FieldErrors& errors, const Path& path, const Value& quantity) {
  auto q = Quantity::parse(quantity.as_string());
  if (q && *q <= Quantity()) errors.invalid(path, quantity, std::string(kPositive));
}

// A claim may grow, and may be bound; nothing else of it changes.
void check_claim_update(const Subject& s) {
  Value munged = s.doc["spec"];
  const Value& before = s.before()["spec"];
  auto put_back = [&](Value& to, const Value& from, std::string_view name) {
    if (const Value* v = from.find(name))
      to.set(name, *v);
    else
      to.erase(name);
  };
  if (before["volumeName"].as_string().empty()) put_back(munged, before, "volumeName");
  if (before["storageClassName"].is_null()) put_back(munged, before, "storageClassName");
  put_back(munged, before, "volumeAttributesClassName");
  auto now = Quantity::parse(s.doc["spec"]["resources"]["requests"]["storage"].as_string());
  auto was = Quantity::parse(before["resources"]["requests"]["storage"].as_string());
  bool bound = s.before()["status"]["phase"].as_string() == "Bound";
  if (bound && now && was) {
    if (*now < *was)
      s.errors.forbidden("spec.resources.requests.storage",
                         "field can not be less than status.capacity");
    if (Value* requests = munged.member("resources").find("requests"))
      requests->set("storage", before["resources"]["requests"]["storage"]);
  }
  if (munged != before)
    s.errors.forbidden("spec",
                       "spec is immutable after creation except resources.requests and "
                       "volumeAttributesClassName for bound claims");
}

void check_claim(const Subject& s) {
  validate_claim_spec(s.errors, "spec", s.doc["spec"]);
  if (s.old) check_claim_update(s);
}

void check_volume(const Subject& s) {
  const Value& spec = s.doc["spec"];
  validate_access_modes(s.errors, "spec.accessModes", spec["accessModes"]);
  if (spec["capacity"].empty()) {
    s.errors.required("spec.capacity");
  } else if (!spec["capacity"].has("storage") || spec["capacity"].size() > 1) {
    s.errors.not_supported("spec.capacity", spec["capacity"], {"storage"});
  }
  for (const Member& m : spec["capacity"].members())
    validate_positive(s.errors, key("spec.capacity", m.name), m.value);
  std::size_t sources = 0;
  for (const Member& m : spec.members()) {
    bool source = m.value.is_object() && m.name != "capacity" && m.name != "claimRef" &&
                  m.name != "nodeAffinity";
    if (source && ++sources > 1)
      s.errors.forbidden(child("spec", m.name), "may not specify more than 1 volume type");
  }
  if (sources == 0) s.errors.required("spec", "must specify a volume type");
  if (spec["local"].is_object() && !spec["nodeAffinity"].is_object())
    s.errors.required("spec.nodeAffinity", "Local volume requires node affinity");
  if (spec["nodeAffinity"]["required"].is_object())
    validate_node_selector(s.errors, "spec.nodeAffinity.required",
                           spec["nodeAffinity"]["required"]);
  if (spec["hostPath"]["path"].as_string().find("..") != std::string::npos)
    s.errors.invalid("spec.hostPath.path", spec["hostPath"]["path"], "must not contain '..'");
}

void check_storage_class(const Subject& s) {
  if (const Value& name = s.doc["provisioner"]; !name.as_string().empty()) {
    std::string lower = name.as_string();
    for (char& c : lower)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    complain(s.errors, "provisioner", name, label_key_errors(lower));
  }
  for (const Member& m : s.doc["parameters"].members())
    if (m.name.empty()) s.errors.invalid("parameters", m.name, "field can not be empty.");
  if (!s.old) return;
  for (const char* field : {"parameters", "provisioner", "reclaimPolicy"}) {
    const Value& now = s.doc[field];
    const Value& before = s.before()[field];
    if (now != before && !(now.size() == 0 && before.size() == 0 && !now.is_string()))
      s.errors.forbidden(field, std::string("updates to ") + field + " are forbidden.");
  }
}

void check_attributes_class(const Subject& s) {
  if (!s.old) return;
  for (const char* field : {"driverName", "parameters"})
    if (s.doc[field] != s.before()[field])
      s.errors.forbidden(field, std::string("updates to ") + field + " are forbidden.");
}

void check_csi_node(const Subject& s) {
  std::size_t index = 0;
  for (const Value& driver : s.doc["spec"]["drivers"].items()) {
    Path here = at("spec.drivers", index++);
    if (!driver["name"].as_string().empty())
      check_text(s.errors, child(here, "name"), driver["name"], dns1123_subdomain_errors);
    std::size_t n = 0;
    for (const Value& topology : driver["topologyKeys"].items())
      complain(s.errors, at(child(here, "topologyKeys"), n++), topology,
               label_key_errors(topology.as_string()));
  }
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.core.v1.PersistentVolumeClaim", check_claim},
    {"io.k8s.api.core.v1.PersistentVolume", check_volume},
    {"io.k8s.api.storage.v1.StorageClass", check_storage_class},
    {"io.k8s.api.storage.v1.VolumeAttributesClass", check_attributes_class},
    {"io.k8s.api.storage.v1.CSINode", check_csi_node},
};

}  // namespace

void validate_claim_spec(FieldErrors& errors, const Path& path, const Value& spec) {
  validate_access_modes(errors, child(path, "accessModes"), spec["accessModes"]);
  const Path storage = child(path, "resources") + "[storage]";
  const Value& amount = spec["resources"]["requests"]["storage"];
  if (amount.is_null())
    errors.required(storage);
  else
    validate_positive(errors, storage, amount);
  if (const Value& name = spec["storageClassName"]; !name.as_string().empty())
    check_text(errors, child(path, "storageClassName"), name, dns1123_subdomain_errors);
}

std::span<const KindRule> storage_rules() { return kRules; }

}  // namespace skiff::api
