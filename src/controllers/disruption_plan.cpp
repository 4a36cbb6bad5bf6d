#include "disruption_plan.hpp"

#include <map>

namespace skiff::controllers {
namespace {

// An eviction that was granted and did not happen is forgotten after this.
constexpr Duration kDeletionTimeout = 2min;

// Evictions that were granted and are still to show.
Value pending_evictions(const Value& budget, std::span<const ObjectPtr> pods, WallTime now,
                        std::optional<Duration>& look_again) {
  std::map<std::string, const ObjectPtr*> by_name;
  for (const ObjectPtr& pod : pods) by_name[pod->name()] = &pod;
  Value out;
  for (const api::Member& m : budget["status"]["disruptedPods"].members()) {
    const auto pod = by_name.find(m.name);
    const auto granted = time_of(m.value);
    if (pod == by_name.end() || (*pod->second)->deleting() || !granted) continue;
    const Duration left = *granted + kDeletionTimeout - now;
    if (left <= Duration{}) continue;
    out.set(m.name, m.value);
    look_again = std::min(look_again.value_or(left), left);
  }
  return out;
}

struct Goal {
  std::int64_t expected;
  std::int64_t healthy;
};

Goal goal_of(const Value& spec, std::int64_t pods, std::int64_t scale) {
  const Value& most = spec["maxUnavailable"];
  if (!most.is_null()) {
    const std::int64_t down = int_or_percent(most, scale, true, 0);
    return {scale, std::max<std::int64_t>(0, scale - down)};
  }
  const Value& least = spec["minAvailable"];
  if (least.is_string()) return {scale, int_or_percent(least, scale, true, 0)};
  return {pods, least.is_null() ? 1 : least.as_int()};
}

}  // namespace

bool needs_scale(const Value& budget) {
  const Value& spec = budget["spec"];
  return !spec["maxUnavailable"].is_null() || spec["minAvailable"].is_string();
}

BudgetPlan plan_budget(const Value& budget, std::span<const ObjectPtr> pods, std::int64_t scale,
                       WallTime now) {
  BudgetPlan plan;
  Value pending = pending_evictions(budget, pods, now, plan.look_again);
  const Goal goal = goal_of(budget["spec"], static_cast<std::int64_t>(pods.size()), scale);
  std::int64_t healthy = 0;
  for (const ObjectPtr& pod : pods) {
    if (pod_ready(pod->root()) && !pod->deleting() && !pending.has(pod->name())) ++healthy;
  }
  const std::int64_t allowed =
      goal.expected <= 0 ? 0 : std::max<std::int64_t>(0, healthy - goal.healthy);
  plan.status = budget["status"];
  if (plan.status.is_null()) plan.status = Value::object();
  plan.status.set("currentHealthy", healthy);
  plan.status.set("desiredHealthy", goal.healthy);
  plan.status.set("expectedPods", goal.expected);
  plan.status.set("disruptionsAllowed", allowed);
  plan.status.set("observedGeneration", budget["metadata"]["generation"].as_int());
  if (pending.empty()) {
    plan.status.erase("disruptedPods");
  } else {
    plan.status.set("disruptedPods", std::move(pending));
  }
  Value condition = make_condition("DisruptionAllowed", allowed > 0 ? "True" : "False",
                                   allowed > 0 ? "SufficientPods" : "InsufficientPods", "", now);
  condition.set("observedGeneration", budget["metadata"]["generation"]);
  const Value& present = controllers::condition(plan.status, "DisruptionAllowed");
  if (present["status"] == condition["status"] && present["reason"] == condition["reason"] &&
      present["observedGeneration"] == condition["observedGeneration"]) {
    return plan;  // the API may have dropped an empty message: not a change
  }
  set_condition(plan.status, std::move(condition));
  return plan;
}

}  // namespace skiff::controllers
