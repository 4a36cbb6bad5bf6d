// Environment variables and the references that downward-API values are made of.
#include <array>

#include "validation.hpp"

namespace skiff::api {
namespace {

struct FieldPath {
  std::string_view name;
  bool env = false;
  bool volume = false;
};
// What may be read of a pod; the metadata maps also with a subscript, then in both places.
constexpr std::array<FieldPath, 11> kFieldPaths = {{{"metadata.annotations", false, true},
                                                    {"metadata.labels", false, true},
                                                    {"metadata.name", true, true},
                                                    {"metadata.namespace", true, true},
                                                    {"metadata.uid", true, true},
                                                    {"spec.nodeName", true, false},
                                                    {"spec.serviceAccountName", true, false},
                                                    {"status.hostIP", true, false},
                                                    {"status.hostIPs", true, false},
                                                    {"status.podIP", true, false},
                                                    {"status.podIPs", true, false}}};

constexpr std::array<std::string_view, 6> kContainerResources = {
    "limits.cpu",   "limits.ephemeral-storage",   "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory"};

// `metadata.labels['app']` -> the map and the key.
bool split_subscript(std::string_view path, std::string_view& map, std::string_view& subscript) {
  auto open = path.find("['");
  if (open == std::string_view::npos || !path.ends_with("']")) return false;
  map = path.substr(0, open);
  subscript = path.substr(open + 2, path.size() - open - 4);
  return true;
}

void validate_key_ref(FieldErrors& errors, const Path& path, const Value& ref) {
  if (ref["name"].as_string().empty()) errors.required(child(path, "name"));
  if (!ref["key"].as_string().empty())  // its absence the schema reports
    complain(errors, child(path, "key"), ref["key"], config_key_errors(ref["key"].as_string()));
}

void validate_value_from(FieldErrors& errors, const Path& path, const Value& variable) {
  const Value& from = variable["valueFrom"];
  if (!from.is_object()) return;
  const Path here = child(path, "valueFrom");
  std::size_t sources = 0;
  for (const Member& m : from.members())
    if (m.value.is_object()) ++sources;
  if (sources == 0)
    errors.invalid(here, "",
                   "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                   "`secretKeyRef`");
  else if (!variable["value"].as_string().empty())
    errors.invalid(here, "", "may not be specified when `value` is not empty");
  else if (sources > 1)
    errors.invalid(here, "", "may not have more than one field specified at a time");
  if (const Value& r = from["fieldRef"]; r.is_object())
    validate_field_ref(errors, child(here, "fieldRef"), r, false);
  if (const Value& r = from["resourceFieldRef"]; r.is_object())
    validate_resource_field_ref(errors, child(here, "resourceFieldRef"), r, false);
  for (const char* name : {"configMapKeyRef", "secretKeyRef"})
    if (from[name].is_object()) validate_key_ref(errors, child(here, name), from[name]);
}

}  // namespace

void validate_field_ref(FieldErrors& errors, const Path& path, const Value& ref, bool in_volume) {
  const Value& field = ref["fieldPath"];
  const Path here = child(path, "fieldPath");
  if (field.as_string().empty()) return;  // the schema requires it
  std::string_view map, subscript;
  if (split_subscript(field.as_string(), map, subscript)) {
    if (map == "metadata.labels") return complain(errors, here, field, label_key_errors(subscript));
    if (map == "metadata.annotations") {
      std::string lower(subscript);
      for (char& c : lower)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      return complain(errors, here, field, label_key_errors(lower));
    }
    return errors.invalid(here, field,
                          "error converting fieldPath: field label does not support subscript");
  }
  std::vector<std::string> allowed;
  bool known = false;
  for (const FieldPath& p : kFieldPaths) {
    bool here_allowed = in_volume ? p.volume : p.env;
    if (p.name == field.as_string() && here_allowed) return;
    known = known || p.name == field.as_string();
    if (here_allowed) allowed.emplace_back(p.name);
  }
  if (known) return errors.not_supported(here, field, std::move(allowed));
  errors.invalid(here, field,
                 "error converting fieldPath: field label not supported: " + field.as_string());
}

void validate_resource_field_ref(FieldErrors& errors, const Path& path, const Value& ref,
                                 bool in_volume) {
  if (in_volume && ref["containerName"].as_string().empty())
    errors.required(child(path, "containerName"));
  const std::string& name = ref["resource"].as_string();
  if (name.empty()) return;
  for (std::string_view known : kContainerResources)
    if (name == known) return;
  if (name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-")) return;
  errors.not_supported(child(path, "resource"), ref["resource"],
                       {kContainerResources.begin(), kContainerResources.end()});
}

void validate_env(FieldErrors& errors, const Path& path, const Value& container) {
  std::size_t index = 0;
  for (const Value& v : container["env"].items()) {
    Path here = at(child(path, "env"), index++);
    if (!v["name"].as_string().empty())
      complain(errors, child(here, "name"), v["name"], env_name_errors(v["name"].as_string()));
    validate_value_from(errors, here, v);
  }
  index = 0;
  for (const Value& e : container["envFrom"].items()) {
    Path here = at(child(path, "envFrom"), index++);
    if (const Value& prefix = e["prefix"]; !prefix.as_string().empty())
      complain(errors, child(here, "prefix"), prefix, env_name_errors(prefix.as_string()));
    std::size_t sources = 0;
    for (const char* name : {"configMapRef", "secretRef"}) {
      if (!e[name].is_object()) continue;
      ++sources;
      check_required_text(errors, child(child(here, name), "name"), e[name]["name"],
                          dns1123_subdomain_errors);
    }
    if (sources == 0)
      errors.invalid(here, "", "must specify one of: `configMapRef` or `secretRef`");
    else if (sources > 1)
      errors.invalid(here, "", "may not have more than one field specified at a time");
  }
}

}  // namespace skiff::api
