// Disruption: how many pods of a PodDisruptionBudget may be evicted right now, which the eviction
// subresource goes by.
#include "controller.hpp"
#include "disruption_plan.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::controllers {
namespace {

class DisruptionController final : public LoopController {
 public:
  explicit DisruptionController(Context context)
      : LoopController(context),
        budgets_(informer(resources::kPodDisruptionBudgets)),
        pods_(informer(resources::kPods)),
        replica_sets_(informer(resources::kReplicaSets)),
        deployments_(informer(resources::kDeployments)),
        replication_controllers_(informer(resources::kReplicationControllers)),
        stateful_sets_(informer(resources::kStatefulSets)) {}

  std::string_view name() const override { return "disruption"; }

  void watch(WorkQueue& queue) override {
    budgets_.add_handler([&queue](const ObjectPtr& previous, const ObjectPtr& current) {
      queue.add((current ? current : previous)->key());
    });
    pods_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      pod_changed(previous, current, queue);
    });
    // A budget in percent is of what the pods' owners want, not of what there is.
    for (Informer* owners :
         {&replica_sets_, &deployments_, &replication_controllers_, &stateful_sets_}) {
      owners->add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
        if (previous && current &&
            (*previous)["spec"]["replicas"] == (*current)["spec"]["replicas"]) {
          return;
        }
        for (const ObjectPtr& budget :
             budgets_.in_namespace((current ? current : previous)->ns())) {
          queue.add(budget->key());
        }
      });
    }
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  void pod_changed(const ObjectPtr& previous, const ObjectPtr& current, WorkQueue& queue) const;
  std::optional<std::int64_t> wanted_by(const std::string& ns, const Value& owner) const;
  std::int64_t expected_scale(std::span<const ObjectPtr> pods,
                              std::vector<std::string>* strays) const;

  Informer& budgets_;
  Informer& pods_;
  Informer& replica_sets_;
  Informer& deployments_;
  Informer& replication_controllers_;
  Informer& stateful_sets_;
};

void DisruptionController::pod_changed(const ObjectPtr& previous, const ObjectPtr& current,
                                       WorkQueue& queue) const {
  const api::Object& pod = current ? *current : *previous;
  for (const ObjectPtr& budget : budgets_.in_namespace(pod.ns())) {
    const auto selector = api::LabelSelector::from((*budget)["spec"]["selector"]);
    if (!selector) continue;
    const bool before = previous && selector->matches(previous->labels());
    const bool after = current && selector->matches(current->labels());
    if (before || after) queue.add(budget->key());
  }
}

// spec.replicas of the object that decides how many pods there are; nothing when it is not known.
std::optional<std::int64_t> DisruptionController::wanted_by(const std::string& ns,
                                                            const Value& owner) const {
  const std::string& kind = owner["kind"].as_string();
  const Informer* sets = nullptr;
  if (kind == "ReplicaSet") sets = &replica_sets_;
  if (kind == "ReplicationController") sets = &replication_controllers_;
  if (kind == "StatefulSet") sets = &stateful_sets_;
  if (kind == "Deployment") sets = &deployments_;
  const ObjectPtr found = sets == nullptr ? nullptr : sets->get(ns, owner["name"].as_string());
  if (!found || found->uid() != owner["uid"].as_string()) return std::nullopt;
  const Value* above = kind == "ReplicaSet" ? api::controller_of(found->root()) : nullptr;
  if (above != nullptr && (*above)["kind"].as_string() == "Deployment") {
    return wanted_by(ns, *above);
  }
  return (*found)["spec"]["replicas"].as_int(1);
}

// The sum over the distinct owners of `pods`. `strays`: pods that no known owner keeps.
std::int64_t DisruptionController::expected_scale(std::span<const ObjectPtr> pods,
                                                  std::vector<std::string>* strays) const {
  std::map<std::string, std::int64_t> by_owner;
  for (const ObjectPtr& pod : pods) {
    const Value* owner = api::controller_of(pod->root());
    // Both sets of a rollout lead to one Deployment, which counts once.
    if (owner != nullptr && (*owner)["kind"].as_string() == "ReplicaSet") {
      const ObjectPtr set = replica_sets_.get(pod->ns(), (*owner)["name"].as_string());
      const Value* above = set ? api::controller_of(set->root()) : nullptr;
      if (above != nullptr && (*above)["kind"].as_string() == "Deployment") owner = above;
    }
    const auto wanted = owner == nullptr ? std::nullopt : wanted_by(pod->ns(), *owner);
    if (wanted) {
      by_owner[(*owner)["uid"].as_string()] = *wanted;
    } else {
      strays->push_back(pod->name());
    }
  }
  std::int64_t sum = 0;
  for (const auto& [uid, wanted] : by_owner) sum += wanted;
  return sum;
}

Task<Result<Outcome>> DisruptionController::reconcile(NamespacedName key) {
  Outcome outcome;
  const ObjectPtr budget = budgets_.get(key);
  if (!budget || budget->deleting()) co_return outcome;
  SKIFF_CO_TRY(const api::LabelSelector selector,
               api::LabelSelector::from((*budget)["spec"]["selector"]));
  std::vector<ObjectPtr> selected;
  for (ObjectPtr& pod : pods_.in_namespace(key.ns)) {
    if (selector.matches(pod->labels())) selected.push_back(std::move(pod));
  }
  std::vector<std::string> strays;
  const std::int64_t scale = expected_scale(selected, &strays);
  if (selected.empty()) {
    event(*budget, "Normal", "NoPods", "No matching pods found");
  } else if (!strays.empty() && needs_scale(budget->root())) {
    event(*budget, "Warning", "UnmanagedPods",
          "Pods selected by this PodDisruptionBudget have no controller whose size is known and do "
          "not count, such as: " +
              strays.front());
  }
  BudgetPlan plan = plan_budget(budget->root(), selected, scale, now());
  outcome.again_after = plan.look_again;
  if (plan.status == (*budget)["status"]) co_return outcome;
  SKIFF_CO_TRY(const ObjectPtr written, co_await update_status(resources::kPodDisruptionBudgets,
                                                               budget, std::move(plan.status)));
  outcome.wrote(budgets_, *written);
  co_return outcome;
}

}  // namespace

std::unique_ptr<Controller> make_disruption(Context context, const Options&) {
  return std::make_unique<DisruptionController>(context);
}

}  // namespace skiff::controllers
