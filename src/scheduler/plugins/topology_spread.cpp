// PodTopologySpread: KEP-895, KEP-3022 (minDomains), KEP-3094 (inclusion policies).
#include <cmath>
#include <unordered_map>

#include "plugins.hpp"

namespace skiff::scheduler::plugins {
namespace {

constexpr const char* kZone = "topology.kubernetes.io/zone";

// Matching pods per domain (value of the topology key) for one constraint.
struct Counted {
  const SpreadConstraint* constraint = nullptr;
  std::unordered_map<std::string, std::int64_t> domains;
  std::int64_t minimum = 0;
  bool self_match = false;
};

struct SpreadState final : PluginState {
  std::vector<Counted> hard;
  std::vector<Counted> soft;
  // Pods without constraints: pods of the same controller per node and per zone.
  std::string controller_uid;
  std::unordered_map<std::string, std::int64_t> zone_siblings;
};

bool counts_node(const SpreadConstraint& c, const PodInfo& pod, const NodeInfo& node) {
  if (c.honor_affinity && !pod.matches_node_affinity(node.labels, node.name)) return false;
  if (!c.honor_taints) return true;
  return std::none_of(node.taints.begin(), node.taints.end(), [&](const Taint& t) {
    return (t.effect == "NoSchedule" || t.effect == "NoExecute") && !pod.tolerates(t);
  });
}

std::int64_t matching_pods(const SpreadConstraint& c, const PodInfo& pod, const NodeInfo& node) {
  return std::count_if(node.pods.begin(), node.pods.end(), [&](const PodInfoPtr& other) {
    return !other->deleting && other->key.ns == pod.key.ns && c.selector.matches(other->labels);
  });
}

// Nodes that lack the label of any constraint of that strength are no domain of the others either.
bool has_all_keys(const PodInfo& pod, bool hard, const NodeInfo& node) {
  return std::all_of(pod.spread.begin(), pod.spread.end(), [&](const SpreadConstraint& c) {
    return c.hard != hard || node.label(c.topology_key) != nullptr;
  });
}

Counted count(const SpreadConstraint& c, const PodInfo& pod, const Snapshot& snapshot) {
  Counted out;
  out.constraint = &c;
  out.self_match = c.selector.matches(pod.labels);
  for (const NodeInfo* node : snapshot.nodes()) {
    const std::string* domain = node->label(c.topology_key);
    if (!has_all_keys(pod, c.hard, *node) || !counts_node(c, pod, *node)) continue;
    out.domains[*domain] += matching_pods(c, pod, *node);
  }
  if (static_cast<std::int64_t>(out.domains.size()) >= c.min_domains) {
    out.minimum = INT64_MAX;
    for (const auto& [domain, n] : out.domains) out.minimum = std::min(out.minimum, n);
    if (out.domains.empty()) out.minimum = 0;
  }
  return out;
}

std::int64_t siblings_on(const NodeInfo& node, const std::string& controller_uid) {
  return std::count_if(node.pods.begin(), node.pods.end(), [&](const PodInfoPtr& other) {
    return !other->deleting && other->controller_uid == controller_uid;
  });
}

}  // namespace

void PodTopologySpread::prepare(CycleState& state, const PodInfo& pod,
                                const Snapshot& snapshot) const {
  auto spread = std::make_unique<SpreadState>();
  for (const SpreadConstraint& c : pod.spread) {
    (c.hard ? spread->hard : spread->soft).push_back(count(c, pod, snapshot));
  }
  if (pod.spread.empty() && !pod.controller_uid.empty()) {
    spread->controller_uid = pod.controller_uid;
    for (const NodeInfo* node : snapshot.nodes()) {
      if (const std::string* zone = node->label(kZone)) {
        spread->zone_siblings[*zone] += siblings_on(*node, pod.controller_uid);
      }
    }
  }
  state.set(slot_, std::move(spread));
}

Verdict PodTopologySpread::filter(const CycleState& state, const PodInfo&,
                                  const NodeInfo& node) const {
  for (const Counted& counted : state.get<SpreadState>(slot_)->hard) {
    const std::string* domain = node.label(counted.constraint->topology_key);
    if (domain == nullptr) {
      return Verdict::no(
          "node(s) didn't match pod topology spread constraints (missing required label)");
    }
    const auto it = counted.domains.find(*domain);
    const std::int64_t here = it != counted.domains.end() ? it->second : 0;
    if (here + (counted.self_match ? 1 : 0) - counted.minimum > counted.constraint->max_skew) {
      return Verdict::no("node(s) didn't match pod topology spread constraints");
    }
  }
  return Verdict::yes();
}

// Lower is better here; normalize() turns it round.
std::int64_t PodTopologySpread::score(const CycleState& state, const PodInfo&,
                                      const NodeInfo& node) const {
  const auto* spread = state.get<SpreadState>(slot_);
  double sum = 0;
  for (const Counted& counted : spread->soft) {
    const std::string* domain = node.label(counted.constraint->topology_key);
    if (domain == nullptr) return INT64_MAX;
    const auto it = counted.domains.find(*domain);
    const auto here = static_cast<double>(it != counted.domains.end() ? it->second : 0);
    // A constraint over few domains weighs less than one over many.
    const double weight = std::log(static_cast<double>(counted.domains.size()) + 2);
    sum += here * weight + static_cast<double>(counted.constraint->max_skew - 1);
  }
  if (!spread->controller_uid.empty()) {
    sum += 10.0 * static_cast<double>(siblings_on(node, spread->controller_uid));
    if (const std::string* zone = node.label(kZone)) {
      sum += 5.0 * static_cast<double>(spread->zone_siblings.at(*zone));
    }
  }
  return std::llround(sum * 100);
}

void PodTopologySpread::normalize(const CycleState&, const PodInfo&,
                                  const std::vector<const NodeInfo*>&,
                                  std::vector<std::int64_t>& scores) const {
  std::int64_t min = INT64_MAX;
  std::int64_t max = 0;
  for (const std::int64_t s : scores) {
    if (s == INT64_MAX) continue;  // the node lacks a topology label
    min = std::min(min, s);
    max = std::max(max, s);
  }
  for (auto& s : scores) {
    if (s == INT64_MAX) {
      s = 0;
    } else {
      s = max == 0 ? kMaxNodeScore : kMaxNodeScore * (max + min - s) / max;
    }
  }
}

}  // namespace skiff::scheduler::plugins
