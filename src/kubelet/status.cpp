#include "status.hpp"

#include "skiff/base/clock.hpp"

namespace skiff::kubelet {
namespace {

using runtime::ContainerState;
using runtime::ContainerStatus;

Value terminated_state(const ContainerStatus& s, const StatusInput& in) {
  Value t = Value::object({{"exitCode", s.exit_code}});
  if (s.signal != 0) t.set("signal", s.signal);
  t.set("reason", s.reason.empty() ? (s.exit_code == 0 ? "Completed" : "Error") : s.reason);
  const auto it = in.termination_messages.find(s.id);
  if (it != in.termination_messages.end() && !it->second.empty()) {
    t.set("message", it->second);
  } else if (!s.message.empty()) {
    t.set("message", s.message);
  }
  t.set("startedAt", s.started_at ? Value(format_time(*s.started_at)) : Value());
  t.set("finishedAt", s.finished_at ? Value(format_time(*s.finished_at)) : Value());
  t.set("containerID", "skiff://" + s.id);
  return Value::object({{"terminated", std::move(t)}});
}

Value waiting_state(std::string_view reason, const std::string& message) {
  Value w = Value::object({{"reason", reason}});
  if (!message.empty()) w.set("message", message);
  return Value::object({{"waiting", std::move(w)}});
}

Value container_state(const Value& pod, const Value& container, const ContainerStatus* s,
                      bool may_start, const StatusInput& in) {
  const std::string& name = container["name"].as_string();
  const auto why = in.waiting.find(name);
  if (s != nullptr && s->state == ContainerState::running) {
    Value r = Value::object();
    if (s->started_at) r.set("startedAt", format_time(*s->started_at));
    return Value::object({{"running", std::move(r)}});
  }
  if (s != nullptr && s->state == ContainerState::exited) {
    // About to run again: what it waits for is the state, how it ended goes to lastState.
    if (!in.ended && why != in.waiting.end() && should_restart(pod, container, *s)) {
      return waiting_state(why->second.reason, why->second.message);
    }
    return terminated_state(*s, in);
  }
  if (why != in.waiting.end()) return waiting_state(why->second.reason, why->second.message);
  return waiting_state(may_start ? "ContainerCreating" : "PodInitializing", "");
}

Value container_status(const Value& pod, const Value& container, bool may_start,
                       const StatusInput& in) {
  const std::string& name = container["name"].as_string();
  const auto found = in.observed.containers.find(name);
  const ContainerStatus* s = found != in.observed.containers.end() ? &found->second : nullptr;
  const auto health = in.observed.health.find(name);
  const bool running = s != nullptr && s->state == ContainerState::running;
  const bool is_init = find_named(pod["spec"]["initContainers"], name) != nullptr;

  Value out = Value::object({{"name", Value(name)}});
  Value state = container_state(pod, container, s, may_start, in);
  const ContainerStatus* last = nullptr;
  if (s != nullptr && s->state == ContainerState::exited && state.has("waiting")) {
    last = s;
  } else if (const auto it = in.previous.find(name); it != in.previous.end()) {
    last = &it->second;
  }
  out.set("state", std::move(state));
  out.set("lastState", last != nullptr ? terminated_state(*last, in) : Value::object());
  const bool done = is_init && !is_sidecar(container) && s != nullptr &&
                    s->state == ContainerState::exited && s->exit_code == 0;
  out.set("ready", done || (running && health != in.observed.health.end() && health->second.ready));
  const auto restarts = in.restarts.find(name);
  out.set("restartCount", restarts != in.restarts.end() ? restarts->second : 0);
  out.set("image", container["image"]);
  out.set("imageID", s != nullptr ? s->config.image_id : "");
  if (s != nullptr) out.set("containerID", "skiff://" + s->id);
  out.set("started", running && (health == in.observed.health.end() || health->second.started));
  if (running) {
    Value linux_user = Value::object({{"uid", s->user}, {"gid", s->group}});
    Value groups = Value::array();
    for (const std::int64_t g : s->groups) groups.push_back(g);
    if (groups.empty()) groups.push_back(s->group);
    linux_user.set("supplementalGroups", std::move(groups));
    out.set("user", Value::object({{"linux", std::move(linux_user)}}));
  }
  const Value& resources = container["resources"];
  if (resources.has("requests")) out.set("allocatedResources", resources["requests"]);
  out.set("resources", resources.is_null() ? Value::object() : resources);
  return out;
}

// Upstream's rule (pod lifecycle, "pod phase").
std::string phase_of(const Value& pod, const StatusInput& in, const Value& mains, bool init_done) {
  if (!in.failed_reason.empty()) return "Failed";
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    const auto it = in.observed.containers.find(c["name"].as_string());
    const bool failed = it != in.observed.containers.end() && !is_sidecar(c) &&
                        it->second.state == ContainerState::exited && it->second.exit_code != 0 &&
                        !should_restart(pod, c, it->second);
    if (failed) return "Failed";
  }
  if (!init_done) return in.ended ? "Failed" : "Pending";
  std::size_t running = 0, waiting = 0, ended = 0, succeeded = 0;
  for (const Value& status : mains.items()) {
    const Value& state = status["state"];
    if (state.has("running")) {
      ++running;
    } else if (state.has("terminated")) {
      ++ended;
      if (state["terminated"]["exitCode"].as_int() == 0) ++succeeded;
    } else if (status["lastState"].has("terminated")) {
      ++ended;
    } else {
      ++waiting;
    }
  }
  if (in.ended) return running + waiting == 0 && ended == succeeded ? "Succeeded" : "Failed";
  if (waiting > 0) return "Pending";
  if (running > 0) return "Running";
  if (restart_policy_of(pod) == RestartPolicy::always) return "Running";
  if (ended == succeeded) return "Succeeded";
  return restart_policy_of(pod) == RestartPolicy::never ? "Failed" : "Running";
}

class Conditions {
 public:
  Conditions(const Value& pod, WallTime now) : pod_(pod), now_(format_time(now)) {}

  void set(const char* type, bool value, const std::string& reason = "",
           const std::string& message = "") {
    const char* status = value ? "True" : "False";
    Value c = Value::object({{"type", type}, {"status", status}});
    c.set("observedGeneration", pod_["metadata"]["generation"].as_int());
    c.set("lastProbeTime", nullptr);
    const Value* before = nullptr;
    for (const Value& old : pod_["status"]["conditions"].items()) {
      if (old["type"].as_string() == type) before = &old;
    }
    const bool same = before != nullptr && (*before)["status"].as_string() == status &&
                      (*before)["lastTransitionTime"].is_string();
    c.set("lastTransitionTime", same ? (*before)["lastTransitionTime"] : Value(now_));
    // A patch merges conditions by type: what no longer holds has to be taken away by name.
    if (!reason.empty()) {
      c.set("reason", reason);
    } else if (before != nullptr && before->has("reason")) {
      c.set("reason", nullptr);
    }
    if (!message.empty()) {
      c.set("message", message);
    } else if (before != nullptr && before->has("message")) {
      c.set("message", nullptr);
    }
    list_.push_back(std::move(c));
  }
  Value take() { return std::move(list_); }

 private:
  const Value& pod_;
  std::string now_;
  Value list_ = Value::array();
};

std::string bracketed(const std::vector<std::string>& names) {
  std::string out = "[";
  for (const std::string& n : names) out += (out.size() > 1 ? " " : "") + n;
  return out + "]";
}

std::vector<std::string> unready(const Value& statuses) {
  std::vector<std::string> names;
  for (const Value& s : statuses.items()) {
    if (!s["ready"].as_bool()) names.push_back(s["name"].as_string());
  }
  return names;
}

bool condition_true(const Value& pod, const std::string& type) {
  for (const Value& c : pod["status"]["conditions"].items()) {
    if (c["type"].as_string() == type) return c["status"].as_string() == "True";
  }
  return false;
}

Value make_conditions(const Value& pod, const StatusInput& in, const std::string& phase,
                      bool init_done, const Value& inits, const Value& mains) {
  Conditions conditions(pod, in.now);
  const bool over = phase == "Succeeded" || phase == "Failed";
  conditions.set("PodReadyToStartContainers", in.observed.sandbox_ready && !over);
  if (init_done || phase == "Succeeded") {
    const bool none_needed = phase == "Succeeded";
    conditions.set("Initialized", true, none_needed ? "PodCompleted" : "");
  } else {
    conditions.set("Initialized", false, "ContainersNotInitialized",
                   "containers with incomplete status: " + bracketed(unready(inits)));
  }
  std::vector<std::string> not_ready = unready(mains);
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    const Value* s = find_named(inits, c["name"].as_string());
    if (is_sidecar(c) && s != nullptr && !(*s)["ready"].as_bool()) {
      not_ready.push_back(c["name"].as_string());
    }
  }
  std::string reason;
  std::string message;
  if (over) {
    reason = phase == "Succeeded" ? "PodCompleted" : "PodFailed";
  } else if (!not_ready.empty()) {
    reason = "ContainersNotReady";
    message = "containers with unready status: " + bracketed(not_ready);
  }
  const bool containers_ready = reason.empty();
  std::string gate_message;
  for (const Value& gate : pod["spec"]["readinessGates"].items()) {
    const std::string& type = gate["conditionType"].as_string();
    if (containers_ready && !condition_true(pod, type)) {
      gate_message = "the status of pod readiness gate \"" + type + "\" is not \"True\", but False";
    }
  }
  if (gate_message.empty()) {
    conditions.set("Ready", containers_ready, reason, message);
  } else {
    conditions.set("Ready", false, "ReadinessGatesNotReady", gate_message);
  }
  conditions.set("ContainersReady", containers_ready, reason, message);
  conditions.set("PodScheduled", true);
  return conditions.take();
}

}  // namespace

Value make_status(const Value& pod, const StatusInput& in) {
  const Value& spec = pod["spec"];
  const bool init_done = initialized(pod, in.observed);
  Value inits = Value::array();
  for (const Value& c : spec["initContainers"].items()) {
    inits.push_back(container_status(pod, c, in.observed.sandbox_ready, in));
  }
  Value mains = Value::array();
  for (const Value& c : spec["containers"].items()) {
    mains.push_back(container_status(pod, c, init_done, in));
  }
  const std::string phase = phase_of(pod, in, mains, init_done);

  Value status = Value::object(
      {{"observedGeneration", pod["metadata"]["generation"].as_int()}, {"phase", Value(phase)}});
  status.set("conditions", make_conditions(pod, in, phase, init_done, inits, mains));
  if (!in.failed_reason.empty()) {
    status.set("reason", in.failed_reason);
    status.set("message", in.failed_message);
  }
  if (!in.host_ip.empty()) {
    status.set("hostIP", in.host_ip);
    status.set("hostIPs", Value::array({Value::object({{"ip", Value(in.host_ip)}})}));
  }
  const std::string ip =
      is_host_network(pod) && in.observed.sandbox_existed ? in.host_ip : in.pod_ip;
  if (!ip.empty()) {
    status.set("podIP", ip);
    status.set("podIPs", Value::array({Value::object({{"ip", Value(ip)}})}));
  }
  const Value& started = pod["status"]["startTime"];
  status.set("startTime", started.is_string()     ? started
                          : in.start_time.empty() ? Value(format_time(in.now))
                                                  : Value(in.start_time));
  if (!inits.empty()) status.set("initContainerStatuses", std::move(inits));
  status.set("containerStatuses", std::move(mains));
  return status;
}

}  // namespace skiff::kubelet
