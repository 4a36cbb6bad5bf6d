// Deployment: rolls from one ReplicaSet to the next.
#include "deployment_plan.hpp"

#include "children.hpp"

namespace skiff::controllers {
namespace {

// One reconcile's state: what the cache shows, kept up to date with what is written on the way.
struct Work {
  ObjectPtr object;  // the Deployment as last read or written
  Rollout rollout;
  Outcome outcome;
};

class DeploymentController final : public LoopController {
 public:
  explicit DeploymentController(Context context)
      : LoopController(context),
        deployments_(informer(resources::kDeployments)),
        pods_(informer(resources::kPods)),
        sets_(
            context, deployments_, informer(resources::kReplicaSets), "Deployment",
            [](const api::Object& d) { return api::LabelSelector::from(d["spec"]["selector"]); }) {
    pods_.add_index(Children::kIndex, Children::index_keys);
  }

  std::string_view name() const override { return "deployment"; }
  void watch(WorkQueue& queue) override;
  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  void pod_changed(const ObjectPtr& previous, const ObjectPtr& current, WorkQueue& queue) const;
  Task<Result<void>> steer(Work* work, std::optional<Duration>* look_again);
  Task<Result<void>> roll(Work* work);
  Task<Result<void>> recreate(Work* work);
  Task<Result<void>> note_pause(Work* work);
  Task<Result<void>> sync_revision(Work* work, bool create_missing);
  Task<Result<void>> renew_set(Work* work, std::int64_t revision);
  Task<Result<void>> create_set(Work* work, std::int64_t revision);
  Task<Result<void>> collided(Work* work, Ref at, Value wanted, Error error);
  Task<Result<void>> set_revision(Work* work, std::string revision);
  Task<Result<void>> scale(Work* work, std::vector<Scale> plan);
  Task<Result<void>> clean_up(Work* work);
  Task<Result<void>> write_status(Work* work, Value status);
  bool old_pods_running(const Rollout& rollout) const;

  Informer& deployments_;
  Informer& pods_;
  Children sets_;
};

void DeploymentController::watch(WorkQueue& queue) {
  deployments_.add_handler([&queue](const ObjectPtr& previous, const ObjectPtr& current) {
    queue.add((current ? current : previous)->key());
  });
  sets_.watch(queue);
  pods_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
    pod_changed(previous, current, queue);
  });
}

// Recreate waits for the last old pod to be gone; nobody else needs to know of pods.
void DeploymentController::pod_changed(const ObjectPtr& previous, const ObjectPtr& current,
                                       WorkQueue& queue) const {
  if (current && !pod_finished(current->root())) return;
  const api::Object& pod = current ? *current : *previous;
  const Value* owner = api::controller_of(pod.root());
  if (owner == nullptr || (*owner)["kind"].as_string() != "ReplicaSet") return;
  const ObjectPtr set = sets_.informer().get(pod.ns(), (*owner)["name"].as_string());
  const Value* parent = set ? api::controller_of(set->root()) : nullptr;
  if (parent == nullptr) return;
  const ObjectPtr deployment = deployments_.get(pod.ns(), (*parent)["name"].as_string());
  if (deployment && (*deployment)["spec"]["strategy"]["type"].as_string() == "Recreate") {
    queue.add(deployment->key());
  }
}

Task<Result<Outcome>> DeploymentController::reconcile(NamespacedName key) {
  const ObjectPtr object = deployments_.get(key);
  if (!object) co_return Outcome{};
  SKIFF_CO_TRY(const api::LabelSelector selector,
               api::LabelSelector::from((*object)["spec"]["selector"]));
  Outcome claimed;
  if (selector.empty()) {
    event(*object, "Warning", "SelectingAll",
          "This deployment is selecting all pods. A non-empty selector is required.");
    co_return claimed;
  }
  std::vector<ObjectPtr> candidates = sets_.candidates(*object);
  SKIFF_CO_TRY(std::vector<ObjectPtr> mine,
               co_await sets_.claim(object, selector, std::move(candidates), &claimed));
  Work work{object, Rollout(object->root(), std::move(mine)), std::move(claimed)};
  std::optional<Duration> look_again;
  const Result<void> done = co_await steer(&work, &look_again);
  if (!done) work.outcome.retry = done.error();
  work.outcome.again_after = look_again;
  co_return std::move(work.outcome);
}

Task<Result<void>> DeploymentController::steer(Work* work, std::optional<Duration>* look_again) {
  const Rollout& r = work->rollout;
  if (work->object->deleting()) co_return co_await write_status(work, plan_status(r, now()));
  SKIFF_CO_CHECK(co_await note_pause(work));
  const bool scaling = scaling_event(r);
  if (r.paused() || scaling) {
    SKIFF_CO_CHECK(co_await sync_revision(work, false));
    SKIFF_CO_CHECK(co_await scale(work, plan_proportional(r)));
    if (r.paused()) SKIFF_CO_CHECK(co_await clean_up(work));
    co_return co_await write_status(work, plan_status(r, now()));
  }
  if (r.rolling()) {
    SKIFF_CO_CHECK(co_await roll(work));
  } else {
    SKIFF_CO_CHECK(co_await recreate(work));
  }
  co_return co_await write_status(work, plan_rollout_status(r, now(), look_again));
}

Task<Result<void>> DeploymentController::roll(Work* work) {
  SKIFF_CO_CHECK(co_await sync_revision(work, true));
  std::vector<Scale> plan = plan_rolling(work->rollout);
  if (!plan.empty()) co_return co_await scale(work, std::move(plan));
  if (complete(work->rollout, work->rollout.deployment["status"]))
    co_return co_await clean_up(work);
  co_return Result<void>{};
}

Task<Result<void>> DeploymentController::recreate(Work* work) {
  SKIFF_CO_CHECK(co_await sync_revision(work, false));
  std::vector<Scale> down = plan_recreate_down(work->rollout);
  if (!down.empty()) co_return co_await scale(work, std::move(down));
  if (old_pods_running(work->rollout)) co_return Result<void>{};
  if (!work->rollout.newest) SKIFF_CO_CHECK(co_await sync_revision(work, true));
  if (work->rollout.newest) {
    std::vector<Scale> up{{*work->rollout.newest, work->rollout.wanted()}};
    SKIFF_CO_CHECK(co_await scale(work, std::move(up)));
  }
  if (complete(work->rollout, work->rollout.deployment["status"]))
    co_return co_await clean_up(work);
  co_return Result<void>{};
}

bool DeploymentController::old_pods_running(const Rollout& r) const {
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (r.is_new(i)) continue;
    for (const ObjectPtr& pod : pods_.by_index(Children::kIndex, r.sets[i].object->uid())) {
      if (!pod_finished(pod->root())) return true;
    }
  }
  return false;
}

// A pause stops the progress deadline, and says so.
Task<Result<void>> DeploymentController::note_pause(Work* work) {
  Rollout& r = work->rollout;
  if (!r.has_deadline()) co_return Result<void>{};
  Value status = r.deployment["status"];
  const std::string reason = condition(status, "Progressing")["reason"].as_string();
  if (reason == "ProgressDeadlineExceeded") co_return Result<void>{};
  if (r.paused() && reason != "DeploymentPaused") {
    set_progress(status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused",
                 now());
  } else if (!r.paused() && reason == "DeploymentPaused") {
    set_progress(status, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed",
                 now());
  } else {
    co_return Result<void>{};
  }
  co_return co_await write_status(work, std::move(status));
}

// Gives the new set the next revision number and the Deployment's annotations, making it if need
// be.
Task<Result<void>> DeploymentController::sync_revision(Work* work, bool create_missing) {
  const Rollout& r = work->rollout;
  std::int64_t revision = 0;
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (!r.is_new(i)) revision = std::max(revision, revision_of_set(*r.sets[i].object));
  }
  ++revision;
  if (r.newest) co_return co_await renew_set(work, revision);
  if (create_missing) co_return co_await create_set(work, revision);
  co_return Result<void>{};
}

Task<Result<void>> DeploymentController::renew_set(Work* work, std::int64_t revision) {
  Rollout& r = work->rollout;
  SetView& set = r.sets[*r.newest];
  const Value annotations = new_set_annotations(r, set.object->annotations(), revision, true);
  const std::int64_t min_ready = r.deployment["spec"]["minReadySeconds"].as_int();
  const bool same_min_ready = (*set.object)["spec"]["minReadySeconds"].as_int() == min_ready;
  if (!(annotations == set.object->annotations()) || !same_min_ready) {
    Value next = set.object->root();
    next.member("metadata").set("annotations", annotations);
    next.member("spec").set("minReadySeconds", min_ready);
    Ref at = resources::kReplicaSets.at(set.object->key());
    SKIFF_CO_TRY(const ObjectPtr written, co_await update(at, std::move(next)));
    work->outcome.wrote(sets_.informer(), *written);
    set.object = written;
  }
  SKIFF_CO_CHECK(co_await set_revision(work, set.object->annotations()[kRevision].as_string()));
  if (r.has_deadline() && condition(r.deployment["status"], "Progressing").is_null()) {
    // Written together with the counts at the end of the reconcile.
    set_progress(r.deployment.member("status"), "Progressing", "True", "FoundNewReplicaSet",
                 "Found new replica set \"" + set.object->name() + "\"", now());
  }
  co_return Result<void>{};
}

// The number `kubectl rollout` shows, on the Deployment itself.
Task<Result<void>> DeploymentController::set_revision(Work* work, std::string revision) {
  if (work->object->annotations()[kRevision].as_string() == revision) co_return Result<void>{};
  Value patch;
  patch.member("metadata").set("uid", work->object->uid());
  patch.member("metadata").member("annotations").set(kRevision, revision);
  Ref at = resources::kDeployments.at(work->object->key());
  client::WriteOptions options;
  SKIFF_CO_TRY(const ObjectPtr written, co_await context_.client->patch(at, api::PatchType::merge,
                                                                        std::move(patch), options));
  work->outcome.wrote(deployments_, *written);
  work->object = written;
  work->rollout.deployment.set("metadata", written->metadata());
  co_return Result<void>{};
}

// The ReplicaSet for the Deployment's present template.
Value new_set(const Rollout& r, const api::Object& deployment, std::int64_t revision) {
  const Value& spec = r.deployment["spec"];
  std::optional<std::int64_t> collisions;
  if (const Value* count = r.deployment["status"].find("collisionCount")) {
    collisions = count->as_int();
  }
  const std::string hash = template_hash(spec["template"], collisions);
  Value pod_template = spec["template"];
  pod_template.member("metadata").member("labels").set(kHashLabel, hash);
  Value selector = spec["selector"];
  selector.member("matchLabels").set(kHashLabel, hash);
  Value meta = Value::object({{"name", deployment.name() + "-" + hash},
                              {"namespace", deployment.ns()},
                              {"labels", pod_template["metadata"]["labels"]},
                              {"annotations", new_set_annotations(r, Value(), revision, false)}});
  meta.member("ownerReferences").push_back(controller_reference(deployment));
  Value set_spec = Value::object({{"replicas", new_set_size(r, 0)},
                                  {"selector", std::move(selector)},
                                  {"template", std::move(pod_template)}});
  const std::int64_t min_ready = spec["minReadySeconds"].as_int();
  if (min_ready != 0) set_spec.set("minReadySeconds", min_ready);
  return Value::object({{"apiVersion", "apps/v1"},
                        {"kind", "ReplicaSet"},
                        {"metadata", std::move(meta)},
                        {"spec", std::move(set_spec)}});
}

Task<Result<void>> DeploymentController::create_set(Work* work, std::int64_t revision) {
  Rollout& r = work->rollout;
  Value wanted = new_set(r, *work->object, revision);
  const std::string set_name = wanted["metadata"]["name"].as_string();
  Ref in = resources::kReplicaSets.in(work->object->ns());
  auto created = co_await create(in, wanted);
  if (!created) {
    Error error = created.error();
    if (error.code == Code::already_exists) {
      Ref at = in.at(work->object->ns(), set_name);
      co_return co_await collided(work, std::move(at), std::move(wanted), std::move(error));
    }
    if (namespace_terminating(error)) co_return Result<void>{};
    const std::string message =
        "Failed to create new replica set \"" + set_name + "\": " + error.message;
    event(*work->object, "Warning", "ReplicaSetCreateError", message);
    if (r.has_deadline()) {
      Value status = r.deployment["status"];
      set_progress(status, "Progressing", "False", "ReplicaSetCreateError", message, now());
      SKIFF_CO_CHECK(co_await write_status(work, std::move(status)));
    }
    co_return error;
  }
  work->outcome.wrote(sets_.informer(), **created);
  const std::int64_t size = (**created)["spec"]["replicas"].as_int();
  if (size > 0) {
    event(*work->object, "Normal", "ScalingReplicaSet",
          "Scaled up replica set " + set_name + " from 0 to " + std::to_string(size));
  }
  r.newest = r.sets.size();
  r.sets.emplace_back(*created);
  SKIFF_CO_CHECK(co_await set_revision(work, std::to_string(revision)));
  if (r.has_deadline()) {
    set_progress(r.deployment.member("status"), "Progressing", "True", "NewReplicaSetCreated",
                 "Created new replica set \"" + set_name + "\"", now());
  }
  co_return Result<void>{};
}

// The name is taken: by our own set that the cache does not show yet, or by one whose template has
// the same hash; then the hash is salted with a count.
Task<Result<void>> DeploymentController::collided(Work* work, Ref at, Value wanted, Error error) {
  SKIFF_CO_TRY(const ObjectPtr taken, co_await context_.client->get(at));
  Rollout& r = work->rollout;
  if (controlled_by(taken->root(), work->object->uid()) &&
      same_template((*taken)["spec"]["template"], wanted["spec"]["template"])) {
    work->outcome.wrote(sets_.informer(), *taken);
    r.newest = r.sets.size();
    r.sets.emplace_back(taken);
    co_return Result<void>{};
  }
  Value status = r.deployment["status"];
  status.set("collisionCount", status["collisionCount"].as_int() + 1);
  SKIFF_CO_CHECK(co_await write_status(work, std::move(status)));
  co_return error;
}

Task<Result<void>> DeploymentController::scale(Work* work, std::vector<Scale> plan) {
  Rollout& r = work->rollout;
  const std::string desired = std::to_string(r.wanted());
  const std::string most = std::to_string(r.wanted() + r.max_surge());
  std::vector<Write> writes;
  std::vector<Scale> written;
  for (const Scale& change : plan) {
    const SetView& set = r.sets[change.set];
    const Value& annotations = set.object->annotations();
    if (set.replicas == change.to && annotations[kDesiredReplicas].as_string() == desired &&
        annotations[kMaxReplicas].as_string() == most) {
      continue;
    }
    Write write;
    write.type = Write::Type::update;
    write.ref = resources::kReplicaSets.at(set.object->key());
    write.object = set.object->root();
    write.object.member("spec").set("replicas", change.to);
    Value& noted = write.object.member("metadata").member("annotations");
    noted.set(kDesiredReplicas, desired);
    noted.set(kMaxReplicas, most);
    writes.push_back(std::move(write));
    written.push_back(change);
  }
  if (writes.empty()) co_return Result<void>{};
  const auto results = co_await context_.client->batch(std::move(writes));
  std::optional<Error> failure;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) {
      failure = results[i].error();
      continue;
    }
    SetView& set = r.sets[written[i].set];
    const std::int64_t before = std::exchange(set.replicas, written[i].to);
    set.object = *results[i];
    work->outcome.wrote(sets_.informer(), *set.object);
    if (before == set.replicas) continue;
    event(*work->object, "Normal", "ScalingReplicaSet",
          std::string("Scaled ") + (before < set.replicas ? "up" : "down") + " replica set " +
              set.object->name() + " from " + std::to_string(before) + " to " +
              std::to_string(set.replicas));
  }
  if (failure) co_return *failure;
  co_return Result<void>{};
}

Task<Result<void>> DeploymentController::clean_up(Work* work) {
  const std::vector<ObjectPtr> excess = plan_cleanup(work->rollout);
  for (const ObjectPtr& set : excess) {
    const auto removed = co_await remove(resources::kReplicaSets, set);
    if (!removed && removed.error().code != Code::not_found) co_return removed.error();
    work->outcome.removed(sets_.informer(), *set);
  }
  co_return Result<void>{};
}

Task<Result<void>> DeploymentController::write_status(Work* work, Value status) {
  if (status == (*work->object)["status"]) co_return Result<void>{};
  SKIFF_CO_TRY(const ObjectPtr written,
               co_await update_status(resources::kDeployments, work->object, std::move(status)));
  work->outcome.wrote(deployments_, *written);
  work->object = written;
  work->rollout.deployment = written->root();
  co_return Result<void>{};
}

}  // namespace

std::unique_ptr<Controller> make_deployment(Context context, const Options&) {
  return std::make_unique<DeploymentController>(context);
}

}  // namespace skiff::controllers
