// Plug-ins that look at a node's own properties.
#include "plugins.hpp"

namespace skiff::scheduler::plugins {
namespace {

const Taint kUnschedulableTaint{"node.kubernetes.io/unschedulable", "", "NoSchedule"};

struct ImageSpread final : PluginState {
  std::vector<double> share;  // of nodes that hold each image of the pod
};

bool repels(const Taint& taint) {
  return taint.effect == "NoSchedule" || taint.effect == "NoExecute";
}

}  // namespace

Verdict NodeUnschedulable::filter(const CycleState&, const PodInfo& pod,
                                  const NodeInfo& node) const {
  if (!node.unschedulable || pod.tolerates(kUnschedulableTaint)) return Verdict::yes();
  return Verdict::no("node(s) were unschedulable");
}

Verdict NodeName::filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const {
  if (pod.node_name.empty() || pod.node_name == node.name) return Verdict::yes();
  return Verdict::no("node(s) didn't match the requested node name");
}

Verdict TaintToleration::filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const {
  for (const Taint& taint : node.taints) {
    if (repels(taint) && !pod.tolerates(taint)) {
      // Without naming it: taints may say more of a node than users of pods are meant to know.
      return Verdict::no("node(s) had untolerated taint(s)");
    }
  }
  return Verdict::yes();
}

std::int64_t TaintToleration::score(const CycleState&, const PodInfo& pod,
                                    const NodeInfo& node) const {
  return std::count_if(node.taints.begin(), node.taints.end(), [&](const Taint& taint) {
    return taint.effect == "PreferNoSchedule" && !pod.tolerates(taint);
  });
}

void TaintToleration::normalize(const CycleState&, const PodInfo&,
                                const std::vector<const NodeInfo*>&,
                                std::vector<std::int64_t>& scores) const {
  normalize_by_max(scores, true);
}

Verdict NodeAffinity::filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const {
  if (pod.matches_node_affinity(node.labels, node.name)) return Verdict::yes();
  return Verdict::no("node(s) didn't match Pod's node affinity/selector");
}

std::int64_t NodeAffinity::score(const CycleState&, const PodInfo& pod,
                                 const NodeInfo& node) const {
  std::int64_t sum = 0;
  for (const PreferredNodeTerm& preferred : pod.preferred_node_terms) {
    const auto& t = preferred.term;
    // Unlike a required term, an empty preferred term matches every node.
    if ((t.labels.empty() && t.fields.empty()) || t.matches(node.labels, node.name)) {
      sum += preferred.weight;
    }
  }
  return sum;
}

void NodeAffinity::normalize(const CycleState&, const PodInfo&, const std::vector<const NodeInfo*>&,
                             std::vector<std::int64_t>& scores) const {
  normalize_by_max(scores, false);
}

Verdict NodePorts::filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const {
  if (pod.host_ports.empty()) return Verdict::yes();
  for (const PodInfoPtr& other : node.pods) {
    for (const HostPort& used : other->host_ports) {
      for (const HostPort& wanted : pod.host_ports) {
        if (wanted.conflicts(used)) {
          return Verdict::no("node(s) didn't have free ports for the requested pod ports");
        }
      }
    }
  }
  return Verdict::yes();
}

void ImageLocality::prepare(CycleState& state, const PodInfo& pod, const Snapshot& snapshot) const {
  // See score(): an image that every node holds says more than one that a single node holds, so
  // that one node does not draw every pod.
  auto spread = std::make_unique<ImageSpread>();
  const auto nodes = static_cast<double>(std::max<std::size_t>(1, snapshot.nodes().size()));
  for (const std::string& image : pod.images) {
    spread->share.push_back(static_cast<double>(snapshot.nodes_with_image(image)) / nodes);
  }
  state.set(slot_, std::move(spread));
}

std::int64_t ImageLocality::score(const CycleState& state, const PodInfo& pod,
                                  const NodeInfo& node) const {
  constexpr std::int64_t kMin = 23LL << 20;
  const std::int64_t max =
      (1000LL << 20) * static_cast<std::int64_t>(std::max<std::size_t>(1, pod.images.size()));
  const auto* spread = state.get<ImageSpread>(slot_);
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < pod.images.size(); ++i) {
    const auto it = node.images.find(pod.images[i]);
    if (it == node.images.end()) continue;
    bytes += static_cast<std::int64_t>(static_cast<double>(it->second) * spread->share[i]);
  }
  bytes = std::clamp(bytes, kMin, max);
  return kMaxNodeScore * (bytes - kMin) / (max - kMin);
}

}  // namespace skiff::scheduler::plugins
