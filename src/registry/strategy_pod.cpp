// Pods: what the server owns of them, and what admission adds.
#include "errors.hpp"
#include "skiff/api/quantity.hpp"
#include "strategy.hpp"

namespace skiff::registry::pods {
namespace {

struct Usage {
  std::optional<api::Quantity> cpu;
  std::optional<api::Quantity> memory;
};

std::optional<api::Quantity> positive(const Value& v) {
  if (v.is_null()) return std::nullopt;
  const auto q = api::Quantity::parse(v.is_string() ? v.as_string() : api::to_json(v));
  if (!q || q->zero()) return std::nullopt;
  return *q;
}

Usage usage(const Value& resources) {
  return {positive(resources["cpu"]), positive(resources["memory"])};
}

// Guaranteed needs, for both resources, a limit and a request equal to it.
void judge(const Value& resources, bool& any, bool& guaranteed) {
  const Usage requests = usage(resources["requests"]);
  const Usage limits = usage(resources["limits"]);
  any = any || requests.cpu || requests.memory || limits.cpu || limits.memory;
  guaranteed = guaranteed && limits.cpu && limits.memory &&
               (!requests.cpu || requests.cpu == limits.cpu) &&
               (!requests.memory || requests.memory == limits.memory);
}

}  // namespace

std::string_view qos_class(const Value& pod) {
  const Value& spec = pod["spec"];
  bool any = false;
  bool guaranteed = true;
  if (!spec["resources"].empty()) {
    judge(spec["resources"], any, guaranteed);
  } else {
    for (const std::string_view list : {"containers", "initContainers"}) {
      for (const Value& c : spec[list].items()) judge(c["resources"], any, guaranteed);
    }
  }
  if (!any) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

Result<void> on_create(Call& call, Value& doc) {
  Value status = Value::object({{"phase", "Pending"}});
  if (!doc["spec"]["schedulingGates"].empty()) {
    Value gated = Value::object({{"type", "PodScheduled"},
                                 {"status", "False"},
                                 {"lastProbeTime", nullptr},
                                 {"lastTransitionTime", call.core.now()},
                                 {"reason", "SchedulingGated"},
                                 {"message",
                                  "Scheduling is blocked due to non-empty scheduling "
                                  "gates"}});
    status.set("conditions", Value::array({std::move(gated)}));
  }
  doc.set("status", std::move(status));
  return {};
}

Result<void> on_update(Call&, Value& doc, const Value&) {
  // The last gate is gone: the scheduler takes over the condition.
  if (!doc["spec"]["schedulingGates"].empty()) return {};
  Value* status = doc.find("status");
  Value* conditions = status ? status->find("conditions") : nullptr;
  if (!conditions) return {};
  for (Value& c : conditions->mutable_items()) {
    if (c["type"].as_string() == "PodScheduled" && c["reason"].as_string() == "SchedulingGated") {
      c.set("reason", "SchedulingGatesEliminated");
      c.erase("message");
    }
  }
  return {};
}

void on_status(Call&, Value& doc, const Value& old) {
  Value& metadata = doc.member("metadata");
  const Value& owners = old["metadata"]["ownerReferences"];
  if (owners.is_null()) {
    metadata.erase("ownerReferences");
  } else {
    metadata.set("ownerReferences", owners);
  }
  Value& status = doc.member("status");
  if (status["qosClass"].is_null() && !old["status"]["qosClass"].is_null()) {
    status.set("qosClass", old["status"]["qosClass"]);
  }
}

Result<void> admit(Call& call, Value& doc, const Value* old) {
  if (old) return {};
  SKIFF_CHECK(admission::limit_ranges(call, doc));
  SKIFF_CHECK(admission::service_account(call, doc));
  SKIFF_CHECK(admission::priority(call, doc));
  SKIFF_CHECK(admission::runtime_class(call, doc));
  admission::default_tolerations(doc);
  // The class depends on what the limit ranges added.
  doc.member("status").set("qosClass", qos_class(doc));
  return {};
}

std::int64_t grace(const Value& doc, std::optional<std::int64_t> asked) {
  const Value& spec = doc["spec"];
  const std::string& phase = doc["status"]["phase"].as_string();
  std::int64_t seconds = asked.value_or(spec["terminationGracePeriodSeconds"].as_int(0));
  if (spec["nodeName"].as_string().empty() || phase == "Failed" || phase == "Succeeded") {
    seconds = 0;
  }
  return seconds < 0 ? 1 : seconds;
}

}  // namespace skiff::registry::pods
