// What scheduling needs to know of a pod, projected once from its document.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/api/object.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::scheduler {

// CPU in thousandths of a core, memory and ephemeral storage in bytes.
struct Resources {
  std::int64_t milli_cpu = 0;
  std::int64_t memory = 0;
  std::int64_t ephemeral_storage = 0;
  std::int64_t pods = 0;                         // allocatable only
  std::map<std::string, std::int64_t> extended;  // devices, huge pages

  void add(const Resources& other);
  void subtract(const Resources& other);
  void raise_to(const Resources& other);  // element by element maximum
  static Resources parse(const api::Value& quantities);
};

struct Taint {
  std::string key;
  std::string value;
  std::string effect;
};

struct Toleration {
  std::string key;
  std::string op;  // Exists, Equal, Lt, Gt
  std::string value;
  std::string effect;
  bool tolerates(const Taint& taint) const;
};

struct HostPort {
  std::string protocol;
  std::string ip;  // "0.0.0.0" for any
  std::int64_t port = 0;
  bool conflicts(const HostPort& other) const;
};

// One nodeSelectorTerm: requirements on labels and on metadata.name, all of which must hold.
struct NodeSelectorTerm {
  std::vector<api::LabelSelector::Requirement> labels;
  std::vector<api::LabelSelector::Requirement> fields;
  bool matches(const api::Value& node_labels, const std::string& node_name) const;
};

struct PreferredNodeTerm {
  std::int64_t weight = 0;
  NodeSelectorTerm term;
};

struct PodAffinityTerm {
  api::LabelSelector selector;
  std::vector<std::string> namespaces;            // resolved: own namespace when none is given
  std::optional<api::LabelSelector> ns_selector;  // on namespaces' labels
  std::string topology_key;
  std::int64_t weight = 0;  // preferred terms only
};

struct SpreadConstraint {
  std::int64_t max_skew = 1;
  std::string topology_key;
  bool hard = true;  // DoNotSchedule
  api::LabelSelector selector;
  std::int64_t min_domains = 1;
  bool honor_affinity = true;  // nodeAffinityPolicy
  bool honor_taints = false;   // nodeTaintsPolicy
};

struct PodInfo {
  explicit PodInfo(api::ObjectPtr pod);
  static bool is_terminal(const api::Object& pod);

  api::ObjectPtr object;
  api::NamespacedName key;
  std::string uid;
  std::string node_name;
  std::string scheduler_name;
  std::string controller_uid;  // "" without a controller
  std::int64_t priority = 0;
  bool terminal = false;  // Succeeded or Failed: holds no resources
  bool deleting = false;
  bool gated = false;
  api::Value labels;
  Resources requests;
  // What scoring assumes for containers that ask for nothing: 100m and 200 MB each.
  Resources nonzero_requests;
  std::vector<Toleration> tolerations;
  std::vector<HostPort> host_ports;
  std::vector<std::string> images;  // of all containers, with their tags
  api::LabelSelector node_selector;
  std::optional<std::vector<NodeSelectorTerm>>
      required_node_terms;  // any must match; none matches nothing
  std::vector<PreferredNodeTerm> preferred_node_terms;
  std::vector<PodAffinityTerm> affinity;
  std::vector<PodAffinityTerm> anti_affinity;
  std::vector<PodAffinityTerm> preferred_affinity;
  std::vector<PodAffinityTerm> preferred_anti_affinity;
  std::vector<SpreadConstraint> spread;

  bool matches_node_affinity(const api::Value& node_labels, const std::string& node_name_) const;
  bool tolerates(const Taint& taint) const;
  // Any term about other pods, required or preferred.
  bool has_affinity() const {
    return !affinity.empty() || !anti_affinity.empty() || !preferred_affinity.empty() ||
           !preferred_anti_affinity.empty();
  }
};

using PodInfoPtr = std::shared_ptr<const PodInfo>;

}  // namespace skiff::scheduler
