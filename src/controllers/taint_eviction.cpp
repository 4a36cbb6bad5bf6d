// Taint-based eviction: pods leave nodes whose NoExecute taints they do not tolerate, at once or
// after tolerationSeconds.
#include "controller.hpp"
#include "node_plan.hpp"

namespace skiff::controllers {
namespace {

Value executing(const api::Object& node) {
  Value out = Value::array();
  for (const Value& taint : node["spec"]["taints"].items()) {
    if (taint["effect"].as_string() != "NoExecute") continue;
    Value plain = taint;
    plain.erase("timeAdded");
    out.push_back(std::move(plain));
  }
  return out;
}

class TaintEvictionController final : public LoopController {
 public:
  explicit TaintEvictionController(Context context)
      : LoopController(context),
        nodes_(informer(resources::kNodes)),
        pods_(informer(resources::kPods)) {
    pods_.add_index(kPodsByNode, node_of_pod);
  }

  std::string_view name() const override { return "taint-eviction"; }

  void watch(WorkQueue& queue) override {
    nodes_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      const Value before = previous ? executing(*previous) : Value::array();
      const Value after = current ? executing(*current) : Value::array();
      if (before == after) return;
      const std::string& node = (current ? current : previous)->name();
      for (const ObjectPtr& pod : pods_.by_index(kPodsByNode, node)) queue.add(pod->key());
    });
    pods_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      if (!current) {
        met_.erase(previous->key());
        return;
      }
      const bool same = previous &&
                        (*previous)["spec"]["nodeName"] == (*current)["spec"]["nodeName"] &&
                        (*previous)["spec"]["tolerations"] == (*current)["spec"]["tolerations"];
      const std::string& node = (*current)["spec"]["nodeName"].as_string();
      // Which node it is need not be known yet: the node's own appearance asks again.
      const ObjectPtr known = same || node.empty() ? nullptr : nodes_.get("", node);
      if (known && !executing(*known).empty()) queue.add(current->key());
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  Task<Result<Outcome>> evict(ObjectPtr pod);

  struct Met {
    std::string uid;
    TimePoint since;
  };

  Informer& nodes_;
  Informer& pods_;
  std::map<NamespacedName, Met> met_;  // since when a pod is on a node with such taints
};

Task<Result<Outcome>> TaintEvictionController::reconcile(NamespacedName key) {
  Outcome outcome;
  const ObjectPtr pod = pods_.get(key);
  const ObjectPtr node = pod ? nodes_.get("", (*pod)["spec"]["nodeName"].as_string()) : nullptr;
  std::optional<Eviction> plan;
  if (node && !pod->deleting()) plan = plan_eviction(pod->root(), (*node)["spec"]["taints"]);
  if (!plan || plan->never) {
    const bool was_waiting = met_.erase(key) > 0 && pod && !pod->deleting();
    if (was_waiting) {
      event(*pod, "Normal", "TaintManagerEviction",
            "Cancelling deletion of Pod " + key.to_string());
    }
    co_return outcome;
  }
  const TimePoint moment = context_.env.clock->now();
  Met& met = met_[key];
  if (met.uid != pod->uid()) met = {pod->uid(), moment};
  const Duration left = met.since + plan->after - moment;
  if (left > Duration{}) {
    outcome.again_after = left;
    co_return outcome;
  }
  auto evicted = co_await evict(pod);
  co_return evicted;
}

Task<Result<Outcome>> TaintEvictionController::evict(ObjectPtr pod) {
  Outcome outcome;
  event(*pod, "Normal", "TaintManagerEviction",
        "Marking for deletion Pod " + pod->key().to_string());
  Value status = disrupted_status(pod->root(), "DeletionByTaintManager",
                                  "Taint manager: deleting due to NoExecute taint", false, now());
  const auto marked = co_await update_status(resources::kPods, pod, std::move(status));
  if (!marked && marked.error().code != Code::not_found) co_return marked.error();
  const auto removed = co_await remove(resources::kPods, pod);
  if (!removed && removed.error().code != Code::not_found) co_return removed.error();
  outcome.removed(pods_, *pod);
  met_.erase(pod->key());
  co_return outcome;
}

}  // namespace

std::unique_ptr<Controller> make_taint_eviction(Context context, const Options&) {
  return std::make_unique<TaintEvictionController>(context);
}

}  // namespace skiff::controllers
