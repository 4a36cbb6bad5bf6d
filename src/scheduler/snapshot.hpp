// The scheduler's view of the cluster: nodes with the pods on them, including pods that were just
// placed
// ("assumed") and whose binding is not yet in the caches. It changes only between placements, so
// within one turn it is a consistent snapshot without being copied.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "pod_info.hpp"

namespace skiff::scheduler {

struct NodeInfo {
  std::string name;
  api::Value labels;
  std::vector<Taint> taints;
  bool unschedulable = false;
  Resources allocatable;
  std::unordered_map<std::string, std::int64_t> images;  // name -> bytes

  std::vector<PodInfoPtr> pods;
  Resources requested;
  Resources nonzero_requested;
  std::size_t affinity_pods = 0;  // pods here with any term about other pods

  const std::string* label(const std::string& key) const;
  void set_node(const api::Object& node);
  void add_pod(PodInfoPtr pod);
  bool remove_pod(const std::string& uid);
};

class Snapshot {
 public:
  void set_node(const api::Object& node);
  void remove_node(const std::string& name);

  // The newest known state of a pod; replaces what was assumed of it. Pods that end or have no node
  // leave.
  void set_pod(PodInfoPtr pod);
  void remove_pod(const std::string& uid);
  // A pod placed on `node`, until set_pod confirms it or forget() takes it back.
  void assume(const PodInfoPtr& pod, const std::string& node);
  void forget(const std::string& uid);
  bool assumed(const std::string& uid) const { return assumed_.contains(uid); }

  void set_namespace(const std::string& name, api::Value labels);
  void remove_namespace(const std::string& name);
  const api::Value& namespace_labels(const std::string& name) const;

  const std::vector<NodeInfo*>& nodes() const noexcept { return order_; }
  NodeInfo* find(const std::string& name) const;
  std::size_t nodes_with_image(const std::string& image) const;

 private:
  void place(PodInfoPtr pod, const std::string& node);

  // A NodeInfo outlives its Node while pods are still known on it.
  std::unordered_map<std::string, std::unique_ptr<NodeInfo>> by_name_;
  std::vector<NodeInfo*> order_;                           // nodes that exist, in order of arrival
  std::unordered_map<std::string, std::string> pod_node_;  // pod uid -> node name
  std::unordered_map<std::string, std::string> assumed_;   // pod uid -> node name
  std::map<std::string, api::Value> namespaces_;
  std::unordered_map<std::string, std::size_t> image_nodes_;
};

// Whether `term`'s selector and namespaces match `pod`.
bool term_matches(const PodAffinityTerm& term, const PodInfo& pod, const Snapshot& snapshot);

}  // namespace skiff::scheduler
