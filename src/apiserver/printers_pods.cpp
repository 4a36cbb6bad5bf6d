// Pods: one line that says what is the matter.
#include "duration.hpp"
#include "printers.hpp"

namespace skiff::apiserver::print {
namespace {

std::string number(std::int64_t n) { return std::to_string(n); }

bool has_condition(const Value& pod, std::string_view type) {
  for (const Value& c : pod["status"]["conditions"].items()) {
    if (c["type"].as_string() == type) return c["status"].as_string() == "True";
  }
  return false;
}

const Value& spec_of(const Value& pod, std::string_view list, std::string_view name) {
  static const Value none;
  for (const Value& c : pod["spec"][list].items()) {
    if (c["name"].as_string() == name) return c;
  }
  return none;
}

bool is_sidecar(const Value& container) {
  return container["restartPolicy"].as_string() == "Always";
}

// Why a container ended: its reason, or what the kernel said.
std::string ended(const Value& terminated) {
  const std::string& reason = terminated["reason"].as_string();
  if (!reason.empty()) return reason;
  if (const std::int64_t signal = terminated["signal"].as_int(); signal != 0) {
    return "Signal:" + number(signal);
  }
  return "ExitCode:" + number(terminated["exitCode"].as_int());
}

// Gathered while going through a Pod's container statuses.
struct Summary {
  std::string reason;
  std::int64_t ready = 0;
  std::int64_t restarts = 0;
  std::optional<WallTime> last_restart;
  std::int64_t sidecar_restarts = 0;
  std::optional<WallTime> last_sidecar_restart;

  static void later(std::optional<WallTime>& last, const Value& status) {
    const auto at = parse_time(status["lastState"]["terminated"]["finishedAt"].as_string());
    if (at && (!last || *last < *at)) last = *at;
  }
};

// False once the first init container that is not done has been seen.
bool note_init(const Value& pod, std::size_t index, const Value& status, Summary& s) {
  const Value& spec = spec_of(pod, "initContainers", status["name"].as_string());
  const bool sidecar = is_sidecar(spec);
  s.restarts += status["restartCount"].as_int();
  Summary::later(s.last_restart, status);
  if (sidecar) {
    s.sidecar_restarts += status["restartCount"].as_int();
    Summary::later(s.last_sidecar_restart, status);
  }
  const Value& terminated = status["state"]["terminated"];
  const std::string& waiting = status["state"]["waiting"]["reason"].as_string();
  if (!terminated.is_null() && terminated["exitCode"].as_int() == 0) return true;
  if (sidecar && status["started"].as_bool()) {
    if (status["ready"].as_bool()) ++s.ready;
    return true;
  }
  if (!terminated.is_null()) {
    s.reason = "Init:" + ended(terminated);
  } else if (!waiting.empty() && waiting != "PodInitializing") {
    s.reason = "Init:" + waiting;
  } else {
    s.reason = "Init:" + number(static_cast<std::int64_t>(index)) + "/" +
               number(static_cast<std::int64_t>(pod["spec"]["initContainers"].size()));
  }
  return false;
}

void note_containers(const Value& pod, Summary& s) {
  s.restarts = s.sidecar_restarts;
  s.last_restart = s.last_sidecar_restart;
  bool running = false;
  const auto statuses = pod["status"]["containerStatuses"].items();
  for (auto it = statuses.rbegin(); it != statuses.rend(); ++it) {
    const Value& status = *it;
    s.restarts += status["restartCount"].as_int();
    Summary::later(s.last_restart, status);
    const Value& state = status["state"];
    const std::string& waiting = state["waiting"]["reason"].as_string();
    if (!waiting.empty()) {
      s.reason = waiting;
    } else if (!state["terminated"].is_null()) {
      s.reason = ended(state["terminated"]);
    } else if (status["ready"].as_bool() && !state["running"].is_null()) {
      running = true;
      ++s.ready;
    }
  }
  if (s.reason == "Completed" && running) {
    s.reason = has_condition(pod, "Ready") ? "Running" : "NotReady";
  }
}

Summary summarize(const Value& pod) {
  const Value& status = pod["status"];
  const std::string& phase = status["phase"].as_string();
  Summary s;
  s.reason = status["reason"].as_string().empty() ? phase : status["reason"].as_string();
  for (const Value& c : status["conditions"].items()) {
    if (c["type"].as_string() == "PodScheduled" && c["reason"].as_string() == "SchedulingGated") {
      s.reason = "SchedulingGated";
    }
  }
  bool initializing = false;
  const auto inits = status["initContainerStatuses"].items();
  for (std::size_t i = 0; i < inits.size() && !initializing; ++i) {
    initializing = !note_init(pod, i, inits[i], s);
  }
  if (!initializing || has_condition(pod, "Initialized")) note_containers(pod, s);
  if (!pod["metadata"]["deletionTimestamp"].is_null()) {
    if (status["reason"].as_string() == "NodeLost") {
      s.reason = "Unknown";
    } else if (phase != "Succeeded" && phase != "Failed") {
      s.reason = "Terminating";
    }
  }
  return s;
}

std::string readiness_gates(const Value& pod) {
  const auto gates = pod["spec"]["readinessGates"].items();
  if (gates.empty()) return std::string(kNone);
  std::int64_t open = 0;
  for (const Value& gate : gates) {
    if (has_condition(pod, gate["conditionType"].as_string())) ++open;
  }
  return number(open) + "/" + number(static_cast<std::int64_t>(gates.size()));
}

}  // namespace

Cells pod(const Value& o, WallTime now) {
  const Summary s = summarize(o);
  auto total = static_cast<std::int64_t>(o["spec"]["containers"].size());
  for (const Value& c : o["spec"]["initContainers"].items()) total += is_sidecar(c) ? 1 : 0;
  std::string restarts = number(s.restarts);
  if (s.restarts != 0 && s.last_restart) {
    restarts += " (" + human_duration(now - *s.last_restart) + " ago)";
  }
  const Value& status = o["status"];
  const Value& first_ip = status["podIPs"][std::size_t{0}]["ip"];
  const Value& ip = first_ip.is_null() ? status["podIP"] : first_ip;
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(number(s.ready) + "/" + number(total));
  cells.emplace_back(s.reason);
  cells.emplace_back(std::move(restarts));
  cells.emplace_back(age(o, now));
  cells.emplace_back(or_none(ip.as_string()));
  cells.emplace_back(or_none(o["spec"]["nodeName"].as_string()));
  cells.emplace_back(or_none(status["nominatedNodeName"].as_string()));
  cells.emplace_back(readiness_gates(o));
  return cells;
}

}  // namespace skiff::apiserver::print
