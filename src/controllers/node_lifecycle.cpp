// Node lifecycle: nodes whose kubelet has gone silent become Unknown, conditions become taints, and
// pods on nodes that are not ready stop being ready.
#include "controller.hpp"
#include "node_plan.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kLeaseNamespace = "kube-node-lease";
constexpr Duration kStartupGrace = 60s;        // for a node that never reported
constexpr Duration kEvictionPause = 10s;       // between two nodes of a zone: 0.1 a second
constexpr Duration kSlowEvictionPause = 100s;  // in a large zone that is failing
constexpr std::size_t kLargeZone = 50;

std::string zone_of(const api::Object& node) {
  const Value& labels = node.labels();
  return labels["topology.kubernetes.io/region"].as_string() + "/" +
         labels["topology.kubernetes.io/zone"].as_string();
}

// Anything new that a kubelet says about its node. It never says Unknown: that was us.
bool sign_of_life(const ObjectPtr& previous, const api::Object& current) {
  if (!previous) return true;
  return node_readiness(current.root()) != "Unknown" &&
         !((*previous)["status"]["conditions"] == current["status"]["conditions"]);
}

class NodeLifecycleController final : public LoopController {
 public:
  NodeLifecycleController(Context context, Duration grace)
      : LoopController(context),
        grace_(grace),
        nodes_(informer(resources::kNodes)),
        pods_(informer(resources::kPods)),
        leases_(informer(resources::kLeases.in(kLeaseNamespace))) {
    pods_.add_index(kPodsByNode, node_of_pod);
  }

  std::string_view name() const override { return "nodelifecycle"; }
  void watch(WorkQueue& queue) override;
  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  struct Health {
    TimePoint seen{};
    bool pods_marked = false;  // for the present spell of not being ready
  };
  struct Zone {
    std::size_t ready = 0;
    std::size_t not_ready = 0;
  };

  void node_changed(const ObjectPtr& previous, const ObjectPtr& current, WorkQueue& queue);
  std::optional<Duration> time_left(const api::Object& node, const Health& health) const;
  std::optional<Duration> eviction_delay(const api::Object& node);
  Task<Result<ObjectPtr>> silence(ObjectPtr node, Outcome* outcome);
  Task<Result<void>> mark_pods(ObjectPtr node);

  Duration grace_;
  Informer& nodes_;
  Informer& pods_;
  Informer& leases_;
  std::map<std::string, Health> health_;
  std::map<std::string, TimePoint> next_eviction_;  // by zone
};

void NodeLifecycleController::watch(WorkQueue& queue) {
  nodes_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
    node_changed(previous, current, queue);
  });
  // A renewed Lease only moves the deadline: the timer that is under way finds that out.
  leases_.add_handler([this](const ObjectPtr& previous, const ObjectPtr& current) {
    if (!current) return;
    if (previous && (*previous)["spec"]["renewTime"] == (*current)["spec"]["renewTime"]) return;
    const auto health = health_.find(current->name());
    if (health != health_.end()) health->second.seen = context_.env.clock->now();
  });
}

void NodeLifecycleController::node_changed(const ObjectPtr& previous, const ObjectPtr& current,
                                           WorkQueue& queue) {
  if (!current) {
    health_.erase(previous->name());
    event(*previous, "Normal", "RemovingNode",
          "Node " + previous->name() + " event: Removing Node " + previous->name() +
              " from Controller");
    return;
  }
  const auto [health, added] = health_.try_emplace(current->name());
  if (added || sign_of_life(previous, *current)) {
    health->second.seen = context_.env.clock->now();
  }
  if (added && !previous) {
    event(*current, "Normal", "RegisteredNode",
          "Node " + current->name() + " event: Registered Node " + current->name() +
              " in Controller");
  }
  queue.add(current->key());
  // Whether a zone may be evicted from depends on all of its nodes.
  if (previous && node_readiness(previous->root()) != node_readiness(current->root())) {
    for (const auto& [key, node] : nodes_.all()) {
      if (wants_eviction_taint(node->root())) queue.add(key);
    }
  }
}

// How long the node may still be silent; nothing when that time is over.
std::optional<Duration> NodeLifecycleController::time_left(const api::Object& node,
                                                           const Health& health) const {
  const Duration grace = node_readiness(node.root()).empty() ? kStartupGrace : grace_;
  const Duration left = health.seen + grace - context_.env.clock->now();
  if (left <= Duration{}) return std::nullopt;
  return left;
}

Task<Result<Outcome>> NodeLifecycleController::reconcile(NamespacedName key) {
  Outcome outcome;
  ObjectPtr node = nodes_.get(key);
  const auto health = health_.find(key.name);
  if (!node || health == health_.end()) co_return outcome;
  outcome.again_after = time_left(*node, health->second);
  if (!outcome.again_after) {
    SKIFF_CO_TRY(node, co_await silence(node, &outcome));
  }
  const std::string ready = node_readiness(node->root());
  const bool up = ready == "True" || ready.empty();
  // The node may have been removed while its status was written.
  const auto still = health_.find(key.name);
  if (still == health_.end()) co_return outcome;
  if (up) {
    still->second.pods_marked = false;
  } else if (!still->second.pods_marked) {
    SKIFF_CO_CHECK(co_await mark_pods(node));
    if (const auto again = health_.find(key.name); again != health_.end()) {
      again->second.pods_marked = true;
    }
  }
  bool evict = false;
  if (wants_eviction_taint(node->root())) {
    const std::optional<Duration> delay = eviction_delay(*node);
    evict = delay == Duration{};
    if (delay && !evict)
      outcome.again_after = std::min(outcome.again_after.value_or(*delay), *delay);
  }
  Value taints = node_taints(node->root(), evict, now());
  const Value& present = (*node)["spec"]["taints"];
  if (taints == present || (taints.empty() && present.empty())) co_return outcome;
  Value next = node->root();
  if (taints.empty()) {
    next.member("spec").erase("taints");
  } else {
    next.member("spec").set("taints", std::move(taints));
  }
  Ref at = resources::kNodes.at("", key.name);
  const auto written = co_await update(std::move(at), std::move(next));
  if (written) {
    outcome.wrote(nodes_, **written);
  } else if (written.error().code != Code::not_found) {
    outcome.retry = written.error();
  }
  co_return outcome;
}

Task<Result<ObjectPtr>> NodeLifecycleController::silence(ObjectPtr node, Outcome* outcome) {
  Value status = silent_status(node->root(), now());
  if (status == (*node)["status"]) co_return node;
  const auto written = co_await update_status(resources::kNodes, node, std::move(status));
  if (!written) co_return written.error();
  outcome->wrote(nodes_, **written);
  log::warn("controllers", "node has gone silent", {{"node", node->name()}});
  event(**written, "Normal", "NodeNotReady",
        "Node " + node->name() + " status is now: NodeNotReady");
  co_return *written;
}

Task<Result<void>> NodeLifecycleController::mark_pods(ObjectPtr node) {
  std::vector<Write> writes;
  for (const ObjectPtr& pod : pods_.by_index(kPodsByNode, node->name())) {
    if (!pod_ready(pod->root())) continue;
    Value next = pod->root();
    Value ready = condition(next["status"], "Ready");
    ready.set("status", "False");
    ready.set("lastTransitionTime", format_time(now()));
    set_condition(next.member("status"), std::move(ready));
    Write write;
    write.type = Write::Type::update;
    write.ref = resources::kPods.at(pod->key()).sub("status");
    write.object = std::move(next);
    writes.push_back(std::move(write));
    event(*pod, "Warning", "NodeNotReady", "Node is not ready");
  }
  if (writes.empty()) co_return Result<void>{};
  const auto results = co_await context_.client->batch(std::move(writes));
  for (const auto& result : results) {
    if (!result && result.error().code != Code::not_found) co_return result.error();
  }
  co_return Result<void>{};
}

// How long until this node may get its NoExecute taint; zero: now, and the permit is taken;
// nothing: not while its zone is in this state.
std::optional<Duration> NodeLifecycleController::eviction_delay(const api::Object& node) {
  std::map<std::string, Zone> zones;
  for (const auto& [key, other] : nodes_.all()) {
    Zone& zone = zones[zone_of(*other)];
    ++(node_readiness(other->root()) == "True" ? zone.ready : zone.not_ready);
  }
  // Where nothing at all is ready it is more likely us who are cut off.
  const bool blackout = std::ranges::all_of(zones, [](const auto& z) {
    return zone_state(z.second.ready, z.second.not_ready) == ZoneState::full;
  });
  if (blackout) return std::nullopt;
  const std::string name = zone_of(node);
  const Zone zone = zones[name];
  Duration pause = kEvictionPause;
  if (zone_state(zone.ready, zone.not_ready) == ZoneState::partial) {
    if (zone.ready + zone.not_ready <= kLargeZone) return std::nullopt;
    pause = kSlowEvictionPause;
  }
  TimePoint& next = next_eviction_[name];
  const TimePoint moment = context_.env.clock->now();
  if (next > moment) return next - moment;
  next = moment + pause;
  return Duration{};
}

}  // namespace

std::unique_ptr<Controller> make_node_lifecycle(Context context, const Options& options) {
  return std::make_unique<NodeLifecycleController>(context, options.node_grace);
}

}  // namespace skiff::controllers
