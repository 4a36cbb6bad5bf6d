#include "node_plan.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kUnschedulable = "node.kubernetes.io/unschedulable";

// The NoSchedule taint that a condition with this status stands for.
struct ConditionTaint {
  const char* condition;
  const char* status;
  const char* taint;
};
constexpr ConditionTaint kConditionTaints[] = {
    {"Ready", "False", kNotReady},
    {"Ready", "Unknown", kUnreachable},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure"},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure"},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure"},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"},
};

// What a kubelet reports, and what is therefore unknown when it does not.
constexpr const char* kReported[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};

bool has_taint(const Value& taints, std::string_view key, std::string_view effect) {
  return std::ranges::any_of(taints.items(), [&](const Value& t) {
    return t["key"].as_string() == key && t["effect"].as_string() == effect;
  });
}

void put_taint(Value& taints, const char* key, const char* effect, bool wanted, WallTime now) {
  if (wanted == has_taint(taints, key, effect)) return;
  if (wanted) {
    taints.push_back(
        Value::object({{"key", key}, {"effect", effect}, {"timeAdded", format_time(now)}}));
    return;
  }
  std::erase_if(taints.mutable_items(), [&](const Value& t) {
    return t["key"].as_string() == key && t["effect"].as_string() == effect;
  });
}

}  // namespace

std::vector<std::string> node_of_pod(const api::Object& pod) {
  const std::string& node = pod["spec"]["nodeName"].as_string();
  if (node.empty()) return {};
  return {node};
}

std::string node_readiness(const Value& node) {
  return condition(node["status"], "Ready")["status"].as_string();
}

Value silent_status(const Value& node, WallTime now) {
  Value status = node["status"];
  for (const char* type : kReported) {
    const Value& present = condition(status, type);
    if (present["status"].as_string() == "Unknown") continue;
    Value next = make_condition(type, "Unknown",
                                present.is_null() ? "NodeStatusNeverUpdated" : "NodeStatusUnknown",
                                present.is_null() ? "Kubelet never posted node status."
                                                  : "Kubelet stopped posting node status.",
                                now);
    const Value& heartbeat = present["lastHeartbeatTime"];
    next.set("lastHeartbeatTime",
             heartbeat.is_null() ? node["metadata"]["creationTimestamp"] : heartbeat);
    set_condition(status, std::move(next));
  }
  return status;
}

bool wants_eviction_taint(const Value& node) {
  const std::string ready = node_readiness(node);
  if (ready != "False" && ready != "Unknown") return false;
  const char* key = ready == "False" ? kNotReady : kUnreachable;
  return !has_taint(node["spec"]["taints"], key, "NoExecute");
}

Value node_taints(const Value& node, bool evict, WallTime now) {
  Value taints = node["spec"]["taints"].is_array() ? node["spec"]["taints"] : Value::array();
  for (const ConditionTaint& c : kConditionTaints) {
    const bool wanted = condition(node["status"], c.condition)["status"].as_string() == c.status;
    put_taint(taints, c.taint, "NoSchedule", wanted, now);
  }
  put_taint(taints, kUnschedulable, "NoSchedule", node["spec"]["unschedulable"].as_bool(), now);
  const std::string ready = node_readiness(node);
  const bool marked =
      has_taint(taints, kNotReady, "NoExecute") || has_taint(taints, kUnreachable, "NoExecute");
  // A node that turns from not ready to unreachable keeps being evicted without a new permit.
  put_taint(taints, kNotReady, "NoExecute", (evict || marked) && ready == "False", now);
  put_taint(taints, kUnreachable, "NoExecute", (evict || marked) && ready == "Unknown", now);
  return taints;
}

ZoneState zone_state(std::size_t ready, std::size_t not_ready) {
  if (ready == 0 && not_ready > 0) return ZoneState::full;
  // Upstream's threshold: 55 percent of the zone, and more than two nodes.
  if (not_ready > 2 && not_ready * 100 >= (ready + not_ready) * 55) return ZoneState::partial;
  return ZoneState::normal;
}

bool tolerates(const Value& toleration, const Value& taint) {
  const std::string& effect = toleration["effect"].as_string();
  if (!effect.empty() && effect != taint["effect"].as_string()) return false;
  const std::string& key = toleration["key"].as_string();
  if (!key.empty() && key != taint["key"].as_string()) return false;
  const std::string& op = toleration["operator"].as_string();
  if (op == "Exists") return true;
  if (!op.empty() && op != "Equal") return false;
  return toleration["value"].as_string() == taint["value"].as_string();
}

std::optional<Eviction> plan_eviction(const Value& pod, const Value& taints) {
  bool any = false;
  std::optional<std::int64_t> seconds;
  for (const Value& taint : taints.items()) {
    if (taint["effect"].as_string() != "NoExecute") continue;
    any = true;
    const auto tolerations = pod["spec"]["tolerations"].items();
    const auto used =
        std::ranges::find_if(tolerations, [&](const Value& t) { return tolerates(t, taint); });
    if (used == tolerations.end()) return Eviction{};
    const Value& limit = (*used)["tolerationSeconds"];
    if (limit.is_null()) continue;
    const std::int64_t bounded = std::max<std::int64_t>(0, limit.as_int());
    seconds = std::min(seconds.value_or(bounded), bounded);
  }
  if (!any) return std::nullopt;
  if (!seconds) return Eviction{.never = true};
  return Eviction{.after = std::chrono::seconds(*seconds)};
}

Value disrupted_status(const Value& pod, std::string_view reason, std::string_view message,
                       bool failed, WallTime now) {
  Value status = pod["status"];
  if (failed && !pod_finished(pod)) status.set("phase", "Failed");
  if (!reason.empty()) {
    set_condition(status, make_condition("DisruptionTarget", "True", reason, message, now));
  }
  return status;
}

}  // namespace skiff::controllers
