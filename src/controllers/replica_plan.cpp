#include <cmath>

#include "replica_set.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kDeletionCost = "controller.kubernetes.io/pod-deletion-cost";

// Ages by powers of two: -1 for none.
std::int64_t age_bucket(std::optional<WallTime> since, WallTime now) {
  if (!since) return -1;
  const Duration age = now - *since;
  if (age <= Duration{}) return -1;
  return static_cast<std::int64_t>(std::log2(static_cast<double>(age.count())));
}

std::int64_t restarts(const Value& pod) {
  std::int64_t most = 0;
  for (const Value& c : pod["status"]["containerStatuses"].items()) {
    most = std::max(most, c["restartCount"].as_int());
  }
  return most;
}

int phase_rank(const std::string& phase) {
  if (phase == "Pending" || phase.empty()) return 0;
  if (phase == "Unknown") return 1;
  return 2;
}

// Small goes first.
struct Rank {
  bool assigned;
  int phase;
  bool ready;
  std::int64_t cost;
  int crowd;  // negated
  std::int64_t ready_age;
  std::int64_t restarts;  // negated
  std::int64_t age;
  std::string uid;
  auto operator<=>(const Rank&) const = default;
};

Rank rank_of(const api::Object& pod, const std::map<std::string, int>& doubled, WallTime now) {
  const Value& root = pod.root();
  const std::string& node = root["spec"]["nodeName"].as_string();
  Rank rank{};
  rank.assigned = !node.empty();
  rank.phase = phase_rank(root["status"]["phase"].as_string());
  rank.ready = pod_ready(root);
  rank.cost = to_int(pod.annotations()[kDeletionCost].as_string()).value_or(0);
  const auto crowd = doubled.find(node);
  rank.crowd = crowd == doubled.end() ? 0 : -crowd->second;
  rank.ready_age = rank.ready ? age_bucket(pod_ready_since(root), now) : 0;
  rank.restarts = -restarts(root);
  rank.age = age_bucket(created_at(pod), now);
  rank.uid = pod.uid();
  return rank;
}

}  // namespace

std::vector<ObjectPtr> choose_victims(std::vector<ObjectPtr> active, std::size_t count,
                                      const std::map<std::string, int>& doubled, WallTime now) {
  if (count >= active.size()) return active;
  std::vector<std::pair<Rank, ObjectPtr>> ranked;
  ranked.reserve(active.size());
  for (ObjectPtr& pod : active) {
    Rank rank = rank_of(*pod, doubled, now);
    ranked.emplace_back(std::move(rank), std::move(pod));
  }
  std::ranges::sort(ranked, {}, [](const auto& r) -> const Rank& { return r.first; });
  std::vector<ObjectPtr> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(std::move(ranked[i].second));
  return out;
}

ReplicaCounts count_replicas(const Value& owner, std::span<const ObjectPtr> active,
                             std::span<const ObjectPtr> terminating, WallTime now) {
  const Value& wanted = owner["spec"]["template"]["metadata"]["labels"];
  const Duration min_ready = std::chrono::seconds(owner["spec"]["minReadySeconds"].as_int());
  ReplicaCounts counts;
  for (const ObjectPtr& pod : active) {
    ++counts.replicas;
    const bool labeled = std::ranges::all_of(wanted.members(), [&](const api::Member& m) {
      const Value* have = pod->labels().find(m.name);
      return have != nullptr && *have == m.value;
    });
    if (labeled) ++counts.fully_labeled;
    if (pod_ready(pod->root())) ++counts.ready;
    if (pod_available(pod->root(), min_ready, now, &counts.next_available)) ++counts.available;
  }
  counts.terminating = static_cast<std::int64_t>(terminating.size());
  return counts;
}

Value replica_status(const Value& owner, const ReplicaCounts& counts, const ManageFailure& failure,
                     bool with_terminating, WallTime now) {
  Value status = owner["status"];
  // Zero is written as the API's own encoding writes it: left out, except for `replicas`.
  const auto number = [&](const char* field, std::int64_t value) {
    if (value == 0) {
      status.erase(field);
    } else {
      status.set(field, value);
    }
  };
  status.set("replicas", counts.replicas);
  number("fullyLabeledReplicas", counts.fully_labeled);
  number("readyReplicas", counts.ready);
  number("availableReplicas", counts.available);
  if (with_terminating) status.set("terminatingReplicas", counts.terminating);
  const std::int64_t generation = owner["metadata"]["generation"].as_int();
  if (generation > status["observedGeneration"].as_int()) {
    status.set("observedGeneration", generation);
  }
  if (failure.reason.empty()) {
    erase_condition(status, "ReplicaFailure");
  } else if (condition(status, "ReplicaFailure").is_null()) {
    set_condition(status,
                  make_condition("ReplicaFailure", "True", failure.reason, failure.message, now));
  }
  return status;
}

Value pod_from_template(const api::Object& owner, const Value& pod_template) {
  Value meta = Value::object({{"generateName", owner.name() + "-"}, {"namespace", owner.ns()}});
  for (const char* field : {"labels", "annotations", "finalizers"}) {
    const Value& v = pod_template["metadata"][field];
    if (!v.empty()) meta.set(field, v);
  }
  meta.member("ownerReferences").push_back(controller_reference(owner));
  return Value::object({{"apiVersion", "v1"},
                        {"kind", "Pod"},
                        {"metadata", std::move(meta)},
                        {"spec", pod_template["spec"]}});
}

}  // namespace skiff::controllers
