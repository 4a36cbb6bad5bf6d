// The pure part of node lifecycle and taint-based eviction.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "objects.hpp"

namespace skiff::controllers {

inline constexpr const char* kPodsByNode = "spec.nodeName";  // index of the pods informer
std::vector<std::string> node_of_pod(const api::Object& pod);

inline constexpr const char* kNotReady = "node.kubernetes.io/not-ready";
inline constexpr const char* kUnreachable = "node.kubernetes.io/unreachable";
inline constexpr const char* kOutOfService = "node.kubernetes.io/out-of-service";

// "True", "False", "Unknown"; "" for a node that never said.
std::string node_readiness(const Value& node);

// The status of a node that has gone silent: what it used to report is Unknown. Equal to the
// present one when it already says so.
Value silent_status(const Value& node, WallTime now);

// spec.taints of a node with those that follow from its conditions and from spec.unschedulable put
// right (KEP-382). `evict`: also the NoExecute taint of a node that is not ready; one that is there
// stays while the reason lasts.
Value node_taints(const Value& node, bool evict, WallTime now);
// Whether the node should have a NoExecute taint and lacks it.
bool wants_eviction_taint(const Value& node);

// How bad a failure domain looks.
enum class ZoneState : std::uint8_t { normal, partial, full };
ZoneState zone_state(std::size_t ready, std::size_t not_ready);

bool tolerates(const Value& toleration, const Value& taint);
struct Eviction {
  bool never = false;
  Duration after{};  // counted from when the pod met the taints
};
// When a pod has to leave a node with these taints; nothing without a NoExecute taint.
std::optional<Eviction> plan_eviction(const Value& pod, const Value& taints);

// status of a pod with the condition that tells why it is disrupted (KEP-3329).
Value disrupted_status(const Value& pod, std::string_view reason, std::string_view message,
                       bool failed, WallTime now);

}  // namespace skiff::controllers
