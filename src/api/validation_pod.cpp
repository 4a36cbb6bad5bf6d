// Pods and pod templates.
#include <algorithm>
#include <set>

#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kMaxNameservers = 3;
constexpr std::size_t kMaxSearches = 32;

constexpr std::string_view kMayNotChange =
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)";

void validate_dns(FieldErrors& errors, const Path& path, const Value& spec) {
  const Value& config = spec["dnsConfig"];
  const Path here = child(path, "dnsConfig");
  if (spec["dnsPolicy"].as_string() == "None") {
    if (!config.is_object())
      return errors.required(here, "must provide `dnsConfig` when `dnsPolicy` is None");
    if (config["nameservers"].empty())
      return errors.required(child(here, "nameservers"),
                             "must provide at least one DNS nameserver when `dnsPolicy` is None");
  }
  const Path servers = child(here, "nameservers");
  if (config["nameservers"].size() > kMaxNameservers)
    errors.invalid(servers, config["nameservers"], "must not have more than 3 nameservers");
  std::size_t index = 0;
  for (const Value& ip : config["nameservers"].items())
    check_text(errors, at(servers, index++), ip, ip_errors);
  if (config["searches"].size() > kMaxSearches)
    errors.invalid(child(here, "searches"), config["searches"],
                   "must not have more than 32 search paths");
  index = 0;
  for (const Value& option : config["options"].items()) {
    if (option["name"].as_string().empty())
      errors.required(at(child(here, "options"), index), "must not be empty");
    ++index;
  }
}

void validate_host_aliases(FieldErrors& errors, const Path& path, const Value& aliases) {
  std::size_t index = 0;
  for (const Value& alias : aliases.items()) {
    Path here = at(path, index++);
    if (!alias["ip"].as_string().empty())
      check_text(errors, child(here, "ip"), alias["ip"], ip_errors);
    std::size_t n = 0;
    for (const Value& name : alias["hostnames"].items())
      check_text(errors, at(child(here, "hostnames"), n++), name, dns1123_subdomain_errors);
  }
}

void validate_gates(FieldErrors& errors, const Path& path, const Value& gates) {
  std::set<std::string_view> seen;
  std::size_t index = 0;
  for (const Value& gate : gates.items()) {
    Path here = at(path, index++);
    const std::string& name = gate["name"].as_string();
    complain(errors, here, gate["name"], label_key_errors(name));
    if (!seen.insert(name).second) errors.duplicate(here, gate["name"]);
  }
}

// With the host's network a container's port is the host's.
void validate_host_network(FieldErrors& errors, const Path& path, const Value& spec,
                           const PodContext& context) {
  if (!spec["hostNetwork"].as_bool()) return;
  std::size_t i = 0;
  for (const Value& c : spec["containers"].items()) {
    Path ports = child(at(child(path, "containers"), i++), "ports");
    std::size_t j = 0;
    for (const Value& p : c["ports"].items()) {
      Path here = at(ports, j++);
      std::int64_t host = p["hostPort"].as_int();
      if ((context.is_pod || host != 0) && host != p["containerPort"].as_int())
        errors.invalid(child(here, "hostPort"), Value(host),
                       "must match `containerPort` when `hostNetwork` is true");
    }
  }
}

void validate_host_users(FieldErrors& errors, const Path& path, const Value& spec) {
  if (spec["hostUsers"].as_bool(true)) return;
  for (const char* field : {"hostNetwork", "hostPID", "hostIPC"})
    if (spec[field].as_bool()) errors.forbidden(child(path, field), "when `hostUsers` is false");
}

void validate_pod_security(FieldErrors& errors, const Path& path, const Value& spec) {
  const Value& context = spec["securityContext"];
  const Path here = child(path, "securityContext");
  if (spec["shareProcessNamespace"].as_bool() && spec["hostPID"].as_bool())
    errors.invalid(child(path, "shareProcessNamespace"), spec["shareProcessNamespace"],
                   "ShareProcessNamespace and HostPID cannot both be enabled");
  const Value& profile = context["seccompProfile"];
  const Path local = child(child(here, "seccompProfile"), "localhostProfile");
  bool localhost = profile["type"].as_string() == "Localhost";
  if (localhost && profile["localhostProfile"].as_string().empty())
    errors.required(local, "must be set when seccomp type is Localhost");
  if (!localhost && !profile["localhostProfile"].is_null())
    errors.invalid(local, profile["localhostProfile"],
                   "can only be set when seccomp type is Localhost");
  std::set<std::string_view> names;
  std::size_t index = 0;
  for (const Value& sysctl : context["sysctls"].items()) {
    Path name = child(at(child(here, "sysctls"), index++), "name");
    const std::string& text = sysctl["name"].as_string();
    if (!text.empty() && !names.insert(text).second) errors.duplicate(name, sysctl["name"]);
  }
}

// --- updates ---

bool only_adds_tolerations(const Value& now, const Value& before) {
  auto list = now.items();
  return std::all_of(before.items().begin(), before.items().end(), [&](const Value& old) {
    return std::any_of(list.begin(), list.end(), [&](const Value& t) {
      Value comparable = old;
      comparable.erase("tolerationSeconds");
      Value candidate = t;
      candidate.erase("tolerationSeconds");
      return comparable == candidate;
    });
  });
}

void check_deadline(FieldErrors& errors, const Value& now, const Value& before) {
  const Path path = "spec.activeDeadlineSeconds";
  const Value& a = now["activeDeadlineSeconds"];
  const Value& b = before["activeDeadlineSeconds"];
  if (b.is_null()) return;
  if (a.is_null())
    return errors.invalid(path, a, "must not update from a positive integer to nil value");
  if (a.as_int() > b.as_int())
    errors.invalid(path, a, "must be less than or equal to previous value");
}

void copy_field(Value& to, const Value& from, std::string_view name) {
  if (const Value* v = from.find(name))
    to.set(name, *v);
  else
    to.erase(name);
}

void copy_images(Value& to, const Value& from, const char* list) {
  Value* containers = to.find(list);
  if (!containers) return;
  std::size_t index = 0;
  for (Value& c : containers->mutable_items()) copy_field(c, from[list][index++], "image");
}

bool removes_gates_only(FieldErrors& errors, const Value& now, const Value& before) {
  auto old_gates = before["schedulingGates"].items();
  bool ok = true;
  for (const Value& gate : now["schedulingGates"].items()) {
    if (std::find(old_gates.begin(), old_gates.end(), gate) != old_gates.end()) continue;
    errors.forbidden("spec.schedulingGates",
                     "only deletion is allowed, but found new scheduling gate '" +
                         gate["name"].as_string() + "'");
    ok = false;
  }
  return ok;
}

// While gates hold a pod back, where it may run can still be narrowed.
void allow_gated_changes(Value& munged, const Value& now, const Value& before) {
  if (before["schedulingGates"].empty()) return;
  bool narrows = true;
  for (const Member& m : before["nodeSelector"].members())
    narrows = narrows && now["nodeSelector"][m.name] == m.value;
  if (narrows) copy_field(munged, before, "nodeSelector");
  const Value& old_terms =
      before["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
  if (old_terms.is_null() && now["affinity"]["nodeAffinity"].is_object())
    copy_field(munged, before, "affinity");
}

std::string changed_fields(const Value& now, const Value& before) {
  std::string out;
  auto note = [&](std::string_view name) { out += "\n  spec." + std::string(name); };
  for (const Member& m : now.members())
    if (before[m.name] != m.value) note(m.name);
  for (const Member& m : before.members())
    if (!now.has(m.name)) note(m.name);
  return out;
}

void check_pod_update(const Subject& s) {
  const Value& now = s.doc["spec"];
  const Value& before = s.before()["spec"];
  for (const char* list : {"containers", "initContainers"})
    if (now[list].size() != before[list].size())
      return s.errors.forbidden(child("spec", list),
                                "pod updates may not add or remove containers");
  check_deadline(s.errors, now, before);
  bool gates_ok = removes_gates_only(s.errors, now, before);
  if (!only_adds_tolerations(now["tolerations"], before["tolerations"]))
    s.errors.forbidden("spec.tolerations",
                       "existing toleration can not be modified except its tolerationSeconds");
  // Put back what may change; the rest must be as it was.
  Value munged = now;
  for (const char* list : {"containers", "initContainers"}) copy_images(munged, before, list);
  copy_field(munged, before, "activeDeadlineSeconds");
  copy_field(munged, before, "tolerations");
  if (gates_ok) copy_field(munged, before, "schedulingGates");
  allow_gated_changes(munged, now, before);
  if (before["terminationGracePeriodSeconds"].as_int() < 0 &&
      now["terminationGracePeriodSeconds"].as_int() == 1)
    copy_field(munged, before, "terminationGracePeriodSeconds");
  if (munged != before)
    s.errors.forbidden("spec", std::string(kMayNotChange) + changed_fields(munged, before));
}

void check_ephemeral_update(const Subject& s) {
  const Path path = "spec.ephemeralContainers";
  for (const Value& old : s.before()["spec"]["ephemeralContainers"].items()) {
    const Value* kept = nullptr;
    for (const Value& c : s.doc["spec"]["ephemeralContainers"].items())
      if (c["name"] == old["name"]) kept = &c;
    const std::string& name = old["name"].as_string();
    if (!kept)
      s.errors.forbidden(path,
                         "existing ephemeral containers \"" + name + "\" may not be removed\n");
    else if (*kept != old)
      s.errors.forbidden(path,
                         "existing ephemeral containers \"" + name + "\" may not be changed\n");
  }
}

void check_resize(const Subject& s) {
  Value munged = s.doc["spec"];
  const Value& before = s.before()["spec"];
  for (const char* list : {"containers", "initContainers"}) {
    Value* containers = munged.find(list);
    if (!containers) continue;
    std::size_t index = 0;
    for (Value& c : containers->mutable_items()) copy_field(c, before[list][index++], "resources");
  }
  copy_field(munged, before, "resources");
  if (munged != before)
    s.errors.forbidden(
        "spec", "only cpu and memory resources are mutable" + changed_fields(munged, before));
}

void check_pod(const Subject& s) {
  validate_pod_spec(s.errors, "spec", s.doc["spec"], {true, s.old == nullptr});
  if (!s.old) {
    if (!s.doc["spec"]["ephemeralContainers"].empty())
      s.errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    if (!s.doc["spec"]["schedulingGates"].empty() && !s.doc["spec"]["nodeName"].as_string().empty())
      s.errors.forbidden("spec.nodeName",
                         "cannot be set until all schedulingGates have been cleared");
    return;
  }
  if (s.subresource == "ephemeralcontainers") return check_ephemeral_update(s);
  if (s.subresource == "resize") return check_resize(s);
  check_pod_update(s);
}

void check_pod_status(const Subject& s) {
  if (!s.old) return;
  if (s.doc["spec"]["nodeName"] != s.before()["spec"]["nodeName"])
    s.errors.forbidden("status.nodeName", "may not be changed directly");
  const std::string& policy = s.doc["spec"]["restartPolicy"].as_string();
  if (policy == "Always") return;
  std::size_t index = 0;
  for (const Value& now : s.doc["status"]["containerStatuses"].items()) {
    Path path = child(at("status.containerStatuses", index++), "state");
    for (const Value& before : s.before()["status"]["containerStatuses"].items()) {
      if (before["name"] != now["name"] || !before["state"]["terminated"].is_object()) continue;
      bool may_restart =
          policy == "OnFailure" && before["state"]["terminated"]["exitCode"].as_int() != 0;
      if (!may_restart && !now["state"]["terminated"].is_object())
        s.errors.forbidden(path, "may not be transitioned to non-terminated state");
    }
  }
}

void check_pod_template(const Subject& s) {
  validate_pod_template(s.errors, "template", s.doc["template"]);
}

void check_binding(const Subject& s) {
  const Value& target = s.doc["target"];
  if (const std::string& kind = target["kind"].as_string(); !kind.empty() && kind != "Node")
    s.errors.not_supported("target.kind", target["kind"], {"Node", "<empty>"});
  if (target["name"].as_string().empty()) s.errors.required("target.name");
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.core.v1.Pod", check_pod},
    {"io.k8s.api.core.v1.Pod", check_pod_status, true},
    {"io.k8s.api.core.v1.PodTemplate", check_pod_template},
    {"io.k8s.api.core.v1.Binding", check_binding},
};

}  // namespace

void validate_pod_spec(FieldErrors& errors, const Path& path, const Value& spec,
                       const PodContext& context) {
  validate_volumes(errors, child(path, "volumes"), spec["volumes"]);
  validate_containers(errors, path, spec, context);
  validate_labels(errors, child(path, "nodeSelector"), spec["nodeSelector"]);
  validate_host_network(errors, path, spec, context);
  validate_host_users(errors, path, spec);
  validate_pod_security(errors, path, spec);
  validate_affinity(errors, child(path, "affinity"), spec["affinity"]);
  validate_dns(errors, path, spec);
  validate_gates(errors, child(path, "schedulingGates"), spec["schedulingGates"]);
  validate_topology_spread(errors, child(path, "topologySpreadConstraints"),
                           spec["topologySpreadConstraints"]);
  validate_tolerations(errors, child(path, "tolerations"), spec["tolerations"]);
  validate_host_aliases(errors, child(path, "hostAliases"), spec["hostAliases"]);
  if (spec["resources"].is_object())
    validate_resources(errors, child(path, "resources"), spec["resources"]);
}

void validate_pod_template(FieldErrors& errors, const Path& path, const Value& pod_template) {
  const Value& meta = pod_template["metadata"];
  validate_labels(errors, child(path, "labels"), meta["labels"]);
  validate_annotations(errors, child(path, "annotations"), meta["annotations"]);
  const Value& spec = pod_template["spec"];
  validate_pod_spec(errors, child(path, "spec"), spec, {false, true});
  if (!spec["ephemeralContainers"].empty())
    errors.forbidden(child(path, "spec.ephemeralContainers"),
                     "ephemeral containers not allowed in pod template");
}

std::span<const KindRule> pod_rules() { return kRules; }

}  // namespace skiff::api
