// Defaults of the named groups that depend on other fields.
#include <algorithm>
#include <climits>

#include "defaults.hpp"

namespace skiff::api {
namespace {

constexpr std::string_view kRollingUpdate = "RollingUpdate";

// The fields of the nested `rollingUpdate`, made when the strategy is to roll.
void default_rolling(const Type& type, Value& strategy, Value max_unavailable, Value max_surge) {
  if (strategy["type"].as_string() != kRollingUpdate) return;
  default_field(type, strategy, "rollingUpdate", Value::object());
  const Type& rolling = *type.field("rollingUpdate")->type;
  Value& update = *strategy.find("rollingUpdate");
  default_field(rolling, update, "maxUnavailable", std::move(max_unavailable));
  default_field(rolling, update, "maxSurge", std::move(max_surge));
}

void default_deployment_strategy(const Type& type, Value& strategy) {
  default_rolling(type, strategy, "25%", "25%");
}

void default_daemon_set_strategy(const Type& type, Value& strategy) {
  default_rolling(type, strategy, 1, 0);
}

void default_stateful_set_strategy(const Type& type, Value& strategy) {
  if (strategy["type"].as_string().empty()) {
    set_field(type, strategy, "type", kRollingUpdate);
    default_field(type, strategy, "rollingUpdate", Value::object());
  }
  Value* update = strategy.find("rollingUpdate");
  if (strategy["type"].as_string() != kRollingUpdate || !update) return;
  const Type& rolling = *type.field("rollingUpdate")->type;
  default_field(rolling, *update, "partition", 0);
  default_field(rolling, *update, "maxUnavailable", 1);
}

// Of a Job itself; the templates of a CronJob stay as they are written.
void default_job(const Type& type, Value& job) {
  Value* spec = job.find("spec");
  if (!spec) return;
  const Type& t = *type.field("spec")->type;
  if ((*spec)["completions"].is_null() && (*spec)["parallelism"].is_null())
    set_field(t, *spec, "completions", 1);
  default_field(t, *spec, "parallelism", 1);
  bool per_index = !(*spec)["backoffLimitPerIndex"].is_null();
  default_field(t, *spec, "backoffLimit", per_index ? INT_MAX : 6);
  default_field(t, *spec, "completionMode", "NonIndexed");
  default_field(t, *spec, "suspend", false);
  bool policy = !(*spec)["podFailurePolicy"].is_null();
  default_field(t, *spec, "podReplacementPolicy", policy ? "Failed" : "TerminatingOrFailed");
  default_field(t, *spec, "manualSelector", false);
  const Value labels = (*spec)["template"]["metadata"]["labels"];
  Value* meta = job.find("metadata");
  if (meta && !labels.empty())
    default_field(*type.field("metadata")->type, *meta, "labels", labels);
}

Value scaling_policy(const char* type, int value) {
  return Value::object({{"type", type}, {"value", value}, {"periodSeconds", 15}});
}

void default_scaling_rules(const Type& type, Value& behavior, const char* direction, bool up) {
  default_field(type, behavior, direction, Value::object());
  const Type& rules_type = *type.field(direction)->type;
  Value& rules = *behavior.find(direction);
  if (up) default_field(rules_type, rules, "stabilizationWindowSeconds", 0);
  default_field(rules_type, rules, "selectPolicy", "Max");
  Value policies = Value::array();
  if (up) policies.push_back(scaling_policy("Pods", 4));
  policies.push_back(scaling_policy("Percent", 100));
  default_field(rules_type, rules, "policies", std::move(policies));
}

void default_scaling_behavior(const Type& type, Value& behavior) {
  default_scaling_rules(type, behavior, "scaleUp", true);
  default_scaling_rules(type, behavior, "scaleDown", false);
}

void default_autoscaler_spec(const Type& type, Value& spec) {
  Value target = Value::object({{"type", "Utilization"}, {"averageUtilization", 80}});
  Value resource = Value::object({{"name", "cpu"}, {"target", std::move(target)}});
  Value metric = Value::object({{"type", "Resource"}, {"resource", std::move(resource)}});
  default_field(type, spec, "metrics", Value::array({std::move(metric)}));
}

void default_network_policy_spec(const Type& type, Value& spec) {
  Value types = Value::array({"Ingress"});
  if (!spec["egress"].empty()) types.push_back("Egress");
  default_field(type, spec, "policyTypes", std::move(types));
}

void default_subject(const Type& type, Value& subject) {
  const std::string& kind = subject["kind"].as_string();
  if (kind == "User" || kind == "Group")
    default_field(type, subject, "apiGroup", "rbac.authorization.k8s.io");
}

void default_crd_spec(const Type& type, Value& spec) {
  Value* names = spec.find("names");
  if (!names) return;
  const Type& t = *type.field("names")->type;
  std::string kind = (*names)["kind"].as_string();
  if (kind.empty()) return;
  default_field(t, *names, "listKind", kind + "List");
  std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  default_field(t, *names, "singular", std::move(kind));
}

void default_crd(const Type& type, Value& crd) {
  Value stored = Value::array();
  for (const Value& version : crd["spec"]["versions"].items())
    if (version["storage"].as_bool()) stored.push_back(version["name"]);
  Value* status = crd.find("status");
  if (status && !stored.empty())
    default_field(*type.field("status")->type, *status, "storedVersions", std::move(stored));
}

void default_priority_level_spec(const Type& type, Value& spec) {
  if (spec["type"].as_string() == "Exempt") default_field(type, spec, "exempt", Value::object());
}

void default_device_request(const Type& type, Value& request) {
  if (request["allocationMode"].as_string() == "ExactCount")
    default_field(type, request, "count", 1);
}

constexpr TypeDefault kDefaults[] = {
    {"io.k8s.api.apps.v1.DeploymentStrategy", default_deployment_strategy},
    {"io.k8s.api.apps.v1.DaemonSetUpdateStrategy", default_daemon_set_strategy},
    {"io.k8s.api.apps.v1.StatefulSetUpdateStrategy", default_stateful_set_strategy},
    {"io.k8s.api.batch.v1.Job", default_job},
    {"io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", default_autoscaler_spec},
    {"io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior", default_scaling_behavior},
    {"io.k8s.api.networking.v1.NetworkPolicySpec", default_network_policy_spec},
    {"io.k8s.api.rbac.v1.Subject", default_subject},
    {"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
     default_crd},
    {"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionSpec",
     default_crd_spec},
    {"io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", default_priority_level_spec},
    {"io.k8s.api.resource.v1.ExactDeviceRequest", default_device_request},
    {"io.k8s.api.resource.v1.DeviceSubRequest", default_device_request},
};

}  // namespace

std::span<const TypeDefault> group_defaults() { return kDefaults; }

}  // namespace skiff::api
