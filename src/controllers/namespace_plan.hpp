// The pure part of the namespace controller.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "objects.hpp"

namespace skiff::controllers {

// What was found in a namespace that is being deleted.
struct Remains {
  std::map<std::string, std::int64_t> instances;   // "pods." -> how many
  std::map<std::string, std::int64_t> finalizers;  // finalizer -> how many objects have it
  std::string failure;                             // why something could not be deleted
  bool empty() const { return instances.empty() && failure.empty(); }
};

// The five conditions of a Terminating namespace.
Value namespace_status(const Value& ns, const Remains& remains, WallTime now);

// Namespaced resources whose objects live and die with their namespace, pods first.
struct ContentResource {
  std::string group;
  std::string version;
  std::string plural;
};
std::vector<ContentResource> namespace_content();

}  // namespace skiff::controllers
