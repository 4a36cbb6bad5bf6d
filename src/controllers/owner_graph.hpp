// Who owns whom, for the garbage collector: a graph of the few facts it needs, not of objects.
//
// Only objects that have owners, or that wait for their dependents, have a node. Every UID that is
// named as an owner has an entry with its dependents, whether or not the owner was ever seen: an
// owner's deletion is an event that carries its UID.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "skiff/api/object.hpp"

namespace skiff::controllers {

struct OwnerReference {
  std::string uid;
  bool blocks = false;  // blockOwnerDeletion
  bool operator==(const OwnerReference&) const = default;
};

struct GraphNode {
  std::string uid;
  std::uint16_t resource = 0;  // the collector's number for the resource
  api::NamespacedName key;
  std::vector<OwnerReference> owners;
  bool deleting = false;
  bool foreground = false;  // being deleted, waits for its dependents to be deleted
  bool orphaning = false;   // being deleted, waits for its dependents to be let go

  static GraphNode from(std::uint16_t resource, const api::Object& object);
  bool needed() const { return !owners.empty() || foreground || orphaning; }
};

// Something for the collector to look at.
struct Suspect {
  std::string uid;
  bool orphan = false;  // its dependents are to be let go; else: it may have to be deleted
  auto operator<=>(const Suspect&) const = default;
};
using Suspects = std::vector<Suspect>;

class OwnerGraph {
 public:
  // An object appeared or changed.
  Suspects put(GraphNode node);
  // The object with this UID is gone.
  Suspects erase(const std::string& uid);
  // All objects of `resource` that exist, by UID: those that are known but missing are gone.
  Suspects replace(std::uint16_t resource, const std::set<std::string>& present);

  const GraphNode* find(const std::string& uid) const;
  std::vector<const GraphNode*> dependents(const std::string& uid) const;  // by UID
  // Of those, the ones that keep a foreground deletion from ending.
  std::vector<const GraphNode*> blocking(const std::string& uid) const;

  // The owner was read from the API and exists: dependents that name it need no further look until
  // it is erased.
  void verified(const std::string& owner, std::uint16_t resource);

  std::size_t size() const noexcept { return nodes_.size(); }
  bool has_any(std::uint16_t resource) const;

 private:
  struct Owner {
    std::set<std::string> dependents;
    std::optional<std::uint16_t> verified;
  };
  void link(const GraphNode& node, const OwnerReference& owner, Suspects& out);
  void unlink(const std::string& dependent, const std::string& owner, Suspects& out);
  void released(const std::string& owner, Suspects& out) const;

  std::unordered_map<std::string, GraphNode> nodes_;
  std::unordered_map<std::string, Owner> owners_;
  std::map<std::uint16_t, std::size_t> counts_;  // nodes per resource
};

}  // namespace skiff::controllers
