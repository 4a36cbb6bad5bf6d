// InterPodAffinity: required terms filter, preferred terms score; existing pods' terms count too.
#include <unordered_map>

#include "plugins.hpp"

namespace skiff::scheduler::plugins {
namespace {

// Domain values -> how many matches, for one topology key.
using Domains = std::unordered_map<std::string, std::int64_t>;

struct AffinityState final : PluginState {
  std::vector<Domains> affinity;       // per required affinity term of the pod
  std::vector<Domains> anti_affinity;  // per required anti-affinity term of the pod
  bool first_of_its_group = false;     // nobody matches, but the pod matches its own terms
  std::unordered_map<std::string, Domains>
      repelled;  // topology key -> domains existing pods forbid
  std::unordered_map<std::string, Domains> preferred;  // topology key -> summed weights
};

// A term that must hold counts this much when it is an existing pod's and draws the new one near
// (upstream's hardPodAffinityWeight).
constexpr std::int64_t kRequiredTermWeight = 1;

bool matches_all(const std::vector<PodAffinityTerm>& terms, const PodInfo& pod,
                 const Snapshot& snapshot) {
  return std::all_of(terms.begin(), terms.end(),
                     [&](const auto& term) { return term_matches(term, pod, snapshot); });
}

// Only a pod that every required term means makes its domains fit.
void count_affinity(const PodInfo& pod, const NodeInfo& node, const Snapshot& snapshot,
                    std::vector<Domains>& out) {
  const auto matches = std::count_if(node.pods.begin(), node.pods.end(), [&](const auto& other) {
    return matches_all(pod.affinity, *other, snapshot);
  });
  if (matches == 0) return;
  for (std::size_t i = 0; i < pod.affinity.size(); ++i) {
    if (const std::string* domain = node.label(pod.affinity[i].topology_key)) {
      out[i][*domain] += matches;
    }
  }
}

void count_anti_affinity(const PodAffinityTerm& term, const NodeInfo& node,
                         const Snapshot& snapshot, Domains& out) {
  const std::string* domain = node.label(term.topology_key);
  if (domain == nullptr) return;
  for (const PodInfoPtr& other : node.pods) {
    if (term_matches(term, *other, snapshot)) ++out[*domain];
  }
}

void weigh(const std::vector<PodAffinityTerm>& terms, std::int64_t sign, const PodInfo& target,
           const NodeInfo& node, const Snapshot& snapshot, AffinityState& state) {
  for (const PodAffinityTerm& term : terms) {
    const std::string* domain = node.label(term.topology_key);
    if (domain != nullptr && term_matches(term, target, snapshot)) {
      state.preferred[term.topology_key][*domain] += sign * term.weight;
    }
  }
}

void look_at_node(const PodInfo& pod, const NodeInfo& node, const Snapshot& snapshot,
                  AffinityState& state) {
  // Most clusters have no affinity at all: then no pod needs to be looked at.
  if (!pod.has_affinity() && node.affinity_pods == 0) return;
  if (!pod.affinity.empty()) count_affinity(pod, node, snapshot, state.affinity);
  for (std::size_t i = 0; i < pod.anti_affinity.size(); ++i) {
    count_anti_affinity(pod.anti_affinity[i], node, snapshot, state.anti_affinity[i]);
  }
  for (const PodInfoPtr& other : node.pods) {
    for (const PodAffinityTerm& term : other->affinity) {
      const std::string* domain = node.label(term.topology_key);
      if (domain != nullptr && term_matches(term, pod, snapshot)) {
        state.preferred[term.topology_key][*domain] += kRequiredTermWeight;
      }
    }
    for (const PodAffinityTerm& term : other->anti_affinity) {
      const std::string* domain = node.label(term.topology_key);
      if (domain != nullptr && term_matches(term, pod, snapshot)) {
        ++state.repelled[term.topology_key][*domain];
      }
    }
    weigh(pod.preferred_affinity, 1, *other, node, snapshot, state);
    weigh(pod.preferred_anti_affinity, -1, *other, node, snapshot, state);
    weigh(other->preferred_affinity, 1, pod, node, snapshot, state);
    weigh(other->preferred_anti_affinity, -1, pod, node, snapshot, state);
  }
}

std::int64_t in_domain(const Domains& domains, const std::string* domain) {
  if (domain == nullptr) return 0;
  const auto it = domains.find(*domain);
  return it != domains.end() ? it->second : 0;
}

}  // namespace

void InterPodAffinity::prepare(CycleState& cycle, const PodInfo& pod,
                               const Snapshot& snapshot) const {
  auto state = std::make_unique<AffinityState>();
  state->affinity.resize(pod.affinity.size());
  state->anti_affinity.resize(pod.anti_affinity.size());
  for (const NodeInfo* node : snapshot.nodes()) look_at_node(pod, *node, snapshot, *state);
  const bool nobody = std::all_of(state->affinity.begin(), state->affinity.end(),
                                  [](const Domains& d) { return d.empty(); });
  state->first_of_its_group = nobody && matches_all(pod.affinity, pod, snapshot);
  cycle.set(slot_, std::move(state));
}

Verdict InterPodAffinity::filter(const CycleState& cycle, const PodInfo& pod,
                                 const NodeInfo& node) const {
  const auto* state = cycle.get<AffinityState>(slot_);
  for (std::size_t i = 0; i < pod.affinity.size(); ++i) {
    const std::string* domain = node.label(pod.affinity[i].topology_key);
    const bool matched = in_domain(state->affinity[i], domain) > 0;
    if (domain == nullptr || (!matched && !state->first_of_its_group)) {
      return Verdict::no("node(s) didn't match pod affinity rules");
    }
  }
  for (std::size_t i = 0; i < pod.anti_affinity.size(); ++i) {
    if (in_domain(state->anti_affinity[i], node.label(pod.anti_affinity[i].topology_key)) > 0) {
      return Verdict::no("node(s) didn't match pod anti-affinity rules");
    }
  }
  for (const auto& [key, domains] : state->repelled) {
    if (in_domain(domains, node.label(key)) > 0) {
      return Verdict::no("node(s) didn't satisfy existing pods anti-affinity rules");
    }
  }
  return Verdict::yes();
}

std::int64_t InterPodAffinity::score(const CycleState& cycle, const PodInfo&,
                                     const NodeInfo& node) const {
  std::int64_t sum = 0;
  for (const auto& [key, domains] : cycle.get<AffinityState>(slot_)->preferred) {
    sum += in_domain(domains, node.label(key));
  }
  return sum;
}

void InterPodAffinity::normalize(const CycleState&, const PodInfo&,
                                 const std::vector<const NodeInfo*>&,
                                 std::vector<std::int64_t>& scores) const {
  if (scores.empty()) return;
  const auto [min, max] = std::minmax_element(scores.begin(), scores.end());
  const std::int64_t low = *min;
  const std::int64_t range = *max - low;
  for (auto& s : scores) s = range > 0 ? kMaxNodeScore * (s - low) / range : 0;
}

}  // namespace skiff::scheduler::plugins
