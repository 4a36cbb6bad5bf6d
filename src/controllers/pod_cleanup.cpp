// Pod cleanup: removes pods that nobody else will. Finished ones beyond a limit, those of nodes
// that are gone, those deleted before they had a node, and those stuck on a node declared out of
// service.
#include "controller.hpp"
#include "node_plan.hpp"

namespace skiff::controllers {
namespace {

// A node may be deleted and come back under its name, as on a reinstallation.
constexpr Duration kQuarantine = 40s;
const NamespacedName kFinished{"", "finished pods"};

bool out_of_service(const api::Object& node) {
  return node_readiness(node.root()) != "True" &&
         std::ranges::any_of(node["spec"]["taints"].items(),
                             [](const Value& t) { return t["key"].as_string() == kOutOfService; });
}

class PodCleanupController final : public LoopController {
 public:
  PodCleanupController(Context context, std::size_t limit)
      : LoopController(context),
        limit_(limit),
        nodes_(informer(resources::kNodes)),
        pods_(informer(resources::kPods)) {
    pods_.add_index(kPodsByNode, node_of_pod);
  }

  std::string_view name() const override { return "podgc"; }

  void watch(WorkQueue& queue) override {
    pods_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      pod_changed(previous, current, queue);
    });
    nodes_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      const bool gone = !current;
      if (!gone && !out_of_service(*current)) return;
      const std::string& node = (gone ? previous : current)->name();
      for (const ObjectPtr& pod : pods_.by_index(kPodsByNode, node)) {
        queue.add_after(pod->key(), gone ? kQuarantine : Duration{});
      }
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  void pod_changed(const ObjectPtr& previous, const ObjectPtr& current, WorkQueue& queue);
  Task<Result<Outcome>> trim();
  Task<Result<bool>> node_gone(std::string node);
  Task<Result<Outcome>> force(ObjectPtr pod, std::string reason, std::string message);

  std::size_t limit_;
  Informer& nodes_;
  Informer& pods_;
  std::size_t finished_ = 0;
};

void PodCleanupController::pod_changed(const ObjectPtr& previous, const ObjectPtr& current,
                                       WorkQueue& queue) {
  if (previous && pod_finished(previous->root())) --finished_;
  if (!current) return;
  if (pod_finished(current->root())) ++finished_;
  if (limit_ > 0 && finished_ > limit_) queue.add(kFinished);
  const std::string& node = (*current)["spec"]["nodeName"].as_string();
  if (node.empty()) {
    if (current->deleting()) queue.add(current->key());
    return;
  }
  const ObjectPtr known = nodes_.get("", node);
  if (!known) {
    queue.add_after(current->key(), kQuarantine);
  } else if (current->deleting() && out_of_service(*known)) {
    queue.add(current->key());
  }
}

Task<Result<Outcome>> PodCleanupController::reconcile(NamespacedName key) {
  if (key == kFinished) {
    auto trimmed = co_await trim();
    co_return trimmed;
  }
  const ObjectPtr pod = pods_.get(key);
  if (!pod) co_return Outcome{};
  const std::string node = (*pod)["spec"]["nodeName"].as_string();
  std::string reason;
  std::string message;
  bool doomed = false;
  if (node.empty()) {
    doomed = pod->deleting();
  } else if (const ObjectPtr known = nodes_.get("", node)) {
    doomed = pod->deleting() && out_of_service(*known);
  } else {
    // The cache may be behind: nothing is killed on its word alone.
    SKIFF_CO_TRY(doomed, co_await node_gone(node));
    reason = "DeletionByPodGC";
    message = "PodGC: node no longer exists";
  }
  if (!doomed) co_return Outcome{};
  auto done = co_await force(pod, std::move(reason), std::move(message));
  co_return done;
}

Task<Result<bool>> PodCleanupController::node_gone(std::string node) {
  Ref at = resources::kNodes.at("", node);
  const auto found = co_await context_.client->get(std::move(at));
  if (found) co_return false;
  if (found.error().code == Code::not_found) co_return true;
  co_return found.error();
}

// There is no kubelet to confirm the pod's end: it is declared over and deleted.
Task<Result<Outcome>> PodCleanupController::force(ObjectPtr pod, std::string reason,
                                                  std::string message) {
  Outcome outcome;
  Value status = disrupted_status(pod->root(), reason, message, true, now());
  if (!(status == (*pod)["status"])) {
    const auto marked = co_await update_status(resources::kPods, pod, std::move(status));
    if (!marked && marked.error().code != Code::not_found) co_return marked.error();
  }
  client::DeleteOptions options;
  options.grace_period_seconds = 0;
  options.uid = pod->uid();
  Ref at = resources::kPods.at(pod->key());
  const auto removed = co_await context_.client->remove(std::move(at), std::move(options));
  if (!removed && removed.error().code != Code::not_found) co_return removed.error();
  outcome.removed(pods_, *pod);
  co_return outcome;
}

// Deletes the oldest finished pods until `limit_` are left.
Task<Result<Outcome>> PodCleanupController::trim() {
  Outcome outcome;
  std::vector<ObjectPtr> finished;
  for (const auto& [key, pod] : pods_.all()) {
    if (pod_finished(pod->root()) && !pod->deleting()) finished.push_back(pod);
  }
  if (limit_ == 0 || finished.size() <= limit_) co_return outcome;
  std::ranges::stable_sort(finished, {}, [](const ObjectPtr& p) { return created_at(*p); });
  finished.resize(finished.size() - limit_);
  std::vector<Write> writes;
  for (const ObjectPtr& pod : finished) {
    Write write;
    write.type = Write::Type::remove;
    write.ref = resources::kPods.at(pod->key());
    write.delete_options.uid = pod->uid();
    write.delete_options.grace_period_seconds = 0;
    writes.push_back(std::move(write));
  }
  const auto results = co_await context_.client->batch(std::move(writes));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i]) {
      outcome.removed(pods_, *finished[i]);
    } else if (results[i].error().code != Code::not_found) {
      outcome.retry = results[i].error();
    }
  }
  co_return outcome;
}

}  // namespace

std::unique_ptr<Controller> make_pod_cleanup(Context context, const Options& options) {
  return std::make_unique<PodCleanupController>(context, options.terminated_pods);
}

}  // namespace skiff::controllers
