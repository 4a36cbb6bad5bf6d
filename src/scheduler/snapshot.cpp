#include "snapshot.hpp"

namespace skiff::scheduler {

using api::Value;

const std::string* NodeInfo::label(const std::string& key) const {
  const Value* value = labels.find(key);
  return value != nullptr ? &value->as_string() : nullptr;
}

void NodeInfo::set_node(const api::Object& node) {
  name = node.name();
  labels = node.labels();
  const Value& spec = node["spec"];
  unschedulable = spec["unschedulable"].as_bool();
  taints.clear();
  for (const Value& t : spec["taints"].items()) {
    taints.push_back({t["key"].as_string(), t["value"].as_string(), t["effect"].as_string()});
  }
  allocatable = Resources::parse(node["status"]["allocatable"]);
  images.clear();
  for (const Value& image : node["status"]["images"].items()) {
    for (const Value& n : image["names"].items()) {
      images[n.as_string()] = image["sizeBytes"].as_int();
    }
  }
}

void NodeInfo::add_pod(PodInfoPtr pod) {
  requested.add(pod->requests);
  nonzero_requested.add(pod->nonzero_requests);
  if (pod->has_affinity()) ++affinity_pods;
  pods.push_back(std::move(pod));
}

bool NodeInfo::remove_pod(const std::string& uid) {
  const auto it =
      std::find_if(pods.begin(), pods.end(), [&](const PodInfoPtr& p) { return p->uid == uid; });
  if (it == pods.end()) return false;
  requested.subtract((*it)->requests);
  nonzero_requested.subtract((*it)->nonzero_requests);
  if ((*it)->has_affinity()) --affinity_pods;
  *it = std::move(pods.back());
  pods.pop_back();
  return true;
}

NodeInfo* Snapshot::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it != by_name_.end() ? it->second.get() : nullptr;
}

void Snapshot::set_node(const api::Object& node) {
  auto& info = by_name_[node.name()];
  if (!info) info = std::make_unique<NodeInfo>();
  if (std::find(order_.begin(), order_.end(), info.get()) == order_.end()) {
    order_.push_back(info.get());
  }
  for (const auto& [image, size] : info->images) --image_nodes_[image];
  info->set_node(node);
  for (const auto& [image, size] : info->images) ++image_nodes_[image];
}

void Snapshot::remove_node(const std::string& name) {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return;
  for (const auto& [image, size] : it->second->images) --image_nodes_[image];
  it->second->images.clear();
  std::erase(order_, it->second.get());
  if (it->second->pods.empty()) by_name_.erase(it);
}

void Snapshot::place(PodInfoPtr pod, const std::string& node) {
  auto& info = by_name_[node];
  if (!info) {  // a pod can be seen before its node
    info = std::make_unique<NodeInfo>();
    info->name = node;
  }
  pod_node_[pod->uid] = node;
  info->add_pod(std::move(pod));
}

void Snapshot::remove_pod(const std::string& uid) {
  assumed_.erase(uid);
  const auto it = pod_node_.find(uid);
  if (it == pod_node_.end()) return;
  const auto node = by_name_.find(it->second);
  if (node != by_name_.end()) {
    node->second->remove_pod(uid);
    const bool exists = std::find(order_.begin(), order_.end(), node->second.get()) != order_.end();
    if (node->second->pods.empty() && !exists) by_name_.erase(node);
  }
  pod_node_.erase(it);
}

void Snapshot::set_pod(PodInfoPtr pod) {
  // An update that does not carry the binding yet must not undo an assumption.
  if (pod->node_name.empty() && assumed_.contains(pod->uid) && !pod->terminal) return;
  remove_pod(pod->uid);
  if (pod->node_name.empty() || pod->terminal) return;
  const std::string node = pod->node_name;
  place(std::move(pod), node);
}

void Snapshot::assume(const PodInfoPtr& pod, const std::string& node) {
  remove_pod(pod->uid);
  place(pod, node);
  assumed_[pod->uid] = node;
}

void Snapshot::forget(const std::string& uid) {
  if (assumed_.contains(uid)) remove_pod(uid);
}

void Snapshot::set_namespace(const std::string& name, Value labels) {
  namespaces_[name] = std::move(labels);
}

void Snapshot::remove_namespace(const std::string& name) { namespaces_.erase(name); }

const Value& Snapshot::namespace_labels(const std::string& name) const {
  static const Value kNone;
  const auto it = namespaces_.find(name);
  return it != namespaces_.end() ? it->second : kNone;
}

std::size_t Snapshot::nodes_with_image(const std::string& image) const {
  const auto it = image_nodes_.find(image);
  return it != image_nodes_.end() ? it->second : 0;
}

bool term_matches(const PodAffinityTerm& term, const PodInfo& pod, const Snapshot& snapshot) {
  const bool in_namespace =
      std::find(term.namespaces.begin(), term.namespaces.end(), pod.key.ns) !=
          term.namespaces.end() ||
      (term.ns_selector && term.ns_selector->matches(snapshot.namespace_labels(pod.key.ns)));
  return in_namespace && term.selector.matches(pod.labels);
}

}  // namespace skiff::scheduler
