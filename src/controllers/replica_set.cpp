// ReplicaSet and ReplicationController: as many pods as asked for.
#include "replica_set.hpp"

#include "children.hpp"

namespace skiff::controllers {
namespace {

constexpr std::int64_t kBurst = 500;  // pods made or deleted at a time, as upstream

struct Flavor {
  const char* name;
  const char* kind;
  Ref ref;
  bool plain_selector;    // a map of labels, not a LabelSelector
  bool with_terminating;  // the status has terminatingReplicas
};

const Flavor kReplicaSet{"replicaset", "ReplicaSet", resources::kReplicaSets, false, true};
const Flavor kReplicationController{"replicationcontroller", "ReplicationController",
                                    resources::kReplicationControllers, true, false};

class ReplicaSetController final : public LoopController {
 public:
  ReplicaSetController(Context context, const Flavor& flavor)
      : LoopController(context),
        flavor_(flavor),
        owners_(informer(flavor.ref)),
        pods_(context, owners_, informer(resources::kPods), flavor.kind,
              [this](const api::Object& owner) { return selector_of(owner); }) {}

  std::string_view name() const override { return flavor_.name; }

  void watch(WorkQueue& queue) override {
    owners_.add_handler([&queue](const ObjectPtr& previous, const ObjectPtr& current) {
      queue.add((current ? current : previous)->key());
    });
    pods_.watch(queue);
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  Result<api::LabelSelector> selector_of(const api::Object& owner) const {
    const Value& selector = owner["spec"]["selector"];
    if (flavor_.plain_selector) return api::LabelSelector::from_map(selector);
    return api::LabelSelector::from(selector);
  }
  Task<Result<void>> manage(ObjectPtr owner, std::vector<ObjectPtr> active, Outcome* outcome,
                            ManageFailure* failure);
  Task<Result<void>> create_pods(ObjectPtr owner, std::int64_t count, Outcome* outcome,
                                 ManageFailure* failure);
  Task<Result<void>> delete_pods(ObjectPtr owner, std::vector<ObjectPtr> victims, Outcome* outcome,
                                 ManageFailure* failure);
  std::map<std::string, int> crowding(const api::Object& owner,
                                      std::span<const ObjectPtr> active) const;

  const Flavor& flavor_;
  Informer& owners_;
  Children pods_;
};

Task<Result<Outcome>> ReplicaSetController::reconcile(NamespacedName key) {
  const ObjectPtr owner = owners_.get(key);
  Outcome outcome;
  if (!owner) co_return outcome;
  SKIFF_CO_TRY(const api::LabelSelector selector, selector_of(*owner));
  std::vector<ObjectPtr> candidates;
  std::vector<ObjectPtr> terminating;
  for (ObjectPtr& pod : pods_.candidates(*owner)) {
    if (pod_active(pod->root())) {
      candidates.push_back(std::move(pod));
    } else if (pod_terminating(pod->root()) && controlled_by(pod->root(), owner->uid())) {
      terminating.push_back(std::move(pod));
    }
  }
  SKIFF_CO_TRY(const std::vector<ObjectPtr> active,
               co_await pods_.claim(owner, selector, std::move(candidates), &outcome));
  ManageFailure failure;
  if (!owner->deleting()) {
    const Result<void> managed = co_await manage(owner, active, &outcome, &failure);
    if (!managed) outcome.retry = managed.error();
  }
  const ReplicaCounts counts = count_replicas(owner->root(), active, terminating, now());
  outcome.again_after = counts.next_available;
  Value status = replica_status(owner->root(), counts, failure, flavor_.with_terminating, now());
  if (status == (*owner)["status"]) co_return outcome;
  const auto written = co_await update_status(flavor_.ref, owner, std::move(status));
  if (written) {
    outcome.wrote(owners_, **written);
  } else if (written.error().code != Code::not_found) {
    outcome.retry = written.error();
  }
  co_return outcome;
}

Task<Result<void>> ReplicaSetController::manage(ObjectPtr owner, std::vector<ObjectPtr> active,
                                                Outcome* outcome, ManageFailure* failure) {
  const std::int64_t wanted = (*owner)["spec"]["replicas"].as_int(1);
  const std::int64_t missing = wanted - static_cast<std::int64_t>(active.size());
  if (missing > 0) {
    co_return co_await create_pods(owner, std::min(missing, kBurst), outcome, failure);
  }
  if (missing < 0) {
    const auto count = static_cast<std::size_t>(std::min(-missing, kBurst));
    const std::map<std::string, int> crowded = crowding(*owner, active);
    std::vector<ObjectPtr> victims = choose_victims(std::move(active), count, crowded, now());
    co_return co_await delete_pods(owner, std::move(victims), outcome, failure);
  }
  co_return Result<void>{};
}

// How many active pods of this owner and its siblings (the other ReplicaSets of one Deployment) run
// on each node.
std::map<std::string, int> ReplicaSetController::crowding(const api::Object& owner,
                                                          std::span<const ObjectPtr> active) const {
  std::map<std::string, int> nodes;
  const auto count = [&](const ObjectPtr& pod) {
    const std::string& node = (*pod)["spec"]["nodeName"].as_string();
    if (!node.empty() && pod_active(pod->root())) ++nodes[node];
  };
  const Value* parent = api::controller_of(owner.root());
  if (parent == nullptr) {
    std::ranges::for_each(active, count);
    return nodes;
  }
  for (const ObjectPtr& sibling : owners_.in_namespace(owner.ns())) {
    if (!controlled_by(sibling->root(), (*parent)["uid"].as_string())) continue;
    std::ranges::for_each(pods_.of(*sibling), count);
  }
  return nodes;
}

Task<Result<void>> ReplicaSetController::create_pods(ObjectPtr owner, std::int64_t count,
                                                     Outcome* outcome, ManageFailure* failure) {
  std::vector<Write> writes(static_cast<std::size_t>(count));
  const Value pod = pod_from_template(*owner, (*owner)["spec"]["template"]);
  for (Write& write : writes) {
    write.ref = resources::kPods.in(owner->ns());
    write.object = pod;
  }
  const auto results = co_await context_.client->batch(std::move(writes));
  std::optional<Error> first;
  for (const auto& result : results) {
    if (result) {
      outcome->wrote(pods_.informer(), **result);
      event(*owner, "Normal", "SuccessfulCreate", "Created pod: " + (*result)->name());
    } else if (!first && !namespace_terminating(result.error())) {
      first = result.error();
      event(*owner, "Warning", "FailedCreate", "Error creating: " + first->message);
    }
  }
  if (!first) co_return Result<void>{};
  *failure = {"FailedCreate", first->message};
  co_return *first;
}

Task<Result<void>> ReplicaSetController::delete_pods(ObjectPtr owner,
                                                     std::vector<ObjectPtr> victims,
                                                     Outcome* outcome, ManageFailure* failure) {
  std::vector<Write> writes;
  for (const ObjectPtr& pod : victims) {
    Write write;
    write.type = Write::Type::remove;
    write.ref = resources::kPods.at(pod->key());
    write.delete_options.uid = pod->uid();
    writes.push_back(std::move(write));
  }
  const auto results = co_await context_.client->batch(std::move(writes));
  std::optional<Error> first;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::string& pod = victims[i]->name();
    if (results[i]) {
      outcome->removed(pods_.informer(), *victims[i]);
      event(*owner, "Normal", "SuccessfulDelete", "Deleted pod: " + pod);
    } else if (results[i].error().code != Code::not_found && !first) {
      first = results[i].error();
      event(*owner, "Warning", "FailedDelete",
            "Error deleting pod \"" + pod + "\": " + first->message);
    }
  }
  if (!first) co_return Result<void>{};
  *failure = {"FailedDelete", first->message};
  co_return *first;
}

}  // namespace

std::unique_ptr<Controller> make_replica_set(Context context, const Options&) {
  return std::make_unique<ReplicaSetController>(context, kReplicaSet);
}

std::unique_ptr<Controller> make_replication_controller(Context context, const Options&) {
  return std::make_unique<ReplicaSetController>(context, kReplicationController);
}

}  // namespace skiff::controllers
