#include "framework.hpp"

#include <map>

#include "plugins/plugins.hpp"

namespace skiff::scheduler {
namespace {

std::string message_of(std::size_t nodes, const std::map<std::string, std::size_t>& reasons) {
  if (nodes == 0) return "no nodes available to schedule pods";
  std::string out = "0/" + std::to_string(nodes) + " nodes are available: ";
  std::vector<std::string> parts;
  parts.reserve(reasons.size());
  for (const auto& [reason, count] : reasons) {
    parts.push_back(std::to_string(count) + " " + reason);
  }
  std::sort(parts.begin(), parts.end());
  for (std::size_t i = 0; i < parts.size(); ++i) out += (i > 0 ? ", " : "") + parts[i];
  return out + ".";
}

}  // namespace

void normalize_by_max(std::vector<std::int64_t>& scores, bool reverse) {
  const std::int64_t max = scores.empty() ? 0 : *std::max_element(scores.begin(), scores.end());
  for (auto& s : scores) {
    if (max == 0) {
      s = reverse ? kMaxNodeScore : s;
      continue;
    }
    s = kMaxNodeScore * s / max;
    if (reverse) s = kMaxNodeScore - s;
  }
}

std::size_t nodes_to_find(std::size_t all_nodes) {
  constexpr std::size_t kFewNodes = 100;
  if (all_nodes <= kFewNodes) return all_nodes;
  const std::size_t drop = all_nodes / 125;
  const std::size_t percent = drop >= 45 ? 5 : 50 - drop;
  return std::max(all_nodes * percent / 100, kFewNodes);
}

template <class T>
void Framework::add(std::unique_ptr<T> plugin, std::int64_t weight) {
  plugin->set_slot(plugins_.size());
  if constexpr (std::is_base_of_v<FilterPlugin, T>) filters_.push_back(plugin.get());
  if constexpr (std::is_base_of_v<ScorePlugin, T>) scorers_.push_back({plugin.get(), weight});
  plugins_.push_back(std::move(plugin));
}

Framework::Framework() {
  using namespace plugins;  // NOLINT
  add(std::make_unique<NodeUnschedulable>(), 0);
  add(std::make_unique<NodeName>(), 0);
  add(std::make_unique<TaintToleration>(), 3);
  add(std::make_unique<NodeAffinity>(), 2);
  add(std::make_unique<NodePorts>(), 0);
  add(std::make_unique<NodeResourcesFit>(), 1);
  add(std::make_unique<NodeResourcesBalancedAllocation>(), 1);
  add(std::make_unique<PodTopologySpread>(), 2);
  add(std::make_unique<InterPodAffinity>(), 2);
  add(std::make_unique<ImageLocality>(), 1);
}

Verdict Framework::filter(const CycleState& state, const PodInfo& pod, const NodeInfo& node) const {
  for (const FilterPlugin* plugin : filters_) {
    Verdict verdict = plugin->filter(state, pod, node);
    if (!verdict.fits) return verdict;
  }
  return Verdict::yes();
}

Placement Framework::place(const PodInfo& pod, const Snapshot& snapshot,
                           std::uint64_t tie_breaker) const {
  CycleState state(plugins_.size());
  for (const auto& plugin : plugins_) plugin->prepare(state, pod, snapshot);

  const auto& nodes = snapshot.nodes();
  const std::size_t enough = nodes_to_find(nodes.size());
  std::vector<NodeInfo*> fitting;
  std::map<std::string, std::size_t> reasons;
  // Start at a varying place, so that sampling in large clusters does not always see the same
  // nodes.
  const std::size_t start = nodes.empty() ? 0 : tie_breaker % nodes.size();
  for (std::size_t i = 0; i < nodes.size() && fitting.size() < enough; ++i) {
    NodeInfo* node = nodes[(start + i) % nodes.size()];
    Verdict verdict = filter(state, pod, *node);
    if (verdict.fits) {
      fitting.push_back(node);
    } else {
      for (auto& reason : verdict.reasons) ++reasons[std::move(reason)];
    }
  }
  if (fitting.empty()) return {nullptr, message_of(nodes.size(), reasons)};
  if (fitting.size() == 1) return {fitting.front(), {}};
  return {best(state, pod, fitting, tie_breaker), {}};
}

NodeInfo* Framework::best(const CycleState& state, const PodInfo& pod,
                          const std::vector<NodeInfo*>& nodes, std::uint64_t tie_breaker) const {
  const std::vector<const NodeInfo*> view(nodes.begin(), nodes.end());
  std::vector<std::int64_t> totals(nodes.size(), 0);
  std::vector<std::int64_t> scores(nodes.size());
  for (const Scored& scored : scorers_) {
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      scores[i] = scored.plugin->score(state, pod, *nodes[i]);
    }
    scored.plugin->normalize(state, pod, view, scores);
    for (std::size_t i = 0; i < nodes.size(); ++i) totals[i] += scored.weight * scores[i];
  }
  const std::int64_t top = *std::max_element(totals.begin(), totals.end());
  std::vector<NodeInfo*> winners;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (totals[i] == top) winners.push_back(nodes[i]);
  }
  // Other bits than those that chose where to begin, which would always find the same of two nodes.
  return winners[(tie_breaker >> 32) % winners.size()];
}

}  // namespace skiff::scheduler
