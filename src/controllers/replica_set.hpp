// The pure part of ReplicaSet and ReplicationController: which pods go, what the status says.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "objects.hpp"

namespace skiff::controllers {

// The `count` pods of `active` that a scale-down takes first. `doubled`: how many active pods of
// the same owner run on each node; pods on crowded nodes go first. The order: unassigned, Pending
// before Unknown before Running, not ready, low controller.kubernetes.io/pod-deletion-cost, crowded
// node, ready for a shorter time, more restarts, younger; times count by their logarithm, so that
// equals are chosen among at random (KEP-2185, KEP-2255).
std::vector<ObjectPtr> choose_victims(std::vector<ObjectPtr> active, std::size_t count,
                                      const std::map<std::string, int>& doubled, WallTime now);

struct ReplicaCounts {
  std::int64_t replicas = 0;
  std::int64_t fully_labeled = 0;
  std::int64_t ready = 0;
  std::int64_t available = 0;
  std::int64_t terminating = 0;
  std::optional<Duration> next_available;  // when the next ready pod becomes available
};

ReplicaCounts count_replicas(const Value& owner, std::span<const ObjectPtr> active,
                             std::span<const ObjectPtr> terminating, WallTime now);

struct ManageFailure {
  std::string reason;  // FailedCreate, FailedDelete; "" when all went well
  std::string message;
};

// The status of `owner` now. Equal to its present one when nothing changed.
Value replica_status(const Value& owner, const ReplicaCounts& counts, const ManageFailure& failure,
                     bool with_terminating, WallTime now);

// A pod from a template, owned by `owner`, its name to be generated.
Value pod_from_template(const api::Object& owner, const Value& pod_template);

}  // namespace skiff::controllers
