// The kinds that make pods: ReplicationController, apps and batch.
#include <algorithm>
#include <optional>

#include "skiff/api/selector.hpp"
#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::int64_t kMaxIndexes = 100'000;

void check_restart_policy(FieldErrors& errors, const Path& path, const Value& spec,
                          std::vector<std::string> allowed) {
  const Value& policy = spec["restartPolicy"];
  if (policy.as_string().empty()) return;  // the schema requires it
  if (std::find(allowed.begin(), allowed.end(), policy.as_string()) == allowed.end())
    errors.not_supported(child(path, "restartPolicy"), policy, std::move(allowed));
}

// A template that its selector would not find could never be managed.
void check_template(FieldErrors& errors, const Value& spec, std::string_view kind) {
  const Value& selector = spec["selector"];
  const Value& labels = spec["template"]["metadata"]["labels"];
  if (selector.is_object() && selector["matchLabels"].empty() &&
      selector["matchExpressions"].empty())
    errors.invalid("spec.selector", selector, "empty selector is invalid for " + std::string(kind));
  auto parsed = LabelSelector::from(selector);
  if (parsed && !parsed->empty() && !parsed->matches(labels))
    errors.invalid("spec.template.metadata.labels", labels.is_null() ? Value::object() : labels,
                   "`selector` does not match template `labels`");
}

struct Amount {
  std::int64_t value = 0;
  bool percent = false;
};

// An int-or-percent that is not negative; complains otherwise.
std::optional<Amount> check_amount(FieldErrors& errors, const Path& path, const Value& v) {
  if (v.is_string()) {
    Complaints bad = percent_errors(v.as_string());
    complain(errors, path, v, bad);
    if (!bad.empty()) return std::nullopt;
    return Amount{std::strtoll(v.as_string().c_str(), nullptr, 10), true};
  }
  if (v.as_int() < 0) {
    errors.invalid(path, v, std::string(kNotNegative));
    return std::nullopt;
  }
  return Amount{v.as_int(), false};
}

void check_at_most_all(FieldErrors& errors, const Path& path, const Value& v,
                       const std::optional<Amount>& amount) {
  if (amount && amount->percent && amount->value > 100)
    errors.invalid(path, v, "must not be greater than 100%");
}

void check_rolling(FieldErrors& errors, const Path& path, const Value& rolling) {
  const Path unavailable_path = child(path, "maxUnavailable");
  auto unavailable = check_amount(errors, unavailable_path, rolling["maxUnavailable"]);
  auto surge = check_amount(errors, child(path, "maxSurge"), rolling["maxSurge"]);
  if (unavailable && surge && unavailable->value == 0 && surge->value == 0)
    errors.invalid(unavailable_path, rolling["maxUnavailable"],
                   "may not be 0 when `maxSurge` is 0");
  check_at_most_all(errors, unavailable_path, rolling["maxUnavailable"], unavailable);
}

void check_deployment(const Subject& s) {
  const Value& spec = s.doc["spec"];
  check_template(s.errors, spec, "deployment");
  validate_pod_template(s.errors, "spec.template", spec["template"]);
  check_restart_policy(s.errors, "spec.template.spec", spec["template"]["spec"], {"Always"});
  if (!spec["template"]["spec"]["activeDeadlineSeconds"].is_null())
    s.errors.forbidden("spec.template.spec.activeDeadlineSeconds",
                       "activeDeadlineSeconds in ReplicaSet is not Supported");
  const Value& strategy = spec["strategy"];
  if (strategy["type"].as_string() == "Recreate" && strategy["rollingUpdate"].is_object())
    s.errors.forbidden("spec.strategy.rollingUpdate",
                       "may not be specified when strategy `type` is 'Recreate'");
  if (strategy["type"].as_string() == "RollingUpdate" && strategy["rollingUpdate"].is_object())
    check_rolling(s.errors, "spec.strategy.rollingUpdate", strategy["rollingUpdate"]);
  const Value& deadline = spec["progressDeadlineSeconds"];
  if (!deadline.is_null() && deadline.as_int() <= spec["minReadySeconds"].as_int())
    s.errors.invalid("spec.progressDeadlineSeconds", deadline,
                     "must be greater than minReadySeconds");
}

void check_deployment_status(const Subject& s) {
  const Value& status = s.doc["status"];
  for (const char* field : {"observedGeneration", "replicas", "updatedReplicas", "readyReplicas",
                            "availableReplicas", "unavailableReplicas"})
    if (status[field].as_int() < 0)
      s.errors.invalid(child("status", field), status[field], std::string(kNotNegative));
  for (const char* field : {"updatedReplicas", "readyReplicas", "availableReplicas"})
    if (status[field].as_int() > status["replicas"].as_int())
      s.errors.invalid(child("status", field), status[field],
                       "cannot be greater than status.replicas");
  if (status["availableReplicas"].as_int() > status["readyReplicas"].as_int())
    s.errors.invalid("status.availableReplicas", status["availableReplicas"],
                     "cannot be greater than readyReplicas");
}

void check_replica_set_status(const Subject& s) {
  const Value& status = s.doc["status"];
  for (const char* field : {"fullyLabeledReplicas", "readyReplicas", "availableReplicas"})
    if (status[field].as_int() > status["replicas"].as_int())
      s.errors.invalid(child("status", field), status[field],
                       "cannot be greater than status.replicas");
  if (status["availableReplicas"].as_int() > status["readyReplicas"].as_int())
    s.errors.invalid("status.availableReplicas", status["availableReplicas"],
                     "cannot be greater than readyReplicas");
}

void check_replica_set(const Subject& s) {
  const Value& spec = s.doc["spec"];
  check_template(s.errors, spec, "deployment");
  validate_pod_template(s.errors, "spec.template", spec["template"]);
  check_restart_policy(s.errors, "spec.template.spec", spec["template"]["spec"], {"Always"});
  if (!spec["template"]["spec"]["activeDeadlineSeconds"].is_null())
    s.errors.forbidden("spec.template.spec.activeDeadlineSeconds",
                       "activeDeadlineSeconds in ReplicaSet is not Supported");
}

void check_replication_controller(const Subject& s) {
  const Value& spec = s.doc["spec"];
  const Value& labels = spec["template"]["metadata"]["labels"];
  if (spec["selector"].empty()) s.errors.required("spec.selector");
  validate_labels(s.errors, "spec.selector", spec["selector"]);
  if (!spec["template"].is_object()) return;
  if (!LabelSelector::from_map(spec["selector"]).matches(labels))
    s.errors.invalid("spec.template.metadata.labels", labels.is_null() ? Value::object() : labels,
                     "`selector` does not match template `labels`");
  validate_pod_template(s.errors, "spec.template", spec["template"]);
  check_restart_policy(s.errors, "spec.template.spec", spec["template"]["spec"], {"Always"});
}

void check_daemon_set(const Subject& s) {
  const Value& spec = s.doc["spec"];
  check_template(s.errors, spec, "daemonset");
  validate_pod_template(s.errors, "spec.template", spec["template"]);
  check_restart_policy(s.errors, "spec.template.spec", spec["template"]["spec"], {"Always"});
  const Value& strategy = spec["updateStrategy"];
  if (strategy["type"].as_string() != "RollingUpdate") return;
  const Value& rolling = strategy["rollingUpdate"];
  const Path path = "spec.updateStrategy.rollingUpdate";
  if (!rolling.is_object()) return s.errors.required(path);
  auto unavailable = check_amount(s.errors, path + ".maxUnavailable", rolling["maxUnavailable"]);
  auto surge = check_amount(s.errors, path + ".maxSurge", rolling["maxSurge"]);
  if (!unavailable || !surge) return;
  if (unavailable->value != 0 && surge->value != 0)
    s.errors.invalid(path + ".maxSurge", rolling["maxSurge"],
                     "may not be set when maxUnavailable is non-zero");
  else if (unavailable->value == 0 && surge->value == 0)
    s.errors.required(path + ".maxUnavailable", "cannot be 0 when maxSurge is 0");
  check_at_most_all(s.errors, path + ".maxUnavailable", rolling["maxUnavailable"], unavailable);
  check_at_most_all(s.errors, path + ".maxSurge", rolling["maxSurge"], surge);
}

void check_stateful_set_update(const Subject& s) {
  static constexpr std::string_view kMutable[] = {"replicas",
                                                  "ordinals",
                                                  "template",
                                                  "updateStrategy",
                                                  "minReadySeconds",
                                                  "persistentVolumeClaimRetentionPolicy",
                                                  "revisionHistoryLimit"};
  Value munged = s.doc["spec"];
  const Value& before = s.before()["spec"];
  for (std::string_view field : kMutable) {
    if (const Value* v = before.find(field))
      munged.set(field, *v);
    else
      munged.erase(field);
  }
  if (munged != before)
    s.errors.forbidden("spec",
                       "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                       "'template', 'updateStrategy', 'revisionHistoryLimit', "
                       "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
                       "forbidden");
}

void check_stateful_set(const Subject& s) {
  const Value& spec = s.doc["spec"];
  const Value& policy = spec["podManagementPolicy"];
  if (policy.as_string() != "OrderedReady" && policy.as_string() != "Parallel")
    s.errors.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'");
  const Value& strategy = spec["updateStrategy"];
  const std::string& type = strategy["type"].as_string();
  if (type == "OnDelete" && strategy["rollingUpdate"].is_object())
    s.errors.invalid("spec.updateStrategy.rollingUpdate", strategy["rollingUpdate"],
                     "only allowed for updateStrategy 'RollingUpdate'");
  if (type != "OnDelete" && type != "RollingUpdate")
    s.errors.invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'");
  if (const Value& most = strategy["rollingUpdate"]["maxUnavailable"]; !most.is_null()) {
    const Path path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    auto amount = check_amount(s.errors, path, most);
    if (amount && amount->value == 0) s.errors.invalid(path, most, "cannot be 0");
    check_at_most_all(s.errors, path, most, amount);
  }
  check_template(s.errors, spec, "statefulset");
  validate_pod_template(s.errors, "spec.template", spec["template"]);
  check_restart_policy(s.errors, "spec.template.spec", spec["template"]["spec"], {"Always"});
  if (const Value& name = spec["serviceName"]; !name.as_string().empty() && !s.old)
    check_text(s.errors, "spec.serviceName", name, dns1123_subdomain_errors);
  if (s.old) check_stateful_set_update(s);
}

// --- batch ---

void check_indexed(FieldErrors& errors, const Path& path, const Value& spec) {
  const Value& completions = spec["completions"];
  if (spec["completionMode"].as_string() == "Indexed") {
    if (completions.is_null())
      errors.required(child(path, "completions"), "when completion mode is Indexed");
    if (spec["parallelism"].as_int() > kMaxIndexes)
      errors.invalid(child(path, "parallelism"), spec["parallelism"],
                     "must be less than or equal to 100000 when completion mode is Indexed");
    return;
  }
  if (!spec["backoffLimitPerIndex"].is_null())
    errors.invalid(child(path, "backoffLimitPerIndex"), spec["backoffLimitPerIndex"],
                   "requires indexed completion mode");
  if (!spec["maxFailedIndexes"].is_null())
    errors.invalid(child(path, "maxFailedIndexes"), spec["maxFailedIndexes"],
                   "requires indexed completion mode");
}

void check_job_spec(FieldErrors& errors, const Path& path, const Value& spec) {
  check_indexed(errors, path, spec);
  const Path pods = child(path, "template");
  validate_pod_template(errors, pods, spec["template"]);
  const Value& pod = spec["template"]["spec"];
  const Value& policy = pod["restartPolicy"];
  if (policy.as_string() == "Always")
    errors.not_supported(child(child(pods, "spec"), "restartPolicy"), policy,
                         {"OnFailure", "Never"});
  const Value& failure = spec["podFailurePolicy"];
  if (!failure.is_object()) return;
  if (policy.as_string() != "Never")
    errors.invalid(child(child(pods, "spec"), "restartPolicy"), policy,
                   "only \"Never\" is supported when podFailurePolicy is specified");
  std::size_t index = 0;
  for (const Value& rule : failure["rules"].items()) {
    Path here = at(child(child(path, "podFailurePolicy"), "rules"), index++);
    bool codes = rule["onExitCodes"].is_object();
    bool conditions = !rule["onPodConditions"].empty();
    if (codes && conditions)
      errors.invalid(here, rule,
                     "specifying both OnExitCodes and OnPodConditions is not supported");
    if (!codes && !conditions)
      errors.invalid(here, rule, "specifying one of OnExitCodes and OnPodConditions is required");
  }
}

bool selects_own_label(const Value& spec) {
  return !spec["selector"]["matchLabels"].empty() || !spec["selector"]["matchExpressions"].empty();
}

void check_job(const Subject& s) {
  const Value& spec = s.doc["spec"];
  check_job_spec(s.errors, "spec", spec);
  if (selects_own_label(spec)) {
    auto selector = LabelSelector::from(spec["selector"]);
    const Value& labels = spec["template"]["metadata"]["labels"];
    if (selector && !selector->matches(labels))
      s.errors.invalid("spec.template.metadata.labels", labels.is_null() ? Value::object() : labels,
                       "`selector` does not match template `labels`");
  }
  if (!s.old) return;
  const Value& before = s.before()["spec"];
  bool elastic =
      spec["completionMode"].as_string() == "Indexed" && spec["completions"] == spec["parallelism"];
  if (!elastic)
    check_immutable(s.errors, "spec.completions", spec["completions"], before["completions"]);
  bool was_suspended = before["suspend"].as_bool() && s.before()["status"]["startTime"].is_null();
  if (!was_suspended)
    check_immutable(s.errors, "spec.template", spec["template"], before["template"]);
}

// Five fields, or a shorthand such as @hourly. What each field may hold the controller's parser
// knows; here only the shape is checked.
void check_schedule(FieldErrors& errors, const Path& path, const Value& schedule) {
  const std::string& text = schedule.as_string();
  if (text.empty()) return;
  if (text.find("TZ") != std::string::npos)
    return errors.invalid(path, schedule,
                          "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
  static constexpr std::string_view kShort[] = {"@yearly", "@annually", "@monthly", "@weekly",
                                                "@daily",  "@midnight", "@hourly"};
  if (text.front() == '@') {
    if (std::find(std::begin(kShort), std::end(kShort), text) == std::end(kShort) &&
        !text.starts_with("@every "))
      errors.invalid(path, schedule, "unrecognized descriptor: " + text);
    return;
  }
  std::size_t fields = 0;
  bool inside = false;
  for (char c : text) {
    bool blank = c == ' ' || c == '\t';
    if (!blank && !inside) ++fields;
    inside = !blank;
  }
  if (fields != 5)
    errors.invalid(
        path, schedule,
        "expected exactly 5 fields, found " + std::to_string(fields) + ": [" + text + "]");
}

void check_cron_job(const Subject& s) {
  const Value& spec = s.doc["spec"];
  check_schedule(s.errors, "spec.schedule", spec["schedule"]);
  const Value& job = spec["jobTemplate"];
  const Path path = "spec.jobTemplate";
  validate_labels(s.errors, path + ".labels", job["metadata"]["labels"]);
  validate_annotations(s.errors, path + ".annotations", job["metadata"]["annotations"]);
  check_job_spec(s.errors, path + ".spec", job["spec"]);
  if (job["spec"]["manualSelector"].as_bool())
    s.errors.not_supported(path + ".spec.manualSelector", true, {"nil", "false"});
  if (const Value& zone = spec["timeZone"]; !zone.is_null()) {
    const std::string& name = zone.as_string();
    if (name.empty())
      s.errors.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string");
    else if (name == "Local")
      s.errors.invalid("spec.timeZone", zone,
                       "timeZone must be an explicit time zone as defined "
                       "in https://www.iana.org/time-zones");
  }
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.apps.v1.Deployment", check_deployment},
    {"io.k8s.api.apps.v1.Deployment", check_deployment_status, true},
    {"io.k8s.api.apps.v1.ReplicaSet", check_replica_set},
    {"io.k8s.api.apps.v1.ReplicaSet", check_replica_set_status, true},
    {"io.k8s.api.core.v1.ReplicationController", check_replication_controller},
    {"io.k8s.api.core.v1.ReplicationController", check_replica_set_status, true},
    {"io.k8s.api.apps.v1.DaemonSet", check_daemon_set},
    {"io.k8s.api.apps.v1.StatefulSet", check_stateful_set},
    {"io.k8s.api.batch.v1.Job", check_job},
    {"io.k8s.api.batch.v1.CronJob", check_cron_job},
};

}  // namespace

std::span<const KindRule> workload_rules() { return kRules; }

}  // namespace skiff::api
