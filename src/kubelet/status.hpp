// The status of a pod as the API shows it: pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "plan.hpp"

namespace skiff::kubelet {

// Why a container does not run, when it is not (only) the runtime that knows.
struct Waiting {
  std::string reason;  // ErrImagePull, CrashLoopBackOff, CreateContainerConfigError, ...
  std::string message;
};

struct StatusInput {
  Observed observed;
  std::map<std::string, runtime::ContainerStatus> previous;  // the instance before the newest
  std::map<std::string, Waiting> waiting;
  std::map<std::string, int> restarts;
  std::map<std::string, std::string> termination_messages;  // by container id
  std::string host_ip;
  std::string pod_ip;
  WallTime now;
  std::string start_time;  // RFC 3339; "" to keep the pod's or take `now`
  // The pod is deleted and nothing of it runs any more: its phase says how it ended.
  bool ended = false;
  // An end that is not the containers' doing: DeadlineExceeded, Evicted, ...
  std::string failed_reason;
  std::string failed_message;
};

// The complete status; conditions that others own (readiness gates) are not in it. Conditions carry
// over lastTransitionTime from `pod`'s present status.
Value make_status(const Value& pod, const StatusInput& input);

}  // namespace skiff::kubelet
