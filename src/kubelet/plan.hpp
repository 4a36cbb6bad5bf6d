// What to do about a pod next: pure, from its spec and what the runtime says.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pod.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::kubelet {

// What probes found out about one running container.
struct Health {
  bool started = false;     // no startup probe, or it succeeded
  bool ready = false;       // started, and no readiness probe or its last verdict was success
  std::string kill_reason;  // a liveness or startup probe gave up: kill with this message
};

struct Observed {
  bool sandbox_ready = false;
  bool sandbox_existed = false;
  std::map<std::string, runtime::ContainerStatus> containers;  // newest instance by name
  std::map<std::string, Health> health;                        // of running containers
};

struct Kill {
  std::string name;
  std::string id;
  std::string message;
};

struct Actions {
  bool create_sandbox = false;
  bool finished = false;  // nothing will ever run again: stop what is left, free the network
  std::vector<Kill> kill;
  std::vector<std::string> start;  // containers to start now, in order
};

Actions plan(const Value& pod, const Observed& observed);

// Whether a container that exited is to run again.
bool should_restart(const Value& pod, const Value& container,
                    const runtime::ContainerStatus& status);
// Every init container has done its part (a sidecar: has started).
bool initialized(const Value& pod, const Observed& observed);

}  // namespace skiff::kubelet
