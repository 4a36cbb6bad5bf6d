#include "deployment_plan.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kSetAvailable = "NewReplicaSetAvailable";
constexpr const char* kTimedOut = "ProgressDeadlineExceeded";

void put_condition(Value& status, Value wanted) {
  const std::string type = wanted["type"].as_string();
  erase_condition(status, type);
  status.member("conditions").push_back(std::move(wanted));
}

Value progress_condition(std::string_view type, std::string_view value, std::string_view reason,
                         std::string_view message, WallTime now) {
  const std::string time = format_time(now);
  return Value::object({{"type", type},
                        {"status", value},
                        {"lastUpdateTime", time},
                        {"lastTransitionTime", time},
                        {"reason", reason},
                        {"message", message}});
}

// "ReplicaSet "web-5d4" has ...", or the Deployment where there is no new set.
std::string subject(const Rollout& r) {
  if (r.newest) return "ReplicaSet \"" + r.sets[*r.newest].object->name() + "\"";
  return "Deployment \"" + r.deployment["metadata"]["name"].as_string() + "\"";
}

// Whether `next` is further along than the status the Deployment has.
bool progressing(const Rollout& r, const Value& next) {
  const Value& old = r.deployment["status"];
  const auto count = [](const Value& s, const char* field) { return s[field].as_int(); };
  const std::int64_t old_others = count(old, "replicas") - count(old, "updatedReplicas");
  const std::int64_t others = count(next, "replicas") - count(next, "updatedReplicas");
  return count(next, "updatedReplicas") > count(old, "updatedReplicas") || others < old_others ||
         count(next, "readyReplicas") > count(old, "readyReplicas") ||
         count(next, "availableReplicas") > count(old, "availableReplicas");
}

bool timed_out(const Rollout& r, const Value& status, WallTime now) {
  const Value& c = condition(status, "Progressing");
  if (!r.has_deadline() || c.is_null()) return false;
  const std::string& reason = c["reason"].as_string();
  if (reason == kSetAvailable) return false;
  if (reason == kTimedOut) return true;
  const auto since = time_of(c["lastUpdateTime"]);
  return since && *since + r.deadline() < now;
}

void judge_progress(const Rollout& r, Value& status, WallTime now) {
  const Value current = condition(status, "Progressing");
  // A finished rollout stays finished: pods that fail later are no new rollout.
  if (status["replicas"] == status["updatedReplicas"] &&
      current["reason"].as_string() == kSetAvailable) {
    return;
  }
  if (complete(r, status)) {
    set_progress(status, "Progressing", "True", kSetAvailable,
                 subject(r) + " has successfully progressed.", now);
  } else if (progressing(r, status)) {
    Value next = progress_condition("Progressing", "True", "ReplicaSetUpdated",
                                    subject(r) + " is progressing.", now);
    if (current["status"].as_string() == "True") {
      next.set("lastTransitionTime", current["lastTransitionTime"]);
    }
    put_condition(status, std::move(next));
  } else if (timed_out(r, status, now)) {
    set_progress(status, "Progressing", "False", kTimedOut,
                 subject(r) + " has timed out progressing.", now);
  }
}

// A set that cannot make or delete pods makes its Deployment say so; the new set's word counts
// most.
const Value& replica_failure(const Rollout& r) {
  if (r.newest) {
    const Value& c = condition((*r.sets[*r.newest].object)["status"], "ReplicaFailure");
    if (!c.is_null()) return c;
  }
  for (const SetView& set : r.sets) {
    const Value& c = condition((*set.object)["status"], "ReplicaFailure");
    if (!c.is_null()) return c;
  }
  static const Value kNone;
  return kNone;
}

}  // namespace

void set_progress(Value& status, std::string_view type, std::string_view value,
                  std::string_view reason, std::string_view message, WallTime now) {
  const Value& current = condition(status, type);
  if (current["status"].as_string() == value && current["reason"].as_string() == reason) return;
  Value next = progress_condition(type, value, reason, message, now);
  if (current["status"].as_string() == value) {
    next.set("lastTransitionTime", current["lastTransitionTime"]);
  }
  put_condition(status, std::move(next));
}

bool complete(const Rollout& r, const Value& status) {
  const std::int64_t wanted = r.wanted();
  return status["updatedReplicas"].as_int() == wanted && status["replicas"].as_int() == wanted &&
         status["availableReplicas"].as_int() == wanted &&
         status["observedGeneration"].as_int() >= r.deployment["metadata"]["generation"].as_int();
}

Value plan_status(const Rollout& r, WallTime now) {
  std::int64_t current = 0;
  std::int64_t ready = 0;
  std::int64_t available = 0;
  std::optional<std::int64_t> terminating = 0;
  for (const SetView& set : r.sets) {
    current += set.current;
    ready += set.ready;
    available += set.available;
    if (!set.terminating) terminating.reset();
    if (terminating) *terminating += *set.terminating;
  }
  Value status = Value::object();
  const auto number = [&](const char* field, std::int64_t value) {
    if (value != 0) status.set(field, value);  // the API leaves zeros out
  };
  number("observedGeneration", r.deployment["metadata"]["generation"].as_int());
  number("replicas", current);
  number("updatedReplicas", r.newest ? r.sets[*r.newest].current : 0);
  number("readyReplicas", ready);
  number("availableReplicas", available);
  number("unavailableReplicas", std::max<std::int64_t>(0, r.total() - available));
  if (terminating) status.set("terminatingReplicas", *terminating);
  const Value& old = r.deployment["status"];
  if (old.has("conditions")) status.set("conditions", old["conditions"]);
  if (available >= r.wanted() - r.max_unavailable()) {
    set_progress(status, "Available", "True", "MinimumReplicasAvailable",
                 "Deployment has minimum availability.", now);
  } else {
    set_progress(status, "Available", "False", "MinimumReplicasUnavailable",
                 "Deployment does not have minimum availability.", now);
  }
  if (old.has("collisionCount")) status.set("collisionCount", old["collisionCount"]);
  return status;
}

Value plan_rollout_status(const Rollout& r, WallTime now, std::optional<Duration>* look_again) {
  Value status = plan_status(r, now);
  if (r.has_deadline()) {
    judge_progress(r, status, now);
  } else {
    erase_condition(status, "Progressing");
  }
  const Value& failure = replica_failure(r);
  if (failure.is_null()) {
    erase_condition(status, "ReplicaFailure");
  } else {
    Value next = failure;
    next.set("lastUpdateTime", failure["lastTransitionTime"]);
    const Value& present = condition(status, "ReplicaFailure");
    if (!(present["status"] == next["status"] && present["reason"] == next["reason"])) {
      put_condition(status, std::move(next));
    }
  }
  const Value& c = condition(status, "Progressing");
  if (look_again != nullptr && r.has_deadline() && !c.is_null() && !complete(r, status) &&
      c["reason"].as_string() != kTimedOut && c["reason"].as_string() != kSetAvailable) {
    const WallTime since = time_of(c["lastUpdateTime"]).value_or(now);
    // A second later, as the times in conditions have lost their fractions.
    *look_again = std::max<Duration>(since + r.deadline() - now, Duration{}) + 1s;
  }
  return status;
}

}  // namespace skiff::controllers
