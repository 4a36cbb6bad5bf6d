#include "duration.hpp"
#include "printers.hpp"
#include "skiff/api/quantity.hpp"

namespace skiff::apiserver::print {
namespace {

std::string number(const Value& v) { return std::to_string(v.as_int()); }

bool is_true(const Value& o, std::string_view type) {
  for (const Value& c : o["status"]["conditions"].items()) {
    if (c["type"].as_string() == type) return c["status"].as_string() == "True";
  }
  return false;
}

Cells replicated(const Value& o, WallTime now, std::string selector) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["replicas"].as_int());
  cells.emplace_back(o["status"]["replicas"].as_int());
  cells.emplace_back(o["status"]["readyReplicas"].as_int());
  cells.emplace_back(age(o, now));
  append_containers(cells, o["spec"]["template"]["spec"]);
  cells.emplace_back(std::move(selector));
  return cells;
}

std::string job_status(const Value& o) {
  if (is_true(o, "Complete")) return "Complete";
  if (is_true(o, "Failed")) return "Failed";
  if (!o["metadata"]["deletionTimestamp"].is_null()) return "Terminating";
  for (const std::string_view type : {"Suspended", "FailureTarget", "SuccessCriteriaMet"}) {
    if (is_true(o, type)) return std::string(type);
  }
  return "Running";
}

std::string completions(const Value& o) {
  const std::string done = number(o["status"]["succeeded"]);
  if (!o["spec"]["completions"].is_null()) return done + "/" + number(o["spec"]["completions"]);
  const std::int64_t parallel = o["spec"]["parallelism"].as_int();
  return done + (parallel > 1 ? "/1 of " + std::to_string(parallel) : "/1");
}

std::string job_duration(const Value& o, WallTime now) {
  const auto start = parse_time(o["status"]["startTime"].as_string());
  if (!start) return "";
  const auto end = parse_time(o["status"]["completionTime"].as_string());
  return human_duration((end ? *end : now) - *start);
}

const Value* find_metric(const Value& list, const Value& like, std::string_view source) {
  for (const Value& m : list.items()) {
    if (m["type"] != like["type"]) continue;
    const Value& a = m[source];
    const Value& b = like[source];
    if (a["name"] == b["name"] && a["container"] == b["container"] &&
        a["metric"]["name"] == b["metric"]["name"]) {
      return &m;
    }
  }
  return nullptr;
}

std::string source_of(const Value& metric) {
  std::string source = metric["type"].as_string();
  if (!source.empty()) source[0] = static_cast<char>(source[0] - 'A' + 'a');
  return source;
}

std::string target(const Value& metric, const Value& statuses) {
  const std::string source = source_of(metric);
  const Value& wanted = metric[source]["target"];
  const Value* found = find_metric(statuses, metric, source);
  static const Value nothing;
  const Value& current = found ? (*found)[source]["current"] : nothing;
  const std::string label =
      metric[source].has("name") ? metric[source]["name"].as_string() + ": " : std::string();
  if (wanted.has("averageUtilization")) {
    const Value& have = current["averageUtilization"];
    return label + (have.is_null() ? std::string(kUnknown) : number(have) + "%") + "/" +
           number(wanted["averageUtilization"]) + "%";
  }
  const bool average = wanted.has("averageValue");
  const std::string_view field = average ? "averageValue" : "value";
  const std::string& have = current[field].as_string();
  const bool suffix = average && (source == "external" || source == "object");
  return label + (have.empty() ? std::string(kUnknown) : have) + "/" + wanted[field].as_string() +
         (suffix ? " (avg)" : "");
}

// Served as autoscaling/v1, the cells say as much as that version knows.
std::string targets(const Value& o) {
  const Value& spec = o["spec"];
  if (spec.has("targetCPUUtilizationPercentage")) {
    const Value& have = o["status"]["currentCPUUtilizationPercentage"];
    return "cpu: " + (have.is_null() ? std::string(kUnknown) : number(have) + "%") + "/" +
           number(spec["targetCPUUtilizationPercentage"]) + "%";
  }
  const auto metrics = spec["metrics"].items();
  if (metrics.empty()) return std::string(kNone);
  std::vector<std::string> parts;
  for (const Value& m : metrics) parts.push_back(target(m, o["status"]["currentMetrics"]));
  constexpr std::size_t kShown = 2;
  if (parts.size() <= kShown) return join(parts, ", ");
  const std::size_t more = parts.size() - kShown;
  parts.resize(kShown);
  return join(parts, ", ") + " + " + std::to_string(more) + " more...";
}

std::string number_or(const Value& v, std::string_view absent) {
  if (v.is_null()) return std::string(absent);
  return v.is_string() ? v.as_string() : number(v);
}

}  // namespace

Cells deployment(const Value& o, WallTime now) {
  const Value& status = o["status"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(number(status["readyReplicas"]) + "/" + number(o["spec"]["replicas"]));
  cells.emplace_back(status["updatedReplicas"].as_int());
  cells.emplace_back(status["availableReplicas"].as_int());
  cells.emplace_back(age(o, now));
  append_containers(cells, o["spec"]["template"]["spec"]);
  cells.emplace_back(label_selector(o["spec"]["selector"]));
  return cells;
}

Cells replica_set(const Value& o, WallTime now) {
  return replicated(o, now, label_selector(o["spec"]["selector"]));
}

Cells replication_controller(const Value& o, WallTime now) {
  return replicated(o, now, labels(o["spec"]["selector"]));
}

Cells daemon_set(const Value& o, WallTime now) {
  const Value& status = o["status"];
  Cells cells;
  cells.emplace_back(name(o));
  for (const std::string_view count :
       {"desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
        "numberAvailable"}) {
    cells.emplace_back(status[count].as_int());
  }
  cells.emplace_back(labels(o["spec"]["template"]["spec"]["nodeSelector"]));
  cells.emplace_back(age(o, now));
  append_containers(cells, o["spec"]["template"]["spec"]);
  cells.emplace_back(label_selector(o["spec"]["selector"]));
  return cells;
}

Cells stateful_set(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(number(o["status"]["readyReplicas"]) + "/" + number(o["spec"]["replicas"]));
  cells.emplace_back(age(o, now));
  append_containers(cells, o["spec"]["template"]["spec"]);
  return cells;
}

Cells job(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(job_status(o));
  cells.emplace_back(completions(o));
  cells.emplace_back(job_duration(o, now));
  cells.emplace_back(age(o, now));
  append_containers(cells, o["spec"]["template"]["spec"]);
  cells.emplace_back(label_selector(o["spec"]["selector"]));
  return cells;
}

Cells cron_job(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  const Value& last = o["status"]["lastScheduleTime"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(spec["schedule"]);
  cells.emplace_back(or_none(spec["timeZone"].as_string()));
  cells.emplace_back(boolean(spec["suspend"]));
  cells.emplace_back(o["status"]["active"].size());
  cells.emplace_back(last.is_null() ? std::string(kNone) : since(last, now));
  cells.emplace_back(age(o, now));
  append_containers(cells, spec["jobTemplate"]["spec"]["template"]["spec"]);
  cells.emplace_back(label_selector(spec["jobTemplate"]["spec"]["selector"]));
  return cells;
}

Cells pod_template(const Value& o, WallTime) {
  Cells cells;
  cells.emplace_back(name(o));
  append_containers(cells, o["template"]["spec"]);
  cells.emplace_back(labels(o["template"]["metadata"]["labels"]));
  return cells;
}

Cells controller_revision(const Value& o, WallTime now) {
  std::string controller(kNone);
  for (const Value& owner : o["metadata"]["ownerReferences"].items()) {
    if (!owner["controller"].as_bool()) continue;
    std::string kind = owner["kind"].as_string();
    for (char& c : kind) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    const std::string& version = owner["apiVersion"].as_string();
    const auto slash = version.find('/');
    if (slash != std::string::npos) kind += "." + version.substr(0, slash);
    controller = kind + "/" + owner["name"].as_string();
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(std::move(controller));
  cells.emplace_back(o["revision"].as_int());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells autoscaler(const Value& o, WallTime now) {
  const Value& ref = o["spec"]["scaleTargetRef"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(ref["kind"].as_string() + "/" + ref["name"].as_string());
  cells.emplace_back(targets(o));
  cells.emplace_back(number_or(o["spec"]["minReplicas"], kUnset));
  cells.emplace_back(o["spec"]["maxReplicas"].as_int());
  cells.emplace_back(o["status"]["currentReplicas"].as_int());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells disruption_budget(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(number_or(o["spec"]["minAvailable"], "N/A"));
  cells.emplace_back(number_or(o["spec"]["maxUnavailable"], "N/A"));
  cells.emplace_back(o["status"]["disruptionsAllowed"].as_int());
  cells.emplace_back(age(o, now));
  return cells;
}

}  // namespace skiff::apiserver::print
