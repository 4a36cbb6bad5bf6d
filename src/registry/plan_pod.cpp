// Subresources that are requests rather than parts: binding and eviction.
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "plan.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::registry {
namespace {

constexpr int kRetrySeconds = 10;
constexpr std::size_t kMaxDisruptedPods = 2000;
constexpr std::string_view kWouldViolate =
    "Cannot evict pod as it would violate the pod's disruption budget.";

const api::Resource& pods_resource() {
  static const api::Resource* found = api::find_resource("", "v1", "pods");
  return *found;
}

// Sets a condition of `doc`, leaving others as they are.
void set_condition(Value& doc, std::string_view type, std::string_view reason,
                   std::string_view message, const std::string& now) {
  Value fresh = Value::object({{"type", type}, {"status", "True"}, {"lastTransitionTime", now}});
  if (!reason.empty()) fresh.set("reason", reason);
  if (!message.empty()) fresh.set("message", message);
  Value& conditions = doc.member("status").member("conditions");
  for (Value& c : conditions.mutable_items()) {
    if (c["type"].as_string() != type) continue;
    if (c["status"].as_string() == "True") {
      fresh.set("lastTransitionTime", c["lastTransitionTime"]);
    }
    c = std::move(fresh);
    return;
  }
  conditions.push_back(std::move(fresh));
}

Error cannot_bind(const std::string& pod, std::string why) {
  Error e = errors::conflict(pods_resource(), pod, why);
  e.message = "Operation cannot be fulfilled on pods/binding \"" + pod + "\": " + why;
  return e;
}

Error too_many(std::string_view cause) {
  auto details = std::make_shared<ErrorDetails>();
  details->retry_after_seconds = kRetrySeconds;
  details->causes.push_back({"DisruptionBudget", std::string(cause), ""});
  return {Code::too_many_requests, std::string(kWouldViolate), std::move(details)};
}

Result<ItemPtr> find_pod(const Core& core, const Target& target, const std::string& name) {
  ItemPtr item = core.find("", "pods", target.ns, name);
  if (!item) return errors::not_found(pods_resource(), name);
  return item;
}

bool is_ready(const Value& pod) {
  for (const Value& c : pod["status"]["conditions"].items()) {
    if (c["type"].as_string() == "Ready") return c["status"].as_string() == "True";
  }
  return false;
}

// Whether the budget lets this Pod go without being charged for it.
bool is_free(const Value& budget, const Value& pod) {
  const std::string& phase = pod["status"]["phase"].as_string();
  if (phase == "Succeeded" || phase == "Failed" || phase == "Pending") return true;
  if (!pod["metadata"]["deletionTimestamp"].is_null()) return true;
  if (is_ready(pod)) return false;
  if (budget["spec"]["unhealthyPodEvictionPolicy"].as_string() == "AlwaysAllow") return true;
  const std::int64_t desired = budget["status"]["desiredHealthy"].as_int();
  return desired > 0 && budget["status"]["currentHealthy"].as_int() >= desired;
}

// Takes one disruption from the budget.
Result<void> charge(Core& core, const ItemPtr& item, const std::string& pod, Plan& plan) {
  Value budget = object_of(item)->root();
  const std::string name = budget["metadata"]["name"].as_string();
  Value& status = budget.member("status");
  if (status["observedGeneration"].as_int() < budget["metadata"]["generation"].as_int()) {
    return too_many("The disruption budget " + name + " is still being processed by the server.");
  }
  const std::int64_t allowed = status["disruptionsAllowed"].as_int();
  if (allowed < 0) {
    return errors::forbidden(pods_resource(), pod, "pdb disruptions allowed is negative");
  }
  if (status["disruptedPods"].size() > kMaxDisruptedPods) {
    return errors::forbidden(pods_resource(), pod,
                             "DisruptedPods map too big - too many evictions not confirmed by "
                             "PDB controller");
  }
  if (allowed == 0) {
    return too_many("The disruption budget " + name + " needs " +
                    std::to_string(status["desiredHealthy"].as_int()) + " healthy pods and has " +
                    std::to_string(status["currentHealthy"].as_int()) + " currently");
  }
  status.set("disruptionsAllowed", allowed - 1);
  status.member("disruptedPods").set(pod, core.now());
  static const api::Resource* budgets = api::find_resource("policy", "v1", "poddisruptionbudgets");
  plan.ops.push_back(put_op(*budgets, item->key, budget, item->modified));
  return {};
}

// Charges the one budget that covers the Pod, if any does.
Result<void> ask_budgets(Core& core, const Value& pod, const std::string& ns, Plan& plan) {
  std::vector<ItemPtr> covering;
  for (const ItemPtr& item : core.all("policy", "poddisruptionbudgets", ns)) {
    const ObjectPtr budget = object_of(item);
    const auto selector = api::LabelSelector::from((*budget)["spec"]["selector"]);
    if (selector && selector->matches(pod["metadata"]["labels"])) covering.push_back(item);
  }
  if (covering.size() > 1) {
    return Error{Code::internal,
                 "This pod has more than one PodDisruptionBudget, which the eviction subresource "
                 "does not support."};
  }
  if (covering.empty()) return {};
  const ObjectPtr budget = object_of(covering.front());
  if (is_free(budget->root(), pod)) return {};
  return charge(core, covering.front(), pod["metadata"]["name"].as_string(), plan);
}

}  // namespace

Result<void> plan_binding(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  const Target& target = write.target;
  const Value& binding = write.document;
  const std::string name = target.name.empty() || target.resource->plural == "bindings"
                               ? binding["metadata"]["name"].as_string()
                               : target.name;
  if (const std::string& given = binding["metadata"]["name"].as_string();
      !given.empty() && given != name) {
    return errors::bad_request("the name of the object (" + given +
                               ") does not match the name on the URL (" + name + ")");
  }
  const std::string& kind = binding["target"]["kind"].as_string();
  const std::string& node = binding["target"]["name"].as_string();
  api::FieldErrors problems;
  if (!kind.empty() && kind != "Node") problems.not_supported("target.kind", kind, {"Node"});
  if (node.empty()) problems.required("target.name");
  if (!problems.empty()) return problems.to_error("", "Binding", name);

  SKIFF_TRY(const ItemPtr item, find_pod(core, target, name));
  Value doc = object_of(item)->root();
  const std::string& uid = binding["metadata"]["uid"].as_string();
  if (!uid.empty() && uid != doc["metadata"]["uid"].as_string()) {
    return cannot_bind(name, "Precondition failed: UID in precondition: " + uid +
                                 ", UID in object meta: " + doc["metadata"]["uid"].as_string());
  }
  if (!doc["metadata"]["deletionTimestamp"].is_null()) {
    return cannot_bind(name, "pod " + name + " is being deleted, cannot be assigned to a host");
  }
  Value& spec = doc.member("spec");
  if (const std::string& taken = spec["nodeName"].as_string(); !taken.empty()) {
    return cannot_bind(name, "pod " + name + " is already assigned to node \"" + taken + "\"");
  }
  if (!spec["schedulingGates"].empty()) {
    return cannot_bind(name, "pod " + name + " has non-empty .spec.schedulingGates");
  }
  spec.set("nodeName", node);
  Value& metadata = doc.member("metadata");
  for (const std::string_view map : {"annotations", "labels"}) {
    for (const api::Member& m : binding["metadata"][map].members()) {
      metadata.member(map).set(m.name, m.value);
    }
  }
  doc.member("status").erase("nominatedNodeName");
  set_condition(doc, "PodScheduled", "", "", core.now());
  plan.ops.push_back(put_op(pods_resource(), item->key, doc, item->modified));
  plan.created = true;
  plan.render = success_status;
  (void)context;
  return {};
}

Result<void> plan_eviction(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  Target pod_target = write.target;
  const std::string& name = write.target.name;
  const std::string& given = write.document["metadata"]["name"].as_string();
  if (!given.empty() && given != name) {
    return errors::bad_request("name in URL does not match name in Eviction object");
  }
  SKIFF_TRY(const ItemPtr item, find_pod(core, write.target, name));
  SKIFF_TRY(DeleteOptions options, parse_delete_options(write.document["deleteOptions"]));
  Value doc = object_of(item)->root();
  Plan charges;
  SKIFF_CHECK(ask_budgets(core, doc, write.target.ns, charges));
  const std::string& phase = doc["status"]["phase"].as_string();
  if (phase != "Succeeded" && phase != "Failed") {
    set_condition(doc, "DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting",
                  core.now());
  }
  pod_target.subresource.clear();
  Call call{core, pod_target, pods_resource(), context, plan.reservations};
  SKIFF_CHECK(plan_deletion(call, item, std::move(doc), options, plan));
  for (store::Op& op : charges.ops) plan.ops.push_back(std::move(op));
  plan.created = true;
  plan.render = success_status;
  if (plan.answer) plan.answer = success_status(write.target, item);
  return {};
}

}  // namespace skiff::registry
