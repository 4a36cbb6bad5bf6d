// The default plug-ins. Each class has its own file; semantics follow the upstream plug-in of that
// name.
#pragma once

#include "../framework.hpp"

namespace skiff::scheduler::plugins {

// Nodes marked by `kubectl cordon`, unless the pod tolerates that.
class NodeUnschedulable final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodeUnschedulable"; }
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
};

// spec.nodeName given by the user.
class NodeName final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodeName"; }
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
};

// Refuses untolerated NoSchedule and NoExecute taints; prefers fewer untolerated PreferNoSchedule
// ones.
class TaintToleration final : public FilterPlugin, public ScorePlugin {
 public:
  std::string_view name() const override { return "TaintToleration"; }
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  void normalize(const CycleState&, const PodInfo&, const std::vector<const NodeInfo*>&,
                 std::vector<std::int64_t>&) const override;
};

// spec.nodeSelector and spec.affinity.nodeAffinity.
class NodeAffinity final : public FilterPlugin, public ScorePlugin {
 public:
  std::string_view name() const override { return "NodeAffinity"; }
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  void normalize(const CycleState&, const PodInfo&, const std::vector<const NodeInfo*>&,
                 std::vector<std::int64_t>&) const override;
};

// Host ports.
class NodePorts final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodePorts"; }
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
};

// Requests against allocatable; prefers the least allocated node.
class NodeResourcesFit final : public FilterPlugin, public ScorePlugin {
 public:
  std::string_view name() const override { return "NodeResourcesFit"; }
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
};

// Prefers nodes whose CPU and memory would be used to a like degree.
class NodeResourcesBalancedAllocation final : public ScorePlugin {
 public:
  std::string_view name() const override { return "NodeResourcesBalancedAllocation"; }
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
};

// topologySpreadConstraints (KEP-895); pods without any are spread by their controller over nodes
// and zones.
class PodTopologySpread final : public FilterPlugin, public ScorePlugin {
 public:
  std::string_view name() const override { return "PodTopologySpread"; }
  void prepare(CycleState&, const PodInfo&, const Snapshot&) const override;
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  void normalize(const CycleState&, const PodInfo&, const std::vector<const NodeInfo*>&,
                 std::vector<std::int64_t>&) const override;
};

// podAffinity and podAntiAffinity, of the pod and of the pods that run already.
class InterPodAffinity final : public FilterPlugin, public ScorePlugin {
 public:
  std::string_view name() const override { return "InterPodAffinity"; }
  void prepare(CycleState&, const PodInfo&, const Snapshot&) const override;
  Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
  void normalize(const CycleState&, const PodInfo&, const std::vector<const NodeInfo*>&,
                 std::vector<std::int64_t>&) const override;
};

// Prefers nodes that already hold the pod's images.
class ImageLocality final : public ScorePlugin {
 public:
  std::string_view name() const override { return "ImageLocality"; }
  void prepare(CycleState&, const PodInfo&, const Snapshot&) const override;
  std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const override;
};

}  // namespace skiff::scheduler::plugins
