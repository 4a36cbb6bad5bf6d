#include "duration.hpp"
#include "printers.hpp"

namespace skiff::apiserver::print {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

std::string node_status(const Value& o) {
  std::string status = "Unknown";
  for (const Value& c : o["status"]["conditions"].items()) {
    if (c["type"].as_string() != "Ready") continue;
    status = c["status"].as_string() == "True" ? "Ready" : "NotReady";
  }
  if (o["spec"]["unschedulable"].as_bool()) status += ",SchedulingDisabled";
  return status;
}

std::string node_roles(const Value& o) {
  constexpr std::string_view kPrefix = "node-role.kubernetes.io/";
  std::set<std::string> roles;
  for (const api::Member& m : o["metadata"]["labels"].members()) {
    if (m.name.starts_with(kPrefix) && m.name.size() > kPrefix.size()) {
      roles.emplace(m.name.substr(kPrefix.size()));
    }
    if (m.name == "kubernetes.io/role" && !m.value.as_string().empty()) {
      roles.insert(m.value.as_string());
    }
  }
  return or_none(join({roles.begin(), roles.end()}));
}

std::string node_address(const Value& o, std::string_view type) {
  for (const Value& a : o["status"]["addresses"].items()) {
    if (a["type"].as_string() == type) return a["address"].as_string();
  }
  return std::string(kNone);
}

std::string or_unknown(const Value& v) {
  return v.as_string().empty() ? std::string(kUnknown) : v.as_string();
}

const Value& first_of(const Value& a, const Value& b) { return a.is_null() ? b : a; }

std::string event_source(const Value& o, const Value& source) {
  std::string component = source["component"].as_string();
  if (component.empty()) {
    component = first_of(o["reportingComponent"], o["reportingController"]).as_string();
  }
  std::string host = source["host"].as_string();
  if (host.empty()) host = o["reportingInstance"].as_string();
  return host.empty() ? component : component + ", " + host;
}

std::string trim(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string quota_part(const Value& status, bool limits) {
  std::vector<std::string> parts;
  for (const api::Member& m : status["hard"].members()) {
    if (m.name.starts_with("limits") != limits) continue;
    const std::string& used = status["used"][m.name].as_string();
    parts.push_back(std::string(m.name) + ": " + (used.empty() ? "0" : used) + "/" +
                    m.value.as_string());
  }
  std::sort(parts.begin(), parts.end());
  return join(parts, ", ");
}

std::string csr_condition(const Value& o) {
  bool approved = false;
  bool denied = false;
  bool failed = false;
  for (const Value& c : o["status"]["conditions"].items()) {
    approved = approved || c["type"].as_string() == "Approved";
    denied = denied || c["type"].as_string() == "Denied";
    failed = failed || c["type"].as_string() == "Failed";
  }
  std::string out = denied ? "Denied" : approved ? "Approved" : "Pending";
  if (failed) out += ",Failed";
  if (!o["status"]["certificate"].as_string().empty()) out += ",Issued";
  return out;
}

Cells three(const Value& o, Value middle, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(std::move(middle));
  cells.emplace_back(age(o, now));
  return cells;
}

}  // namespace

Cells node(const Value& o, WallTime now) {
  const Value& info = o["status"]["nodeInfo"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(node_status(o));
  cells.emplace_back(node_roles(o));
  cells.emplace_back(age(o, now));
  cells.emplace_back(info["kubeletVersion"].as_string());
  cells.emplace_back(node_address(o, "InternalIP"));
  cells.emplace_back(node_address(o, "ExternalIP"));
  cells.emplace_back(or_unknown(info["osImage"]));
  cells.emplace_back(or_unknown(info["kernelVersion"]));
  cells.emplace_back(or_unknown(info["containerRuntimeVersion"]));
  return cells;
}

Cells event(const Value& o, WallTime now) {
  // Of either group: core/v1 or events.k8s.io/v1.
  const Value& object = first_of(o["involvedObject"], o["regarding"]);
  const Value& source = first_of(o["source"], o["deprecatedSource"]);
  const Value& first = first_of(o["firstTimestamp"], o["deprecatedFirstTimestamp"]);
  const Value& last = first_of(o["lastTimestamp"], o["deprecatedLastTimestamp"]);
  const Value& began = first_of(first, o["eventTime"]);
  std::string target = lower(object["kind"].as_string());
  if (const std::string& n = object["name"].as_string(); !n.empty()) target += "/" + n;
  std::int64_t count = first_of(o["count"], o["deprecatedCount"]).as_int();
  std::string seen = since(first_of(last, began), now);
  if (const Value& series = o["series"]; !series.is_null()) {
    seen = since(series["lastObservedTime"], now);
    count = series["count"].as_int();
  }
  Cells cells;
  cells.emplace_back(std::move(seen));
  cells.emplace_back(o["type"].as_string());
  cells.emplace_back(o["reason"].as_string());
  cells.emplace_back(std::move(target));
  cells.emplace_back(object["fieldPath"].as_string());
  cells.emplace_back(event_source(o, source));
  cells.emplace_back(trim(first_of(o["message"], o["note"]).as_string()));
  cells.emplace_back(since(began, now));
  cells.emplace_back(std::max<std::int64_t>(count, 1));
  cells.emplace_back(name(o));
  return cells;
}

Cells namespace_(const Value& o, WallTime now) {
  return three(o, o["status"]["phase"].as_string(), now);
}

Cells secret(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["type"].as_string());
  cells.emplace_back(o["data"].size());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells config_map(const Value& o, WallTime now) {
  return three(o, o["data"].size() + o["binaryData"].size(), now);
}

Cells named_age(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells resource_quota(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(quota_part(o["status"], false));
  cells.emplace_back(quota_part(o["status"], true));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells component_status(const Value& o, WallTime) {
  Cells cells;
  cells.emplace_back(name(o));
  std::string status = "Unknown";
  std::string message;
  std::string error;
  for (const Value& c : o["conditions"].items()) {
    if (c["type"].as_string() != "Healthy") continue;
    status = c["status"].as_string() == "True" ? "Healthy" : "Unhealthy";
    message = c["message"].as_string();
    error = c["error"].as_string();
  }
  cells.emplace_back(std::move(status));
  cells.emplace_back(std::move(message));
  cells.emplace_back(std::move(error));
  return cells;
}

Cells lease(const Value& o, WallTime now) {
  return three(o, o["spec"]["holderIdentity"].as_string(), now);
}

Cells priority_class(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["value"].as_int());
  cells.emplace_back(o["globalDefault"].as_bool());
  cells.emplace_back(age(o, now));
  cells.emplace_back(o["preemptionPolicy"].as_string());
  return cells;
}

Cells runtime_class(const Value& o, WallTime now) { return three(o, o["handler"], now); }

Cells role_binding(const Value& o, WallTime now) {
  std::vector<std::string> users;
  std::vector<std::string> groups;
  std::vector<std::string> accounts;
  for (const Value& s : o["subjects"].items()) {
    const std::string& kind = s["kind"].as_string();
    if (kind == "User") users.push_back(s["name"].as_string());
    if (kind == "Group") groups.push_back(s["name"].as_string());
    if (kind == "ServiceAccount") {
      accounts.push_back(s["namespace"].as_string() + "/" + s["name"].as_string());
    }
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["roleRef"]["kind"].as_string() + "/" + o["roleRef"]["name"].as_string());
  cells.emplace_back(age(o, now));
  cells.emplace_back(join(users, ", "));
  cells.emplace_back(join(groups, ", "));
  cells.emplace_back(join(accounts, ", "));
  return cells;
}

Cells signing_request(const Value& o, WallTime now) {
  const Value& seconds = o["spec"]["expirationSeconds"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(age(o, now));
  cells.emplace_back(or_none(o["spec"]["signerName"].as_string()));
  cells.emplace_back(o["spec"]["username"].as_string());
  cells.emplace_back(seconds.is_null() ? std::string(kNone)
                                       : human_duration(std::chrono::seconds(seconds.as_int())));
  cells.emplace_back(csr_condition(o));
  return cells;
}

Cells webhooks(const Value& o, WallTime now) { return three(o, o["webhooks"].size(), now); }

Cells admission_policy(const Value& o, WallTime now) {
  const Value& kind = o["spec"]["paramKind"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["validations"].size());
  cells.emplace_back(kind.is_null()
                         ? std::string(kUnset)
                         : kind["apiVersion"].as_string() + "/" + kind["kind"].as_string());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells admission_policy_binding(const Value& o, WallTime now) {
  const Value& ref = o["spec"]["paramRef"];
  std::string parameter(kUnset);
  if (!ref["name"].as_string().empty()) {
    const std::string& ns = ref["namespace"].as_string();
    parameter = ns.empty() ? ref["name"].as_string() : ns + "/" + ref["name"].as_string();
  } else if (!ref["selector"].is_null()) {
    parameter = label_selector(ref["selector"]);
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["policyName"].as_string());
  cells.emplace_back(std::move(parameter));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells flow_schema(const Value& o, WallTime now) {
  std::string missing = "?";
  for (const Value& c : o["status"]["conditions"].items()) {
    if (c["type"].as_string() == "Dangling") missing = c["status"].as_string();
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["priorityLevelConfiguration"]["name"].as_string());
  cells.emplace_back(o["spec"]["matchingPrecedence"].as_int());
  cells.emplace_back(or_none(o["spec"]["distinguisherMethod"]["type"].as_string()));
  cells.emplace_back(age(o, now));
  cells.emplace_back(std::move(missing));
  return cells;
}

Cells priority_level(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  const Value& limited = first_of(spec["limited"], spec["exempt"]);
  const Value& queuing = limited["limitResponse"]["queuing"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(spec["type"].as_string());
  const Value& shares = limited["nominalConcurrencyShares"];
  cells.emplace_back(shares.is_null() ? Value(kNone) : shares);
  for (const std::string_view field : {"queues", "handSize", "queueLengthLimit"}) {
    cells.emplace_back(queuing[field].is_null() ? Value(kNone) : queuing[field]);
  }
  cells.emplace_back(age(o, now));
  return cells;
}

}  // namespace skiff::apiserver::print
