// What the cluster runs on and how it is ruled: Node, Namespace, Event, Lease, priorities, RBAC,
// disruption budgets, runtime classes, autoscalers.
#include <algorithm>
#include <set>

#include "skiff/api/quantity.hpp"
#include "skiff/api/selector.hpp"
#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::int64_t kMaxUserPriority = 1'000'000'000;
constexpr std::string_view kRbac = "rbac.authorization.k8s.io";

void validate_taints(FieldErrors& errors, const Path& path, const Value& taints) {
  std::set<std::string> seen;
  std::size_t index = 0;
  for (const Value& taint : taints.items()) {
    Path here = at(path, index++);
    complain(errors, child(here, "key"), taint["key"], label_key_errors(taint["key"].as_string()));
    complain(errors, child(here, "value"), taint["value"],
             label_value_errors(taint["value"].as_string()));
    if (!seen.insert(taint["key"].as_string() + "/" + taint["effect"].as_string()).second)
      errors.duplicate(child(here, "key"), taint["key"]);
  }
}

void check_node(const Subject& s) {
  const Value& spec = s.doc["spec"];
  validate_taints(s.errors, "spec.taints", spec["taints"]);
  std::size_t index = 0;
  for (const Value& cidr : spec["podCIDRs"].items())
    check_text(s.errors, at("spec.podCIDRs", index++), cidr, cidr_errors);
  if (index > 1) {
    const auto six = [](const Value& cidr) {
      return cidr.as_string().find(':') != std::string::npos;
    };
    const auto cidrs = spec["podCIDRs"].items();
    if (index > 2 || six(cidrs[0]) == six(cidrs[1]))
      s.errors.invalid("spec.podCIDRs", spec["podCIDRs"],
                       "may specify no more than one CIDR for each IP family");
  }
  if (!s.old) return;
  const Value& before = s.before()["spec"];
  if (!before["podCIDRs"].empty() && spec["podCIDRs"] != before["podCIDRs"])
    s.errors.forbidden("spec.podCIDRs",
                       "node updates may not change podCIDR except from \"\" to valid");
  if (!before["providerID"].as_string().empty() && spec["providerID"] != before["providerID"])
    s.errors.forbidden("spec.providerID",
                       "node updates may not change providerID except from \"\" to valid");
}

void check_node_status(const Subject& s) {
  const Value& status = s.doc["status"];
  std::set<std::string> seen;
  std::size_t index = 0;
  for (const Value& a : status["addresses"].items()) {
    Path here = at("status.addresses", index++);
    if (!seen.insert(a["type"].as_string() + "/" + a["address"].as_string()).second)
      s.errors.duplicate(here, a);
  }
  for (const char* list : {"capacity", "allocatable"})
    for (const Member& m : status[list].members())
      validate_quantity_not_negative(s.errors, key(child("status", list), m.name), m.value);
}

void check_namespace(const Subject& s) {
  std::size_t index = 0;
  for (const Value& f : s.doc["spec"]["finalizers"].items()) {
    Path here = at("spec.finalizers", index++);
    complain(s.errors, here, f, label_key_errors(f.as_string()));
    if (f.as_string().find('/') == std::string::npos && f.as_string() != "kubernetes")
      s.errors.invalid(here, f,
                       "name is neither a standard finalizer name nor is it fully qualified");
  }
}

void check_namespace_status(const Subject& s) {
  const Value& phase = s.doc["status"]["phase"];
  bool deleting = !s.doc["metadata"]["deletionTimestamp"].is_null();
  if (!deleting && phase.as_string() != "Active")
    s.errors.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
  if (deleting && phase.as_string() != "Terminating")
    s.errors.invalid("status.Phase", phase,
                     "may only be 'Terminating' if `deletionTimestamp` is not empty");
}

// Both versions of Event; events.k8s.io's stricter rules hold for objects with an eventTime.
void check_event(const Subject& s) {
  bool core = s.resource.group.empty();
  const Value& about = s.doc[core ? "involvedObject" : "regarding"];
  const std::string& ns = about["namespace"].as_string();
  const std::string& own = s.doc["metadata"]["namespace"].as_string();
  const Path path = child(core ? "involvedObject" : "regarding", "namespace");
  // Events about things without a namespace live in `default`.
  bool fits = ns.empty() ? own.empty() || own == "default" : own == ns;
  if (!fits) s.errors.invalid(path, about["namespace"], "does not match event.namespace");
  if (s.doc["eventTime"].is_null() || s.old) return;
  const char* controller = core ? "reportingComponent" : "reportingController";
  for (const char* field : {controller, "reportingInstance", "action", "reason"})
    if (s.doc[field].as_string().empty()) s.errors.required(field);
  const std::string& type = s.doc["type"].as_string();
  if (type != "Normal" && type != "Warning") s.errors.invalid("type", s.doc["type"], "");
}

void check_lease(const Subject& s) {
  const Value& spec = s.doc["spec"];
  const Value& duration = spec["leaseDurationSeconds"];
  if (!duration.is_null() && duration.as_int() <= 0)
    s.errors.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0");
  const Value& transitions = spec["leaseTransitions"];
  if (!transitions.is_null() && transitions.as_int() < 0)
    s.errors.invalid("spec.leaseTransitions", transitions, std::string(kNotNegative));
}

void check_priority_class(const Subject& s) {
  const std::string& name = s.doc["metadata"]["name"].as_string();
  std::int64_t value = s.doc["value"].as_int();
  if (name.starts_with("system-")) {
    if (name != "system-node-critical" && name != "system-cluster-critical")
      s.errors.forbidden("metadata.name",
                         "priority class names with 'system-' prefix are reserved for system use "
                         "only. error: " +
                             name + " is not a known system priority class");
  } else if (value > kMaxUserPriority) {
    s.errors.forbidden("value", "maximum allowed value of a user defined priority is 1000000000");
  }
  if (s.old && s.doc["value"] != s.before()["value"])
    s.errors.forbidden("value", "may not be changed in an update.");
}

// --- RBAC ---

void check_rule(FieldErrors& errors, const Path& here, const Value& rule, bool namespaced) {
  if (rule["verbs"].empty())
    errors.required(child(here, "verbs"), "verbs must contain at least one value");
  if (!rule["nonResourceURLs"].empty()) {
    if (namespaced)
      errors.invalid(child(here, "nonResourceURLs"), rule["nonResourceURLs"],
                     "namespaced rules cannot apply to non-resource URLs");
    else if (!rule["apiGroups"].empty() || !rule["resources"].empty() ||
             !rule["resourceNames"].empty())
      errors.invalid(child(here, "nonResourceURLs"), rule["nonResourceURLs"],
                     "rules cannot apply to both regular resources and non-resource URLs");
    return;
  }
  if (rule["apiGroups"].empty())
    errors.required(child(here, "apiGroups"), "resource rules must supply at least one api group");
  if (rule["resources"].empty())
    errors.required(child(here, "resources"), "resource rules must supply at least one resource");
}

void check_role(const Subject& s) {
  std::size_t index = 0;
  for (const Value& rule : s.doc["rules"].items())
    check_rule(s.errors, at("rules", index++), rule, s.resource.namespaced);
}

void check_subject(FieldErrors& errors, const Path& here, const Value& subject, bool namespaced) {
  const Value& name = subject["name"];
  const Value& group = subject["apiGroup"];
  if (name.as_string().empty()) errors.required(child(here, "name"));
  const std::string& kind = subject["kind"].as_string();
  if (kind == "ServiceAccount") {
    if (!name.as_string().empty())
      check_text(errors, child(here, "name"), name, dns1123_subdomain_errors);
    if (!group.as_string().empty()) errors.not_supported(child(here, "apiGroup"), group, {""});
    if (!namespaced && subject["namespace"].as_string().empty())
      errors.required(child(here, "namespace"));
  } else if (kind == "User" || kind == "Group") {
    if (group.as_string() != kRbac)
      errors.not_supported(child(here, "apiGroup"), group, {std::string(kRbac)});
  } else {
    errors.not_supported(child(here, "kind"), subject["kind"], {"ServiceAccount", "User", "Group"});
  }
}

void check_role_binding(const Subject& s) {
  const Value& ref = s.doc["roleRef"];
  if (ref["apiGroup"].as_string() != kRbac)
    s.errors.not_supported("roleRef.apiGroup", ref["apiGroup"], {std::string(kRbac)});
  const std::string& kind = ref["kind"].as_string();
  if (kind != "ClusterRole" && (kind != "Role" || !s.resource.namespaced)) {
    std::vector<std::string> allowed = {"ClusterRole"};
    if (s.resource.namespaced) allowed.insert(allowed.begin(), "Role");
    s.errors.not_supported("roleRef.kind", ref["kind"], std::move(allowed));
  }
  check_required_text(s.errors, "roleRef.name", ref["name"], path_segment_errors);
  std::size_t index = 0;
  for (const Value& subject : s.doc["subjects"].items())
    check_subject(s.errors, at("subjects", index++), subject, s.resource.namespaced);
  if (s.old && ref != s.before()["roleRef"])
    s.errors.invalid("roleRef", ref, "cannot change roleRef");
}

// --- policy and autoscaling ---

void check_budget_amount(FieldErrors& errors, const Path& path, const Value& v) {
  if (v.is_null()) return;
  if (v.is_string()) {
    Complaints bad = percent_errors(v.as_string());
    complain(errors, path, v, bad);
    if (bad.empty() && std::strtoll(v.as_string().c_str(), nullptr, 10) > 100)
      errors.invalid(path, v, "must not be greater than 100%");
  } else if (v.as_int() < 0) {
    errors.invalid(path, v, std::string(kNotNegative));
  }
}

void check_disruption_budget(const Subject& s) {
  const Value& spec = s.doc["spec"];
  if (!spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null())
    s.errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
  check_budget_amount(s.errors, "spec.minAvailable", spec["minAvailable"]);
  check_budget_amount(s.errors, "spec.maxUnavailable", spec["maxUnavailable"]);
}

void check_autoscaler(const Subject& s) {
  const Value& spec = s.doc["spec"];
  const Value& low = spec["minReplicas"];
  const Value& high = spec["maxReplicas"];
  if (!low.is_null() && low.as_int() < 1)
    s.errors.invalid("spec.minReplicas", low, "must be greater than or equal to 1");
  if (high.as_int() < 1) s.errors.invalid("spec.maxReplicas", high, "must be greater than 0");
  if (!low.is_null() && high.as_int() < low.as_int())
    s.errors.invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`");
  const Value& cpu = spec["targetCPUUtilizationPercentage"];
  if (!cpu.is_null() && cpu.as_int() < 1)
    s.errors.invalid("spec.targetCPUUtilizationPercentage", cpu, "must be greater than 0");
}

void check_runtime_class(const Subject& s) {
  const Value& scheduling = s.doc["scheduling"];
  validate_labels(s.errors, "scheduling.nodeSelector", scheduling["nodeSelector"]);
  validate_tolerations(s.errors, "scheduling.tolerations", scheduling["tolerations"]);
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.core.v1.Node", check_node},
    {"io.k8s.api.core.v1.Node", check_node_status, true},
    {"io.k8s.api.core.v1.Namespace", check_namespace},
    {"io.k8s.api.core.v1.Namespace", check_namespace_status, true},
    {"io.k8s.api.core.v1.Event", check_event},
    {"io.k8s.api.events.v1.Event", check_event},
    {"io.k8s.api.coordination.v1.Lease", check_lease},
    {"io.k8s.api.scheduling.v1.PriorityClass", check_priority_class},
    {"io.k8s.api.rbac.v1.Role", check_role},
    {"io.k8s.api.rbac.v1.ClusterRole", check_role},
    {"io.k8s.api.rbac.v1.RoleBinding", check_role_binding},
    {"io.k8s.api.rbac.v1.ClusterRoleBinding", check_role_binding},
    {"io.k8s.api.policy.v1.PodDisruptionBudget", check_disruption_budget},
    {"io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler", check_autoscaler},
    {"io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", check_autoscaler},
    {"io.k8s.api.node.v1.RuntimeClass", check_runtime_class},
};

}  // namespace

std::span<const KindRule> cluster_rules() { return kRules; }

}  // namespace skiff::api
