#include "plan.hpp"

#include "skiff/api/quantity.hpp"

namespace skiff::kubelet {
namespace {

using runtime::ContainerState;
using runtime::ContainerStatus;

const ContainerStatus* latest(const Observed& observed, const std::string& name) {
  const auto it = observed.containers.find(name);
  return it != observed.containers.end() ? &it->second : nullptr;
}

const Health* health_of(const Observed& observed, const std::string& name) {
  const auto it = observed.health.find(name);
  return it != observed.health.end() ? &it->second : nullptr;
}

bool is_running(const ContainerStatus* s) {
  return s != nullptr && s->state == ContainerState::running;
}

bool exited_well(const ContainerStatus* s) {
  return s != nullptr && s->state == ContainerState::exited && s->exit_code == 0;
}

// Some main container was made already: the init containers had done their part before.
bool any_main_exists(const Value& pod, const Observed& observed) {
  for (const Value& c : pod["spec"]["containers"].items()) {
    if (latest(observed, c["name"].as_string()) != nullptr) return true;
  }
  return false;
}

// Main containers that run now or are still to run.
bool any_main_left(const Value& pod, const Observed& observed) {
  for (const Value& c : pod["spec"]["containers"].items()) {
    const ContainerStatus* s = latest(observed, c["name"].as_string());
    if (s == nullptr || s->state != ContainerState::exited || should_restart(pod, c, *s))
      return true;
  }
  return false;
}

void check_health(const Value& container, const Observed& observed, Actions& actions) {
  const std::string& name = container["name"].as_string();
  const ContainerStatus* s = latest(observed, name);
  const Health* health = health_of(observed, name);
  if (is_running(s) && health != nullptr && !health->kill_reason.empty()) {
    actions.kill.push_back({name, s->id, health->kill_reason});
  }
}

// Works through the init containers in order; true when the main containers may start.
bool plan_init(const Value& pod, const Observed& observed, Actions& actions) {
  const bool initialized_before = any_main_exists(pod, observed);
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    const std::string& name = c["name"].as_string();
    const ContainerStatus* s = latest(observed, name);
    if (is_sidecar(c)) {
      check_health(c, observed, actions);
      if (!is_running(s)) {
        actions.start.push_back(name);
        if (!initialized_before) return false;
        continue;
      }
      const Health* health = health_of(observed, name);
      if (!initialized_before && (health == nullptr || !health->started)) return false;
      continue;
    }
    if (initialized_before || exited_well(s)) continue;
    if (is_running(s)) {
      check_health(c, observed, actions);
      return false;
    }
    if (s == nullptr || s->state == ContainerState::created || should_restart(pod, c, *s)) {
      actions.start.push_back(name);
    } else {
      actions.finished = true;  // it failed for good, and so did the pod
    }
    return false;
  }
  return true;
}

}  // namespace

bool should_restart(const Value& pod, const Value& container, const ContainerStatus& status) {
  if (is_sidecar(container)) return true;
  switch (restart_policy_of(pod)) {
    case RestartPolicy::never:
      return false;
    case RestartPolicy::on_failure:
      return status.exit_code != 0;
    case RestartPolicy::always:
      break;
  }
  // An init container that succeeded is done under any policy.
  const bool is_init =
      find_named(pod["spec"]["initContainers"], container["name"].as_string()) != nullptr;
  return !is_init || status.exit_code != 0;
}

bool initialized(const Value& pod, const Observed& observed) {
  if (any_main_exists(pod, observed)) return true;
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    const std::string& name = c["name"].as_string();
    const ContainerStatus* s = latest(observed, name);
    if (is_sidecar(c)) {
      const Health* health = health_of(observed, name);
      if (!is_running(s) || health == nullptr || !health->started) return false;
    } else if (!exited_well(s)) {
      return false;
    }
  }
  return true;
}

Actions plan(const Value& pod, const Observed& observed) {
  Actions actions;
  if (any_main_exists(pod, observed) && !any_main_left(pod, observed)) {
    actions.finished = true;
    return actions;
  }
  if (!observed.sandbox_ready) {
    // Without its sandbox nothing of the pod runs: everything starts over.
    actions.create_sandbox = true;
    return actions;
  }
  const bool mains_may_start = plan_init(pod, observed, actions);
  if (!mains_may_start || actions.finished) return actions;
  for (const Value& c : pod["spec"]["containers"].items()) {
    const std::string& name = c["name"].as_string();
    const ContainerStatus* s = latest(observed, name);
    check_health(c, observed, actions);
    if (s == nullptr || s->state == ContainerState::created ||
        (s->state == ContainerState::exited && should_restart(pod, c, *s))) {
      actions.start.push_back(name);
    }
  }
  return actions;
}

namespace {

// Upstream counts what is above zero only.
std::int64_t amount(const Value& quantities, const char* name) {
  const auto q = api::Quantity::parse(quantities[name].as_string_or("0"));
  return q ? q->milli_value() : 0;
}

struct Promises {
  bool any = false;
  bool guaranteed = true;
  void look_at(const Value& resources) {
    for (const char* name : {"cpu", "memory"}) {
      const std::int64_t limit = amount(resources["limits"], name);
      const std::int64_t request = amount(resources["requests"], name);
      any = any || limit > 0 || request > 0;
      guaranteed = guaranteed && limit > 0 && (request == 0 || request == limit);
    }
  }
  std::string qos() const {
    if (!any) return "besteffort";
    return guaranteed ? "guaranteed" : "burstable";
  }
};

}  // namespace

std::string qos_class_of(const Value& pod) {
  Promises promises;
  // KEP-2837: what is said of the whole pod decides.
  const Value& of_pod = pod["spec"]["resources"];
  if (!of_pod["requests"].empty() || !of_pod["limits"].empty()) {
    promises.look_at(of_pod);
    return promises.qos();
  }
  for (const char* list : {"containers", "initContainers"}) {
    for (const Value& c : pod["spec"][list].items()) {
      promises.look_at(c["resources"]);
    }
  }
  return promises.qos();
}

}  // namespace skiff::kubelet
