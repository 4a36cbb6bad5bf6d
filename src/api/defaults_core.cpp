// Defaults of the core group beside pods.
#include <algorithm>

#include "defaults.hpp"

namespace skiff::api {
namespace {

void default_service_port(const Type& type, Value& port) {
  const Value& target = port["targetPort"];
  bool unset = target.is_string() ? target.as_string().empty() : target.as_int() == 0;
  if (unset) set_field(type, port, "targetPort", port["port"]);
}

void default_service_spec(const Type& type, Value& spec) {
  const std::string service_type = spec["type"].as_string();
  const std::string affinity = spec["sessionAffinity"].as_string();
  if (affinity == "None") spec.erase("sessionAffinityConfig");
  if (affinity == "ClientIP" &&
      spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null())
    set_field(type, spec, "sessionAffinityConfig",
              Value::object({{"clientIP", Value::object({{"timeoutSeconds", 10800}})}}));
  bool balanced = service_type == "LoadBalancer";
  bool external = balanced || service_type == "NodePort" ||
                  (service_type == "ClusterIP" && !spec["externalIPs"].empty());
  if (external) default_field(type, spec, "externalTrafficPolicy", "Cluster");
  if (balanced || service_type == "NodePort" || service_type == "ClusterIP")
    default_field(type, spec, "internalTrafficPolicy", "Cluster");
  if (balanced) default_field(type, spec, "allocateLoadBalancerNodePorts", true);
}

void default_service(const Type&, Value& service) {
  if (service["spec"]["type"].as_string() != "LoadBalancer") return;
  Value* status = service.find("status");
  Value* balancer = status ? status->find("loadBalancer") : nullptr;
  Value* ingress = balancer ? balancer->find("ingress") : nullptr;
  if (!ingress) return;
  const Type* type = find_type("io.k8s.api.core.v1.LoadBalancerIngress");
  for (Value& i : ingress->mutable_items())
    if (!i["ip"].as_string().empty()) default_field(*type, i, "ipMode", "VIP");
}

void default_replication_controller(const Type& type, Value& rc) {
  const Value labels = rc["spec"]["template"]["metadata"]["labels"];
  if (labels.empty()) return;
  const Type& spec_type = *type.field("spec")->type;
  const Type& meta_type = *type.field("metadata")->type;
  if (Value* spec = rc.find("spec"); spec) default_field(spec_type, *spec, "selector", labels);
  if (Value* meta = rc.find("metadata"); meta) default_field(meta_type, *meta, "labels", labels);
}

// Adds to `list` of the item what `from` has and it has not.
void fill_amounts(const Type& type, Value& item, const char* list, const char* from) {
  if (item[from].empty()) return;
  Value merged = item[list];
  for (const Member& m : item[from].members())
    if (!merged.has(m.name)) merged.set(m.name, m.value);
  auto& members = merged.mutable_members();
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  set_field(type, item, list, std::move(merged));
}

void default_limit_range_item(const Type& type, Value& item) {
  if (item["type"].as_string() != "Container") return;
  fill_amounts(type, item, "default", "max");
  fill_amounts(type, item, "defaultRequest", "default");
  fill_amounts(type, item, "defaultRequest", "min");
}

void default_node_status(const Type& type, Value& status) {
  if (!status["capacity"].empty()) default_field(type, status, "allocatable", status["capacity"]);
}

void default_namespace(const Type& type, Value& ns) {
  Value* meta = ns.find("metadata");
  if (!meta || (*meta)["name"].as_string().empty()) return;
  constexpr std::string_view kLabel = "kubernetes.io/metadata.name";
  if ((*meta)["labels"][kLabel].as_string() == (*meta)["name"].as_string()) return;
  Value labels = (*meta)["labels"];
  labels.set(kLabel, (*meta)["name"]);
  auto& members = labels.mutable_members();
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  set_field(*type.field("metadata")->type, *meta, "labels", std::move(labels));
}

constexpr TypeDefault kDefaults[] = {
    {"io.k8s.api.core.v1.Service", default_service},
    {"io.k8s.api.core.v1.ServiceSpec", default_service_spec},
    {"io.k8s.api.core.v1.ServicePort", default_service_port},
    {"io.k8s.api.core.v1.ReplicationController", default_replication_controller},
    {"io.k8s.api.core.v1.LimitRangeItem", default_limit_range_item},
    {"io.k8s.api.core.v1.NodeStatus", default_node_status},
    {"io.k8s.api.core.v1.Namespace", default_namespace},
};

}  // namespace

std::span<const TypeDefault> core_defaults() { return kDefaults; }

}  // namespace skiff::api
