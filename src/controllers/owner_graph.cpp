#include "owner_graph.hpp"

#include <algorithm>

namespace skiff::controllers {

using api::Value;

GraphNode GraphNode::from(std::uint16_t resource, const api::Object& object) {
  GraphNode node;
  node.uid = object.uid();
  node.resource = resource;
  node.key = object.key();
  for (const Value& owner : object.metadata()["ownerReferences"].items()) {
    node.owners.push_back({owner["uid"].as_string(), owner["blockOwnerDeletion"].as_bool()});
  }
  node.deleting = object.deleting();
  if (!node.deleting) return node;
  for (const Value& finalizer : object.metadata()["finalizers"].items()) {
    if (finalizer.as_string() == "foregroundDeletion") node.foreground = true;
    if (finalizer.as_string() == "orphan") node.orphaning = true;
  }
  return node;
}

const GraphNode* OwnerGraph::find(const std::string& uid) const {
  const auto it = nodes_.find(uid);
  return it == nodes_.end() ? nullptr : &it->second;
}

std::vector<const GraphNode*> OwnerGraph::dependents(const std::string& uid) const {
  std::vector<const GraphNode*> out;
  const auto it = owners_.find(uid);
  if (it == owners_.end()) return out;
  for (const std::string& dependent : it->second.dependents) {
    if (const GraphNode* node = find(dependent)) out.push_back(node);
  }
  return out;
}

std::vector<const GraphNode*> OwnerGraph::blocking(const std::string& uid) const {
  std::vector<const GraphNode*> out = dependents(uid);
  std::erase_if(out, [&](const GraphNode* node) {
    return std::ranges::none_of(node->owners,
                                [&](const OwnerReference& o) { return o.uid == uid && o.blocks; });
  });
  return out;
}

void OwnerGraph::verified(const std::string& owner, std::uint16_t resource) {
  const auto it = owners_.find(owner);
  if (it != owners_.end()) it->second.verified = resource;
}

bool OwnerGraph::has_any(std::uint16_t resource) const {
  const auto it = counts_.find(resource);
  return it != counts_.end() && it->second > 0;
}

// An owner that waits for its dependents has one less.
void OwnerGraph::released(const std::string& owner, Suspects& out) const {
  const GraphNode* node = find(owner);
  if (node != nullptr && node->foreground) out.push_back({owner});
}

void OwnerGraph::link(const GraphNode& node, const OwnerReference& owner, Suspects& out) {
  Owner& entry = owners_[owner.uid];
  entry.dependents.insert(node.uid);
  const GraphNode* seen = find(owner.uid);
  const bool waits = seen != nullptr && seen->foreground;
  // Nobody has seen this owner yet, or it is on its way out.
  if (!entry.verified || waits) out.push_back({node.uid});
}

void OwnerGraph::unlink(const std::string& dependent, const std::string& owner, Suspects& out) {
  const auto it = owners_.find(owner);
  if (it == owners_.end()) return;
  it->second.dependents.erase(dependent);
  if (it->second.dependents.empty()) owners_.erase(it);
  released(owner, out);
}

Suspects OwnerGraph::put(GraphNode node) {
  if (!node.needed()) {
    if (find(node.uid) == nullptr) return {};
    // Its dependents keep their owner: only its own node goes.
    Suspects out;
    const GraphNode old = std::move(nodes_.extract(node.uid).mapped());
    --counts_[old.resource];
    for (const OwnerReference& owner : old.owners) unlink(old.uid, owner.uid, out);
    return out;
  }
  Suspects out;
  const std::string uid = node.uid;
  const auto [it, added] = nodes_.try_emplace(uid);
  if (added) ++counts_[node.resource];
  const GraphNode old = std::exchange(it->second, std::move(node));
  const GraphNode& now = it->second;
  for (const OwnerReference& owner : old.owners) {
    const auto kept = std::ranges::find(now.owners, owner.uid, &OwnerReference::uid);
    if (kept == now.owners.end()) {
      unlink(uid, owner.uid, out);
    } else if (owner.blocks && !kept->blocks) {
      released(owner.uid, out);
    }
  }
  for (const OwnerReference& owner : now.owners) {
    if (std::ranges::find(old.owners, owner.uid, &OwnerReference::uid) == old.owners.end()) {
      link(now, owner, out);
    }
  }
  if (now.foreground && !old.foreground) {
    out.push_back({uid});
    for (const GraphNode* dependent : dependents(uid)) out.push_back({dependent->uid});
  }
  if (now.orphaning && !old.orphaning) out.push_back({uid, true});
  return out;
}

Suspects OwnerGraph::erase(const std::string& uid) {
  Suspects out;
  if (auto node = nodes_.extract(uid)) {
    --counts_[node.mapped().resource];
    for (const OwnerReference& owner : node.mapped().owners) unlink(uid, owner.uid, out);
  }
  const auto entry = owners_.find(uid);
  if (entry == owners_.end()) return out;
  entry->second.verified.reset();
  for (const std::string& dependent : entry->second.dependents) out.push_back({dependent});
  return out;
}

Suspects OwnerGraph::replace(std::uint16_t resource, const std::set<std::string>& present) {
  std::set<std::string> gone;
  for (const auto& [uid, node] : nodes_) {
    if (node.resource == resource && !present.contains(uid)) gone.insert(uid);
  }
  for (const auto& [uid, owner] : owners_) {
    if (owner.verified == resource && !present.contains(uid)) gone.insert(uid);
  }
  Suspects out;
  for (const std::string& uid : gone) {
    const Suspects more = erase(uid);
    out.insert(out.end(), more.begin(), more.end());
  }
  return out;
}

}  // namespace skiff::controllers
