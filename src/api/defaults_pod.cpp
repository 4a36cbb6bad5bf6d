// Defaults of pods and of what stands in pod templates (upstream's core/v1 defaulting).
#include <map>

#include "defaults.hpp"
#include "skiff/api/quantity.hpp"

namespace skiff::api {
namespace {

using Amounts = std::map<std::string, Quantity, std::less<>>;

// Always for `latest` (also when no tag is given and nothing pins the image), else IfNotPresent.
std::string_view pull_policy(std::string_view image) {
  if (image.empty()) return "IfNotPresent";
  bool pinned = image.find('@') != std::string_view::npos;
  std::string_view name = image.substr(0, image.find('@'));
  auto slash = name.rfind('/');
  auto colon = name.rfind(':');
  bool tagged =
      colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash);
  bool latest = tagged ? name.substr(colon + 1) == "latest" : !pinned;
  return latest ? "Always" : "IfNotPresent";
}

void default_container(const Type& type, Value& c) {
  default_field(type, c, "imagePullPolicy", pull_policy(c["image"].as_string()));
}

void default_volume(const Type& type, Value& v) {
  for (const Field& f : type.fields)
    if (f.kind == Kind::object && v.has(f.name)) return;
  set_field(type, v, "emptyDir", Value::object());
}

void default_image_volume(const Type& type, Value& v) {
  default_field(type, v, "pullPolicy", pull_policy(v["reference"].as_string()));
}

// The account goes by two names, and each stands for the other.
void default_pod_spec(const Type& type, Value& spec) {
  default_field(type, spec, "serviceAccountName", spec["serviceAccount"]);
  if (spec["serviceAccountName"].is_string())
    set_field(type, spec, "serviceAccount", spec["serviceAccountName"]);
}

// Requests that are not given are the limits: in pods alone, not in templates.
void requests_from_limits(Value& resources, const Type& type) {
  if (resources["limits"].empty()) return;
  Value requests = resources["requests"];
  for (const Member& limit : resources["limits"].members())
    if (!requests.has(limit.name)) requests.set(limit.name, limit.value);
  auto& members = requests.mutable_members();
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  set_field(type, resources, "requests", std::move(requests));
}

void host_ports(const Type& port_type, Value& container) {
  Value* ports = container.find("ports");
  if (!ports) return;
  for (Value& port : ports->mutable_items())
    default_field(port_type, port, "hostPort", port["containerPort"]);
}

Amounts amounts(const Value& list) {
  Amounts out;
  for (const Member& m : list.members())
    if (auto q = Quantity::parse(m.value.as_string())) out[std::string(m.name)] = *q;
  return out;
}

void add(Amounts& to, const Amounts& more) {
  for (const auto& [name, q] : more) to[name] += q;
}

void raise(Amounts& to, const Amounts& other) {
  for (const auto& [name, q] : other) {
    auto [it, fresh] = to.emplace(name, q);
    if (!fresh && it->second < q) it->second = q;
  }
}

// What all containers together need at the pod's worst moment (KEP-753: sidecars keep theirs).
Amounts container_requests(const Value& spec) {
  Amounts running, sidecars, starting;
  for (const Value& c : spec["containers"].items())
    add(running, amounts(c["resources"]["requests"]));
  for (const Value& c : spec["initContainers"].items()) {
    Amounts own = amounts(c["resources"]["requests"]);
    if (c["restartPolicy"].as_string() == "Always") {
      add(sidecars, own);
      raise(starting, sidecars);
    } else {
      add(own, sidecars);
      raise(starting, own);
    }
  }
  add(running, sidecars);
  raise(running, starting);
  return running;
}

bool pod_level(std::string_view resource) {
  return resource == "cpu" || resource == "memory" || resource.starts_with("hugepages-");
}

// KEP-2837: requests of the whole pod come from its containers, else from its limits.
void pod_requests(const Type& type, Value& spec) {
  Value* resources = spec.find("resources");
  if (!resources || (*resources)["limits"].empty()) return;
  std::map<std::string, Value, std::less<>> requests;
  for (const Member& m : (*resources)["requests"].members())
    requests[std::string(m.name)] = m.value;
  for (const auto& [name, q] : container_requests(spec))
    if (name == "cpu" || name == "memory") requests.emplace(name, q.to_string());
  for (const Member& m : (*resources)["limits"].members())
    if (pod_level(m.name)) requests.emplace(std::string(m.name), m.value);
  if (requests.empty()) return;
  Value list = Value::object();
  for (auto& [name, v] : requests) list.set(name, std::move(v));
  set_field(type, *resources, "requests", std::move(list));
}

void default_pod(const Type& type, Value& pod) {
  Value* spec = pod.find("spec");
  if (!spec) return;
  const Type& spec_type = *type.field("spec")->type;
  const Type& container_type = *spec_type.field("containers")->type;
  const Type& resources_type = *container_type.field("resources")->type;
  const Type& port_type = *container_type.field("ports")->type;
  for (const char* list : {"containers", "initContainers"}) {
    Value* containers = spec->find(list);
    if (!containers) continue;
    for (Value& c : containers->mutable_items()) {
      if (Value* resources = c.find("resources")) requests_from_limits(*resources, resources_type);
      if ((*spec)["hostNetwork"].as_bool()) host_ports(port_type, c);
    }
  }
  pod_requests(resources_type, *spec);
  default_field(spec_type, *spec, "enableServiceLinks", true);
}

constexpr TypeDefault kDefaults[] = {
    {"io.k8s.api.core.v1.Container", default_container},
    {"io.k8s.api.core.v1.EphemeralContainer", default_container},
    {"io.k8s.api.core.v1.Volume", default_volume},
    {"io.k8s.api.core.v1.ImageVolumeSource", default_image_volume},
    {"io.k8s.api.core.v1.PodSpec", default_pod_spec},
    {"io.k8s.api.core.v1.Pod", default_pod},
};

}  // namespace

std::span<const TypeDefault> pod_defaults() { return kDefaults; }

}  // namespace skiff::api
