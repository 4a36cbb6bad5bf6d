// The pure part of the Deployment controller: which ReplicaSet gets how many replicas, and what the
// status says. Semantics as upstream's (KEP-3973 for terminatingReplicas).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "objects.hpp"

namespace skiff::controllers {

inline constexpr const char* kHashLabel = "pod-template-hash";
inline constexpr const char* kRevision = "deployment.kubernetes.io/revision";
inline constexpr const char* kRevisionHistory = "deployment.kubernetes.io/revision-history";
inline constexpr const char* kDesiredReplicas = "deployment.kubernetes.io/desired-replicas";
inline constexpr const char* kMaxReplicas = "deployment.kubernetes.io/max-replicas";

// A ReplicaSet of the Deployment. `replicas` is spec.replicas, and follows what a plan changes; the
// others are its status.
struct SetView {
  ObjectPtr object;
  std::int64_t replicas = 0;
  std::int64_t current = 0;
  std::int64_t ready = 0;
  std::int64_t available = 0;
  std::optional<std::int64_t> terminating;

  explicit SetView(ObjectPtr rs);
};

// A Deployment with its ReplicaSets, oldest first.
struct Rollout {
  Value deployment;
  std::vector<SetView> sets;
  std::optional<std::size_t> newest;  // the one with the Deployment's template

  Rollout(Value d, std::vector<ObjectPtr> replica_sets);

  std::int64_t wanted() const { return deployment["spec"]["replicas"].as_int(1); }
  bool rolling() const;
  bool paused() const { return deployment["spec"]["paused"].as_bool(); }
  bool is_new(std::size_t i) const { return newest && *newest == i; }
  std::int64_t total() const;            // spec.replicas of all sets
  std::int64_t max_surge() const;        // 0 unless rolling
  std::int64_t max_unavailable() const;  // 0 unless rolling; at most wanted()
  bool has_deadline() const;
  Duration deadline() const;
};

// Whether two pod templates are the same, the hash label aside.
bool same_template(const Value& a, const Value& b);

// spec.replicas for set number `set`. Equal to the present number: only the annotations that record
// the Deployment's size are renewed.
struct Scale {
  std::size_t set;
  std::int64_t to;
};

// The size a new ReplicaSet starts with, or may grow to.
std::int64_t new_set_size(const Rollout& r, std::int64_t present);

// Whether the Deployment's size was changed since its sets were last scaled.
bool scaling_event(const Rollout& r);
// Spreads the Deployment's size over its sets in proportion; for paused Deployments and scaling.
std::vector<Scale> plan_proportional(const Rollout& r);
// One step of a rolling update: grow the new set, else shrink old ones.
std::vector<Scale> plan_rolling(const Rollout& r);
// Recreate: shrink all old sets to nothing; empty when they are.
std::vector<Scale> plan_recreate_down(const Rollout& r);

// Annotations of the new ReplicaSet at revision `revision`: the Deployment's own, its revision with
// the history of earlier ones, and (for one about to be created) the Deployment's size.
Value new_set_annotations(const Rollout& r, const Value& present, std::int64_t revision,
                          bool exists);
std::int64_t revision_of_set(const api::Object& rs);

// Old sets beyond spec.revisionHistoryLimit, by revision.
std::vector<ObjectPtr> plan_cleanup(const Rollout& r);

// Sets a DeploymentCondition: nothing changes while status and reason stay the same.
void set_progress(Value& status, std::string_view type, std::string_view value,
                  std::string_view reason, std::string_view message, WallTime now);

bool complete(const Rollout& r, const Value& status);
// The counts and the Available condition.
Value plan_status(const Rollout& r, WallTime now);
// The same with the Progressing and ReplicaFailure conditions. `look_again`: when a deadline may
// have passed.
Value plan_rollout_status(const Rollout& r, WallTime now, std::optional<Duration>* look_again);

}  // namespace skiff::controllers
