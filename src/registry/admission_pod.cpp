// What admission does to new Pods: ServiceAccount, Priority, DefaultTolerationSeconds.
#include "errors.hpp"
#include "keys.hpp"
#include "skiff/registry/scan.hpp"
#include "strategy.hpp"

namespace skiff::registry::admission {
namespace {

constexpr std::string_view kTokenPath = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr std::string_view kTokenVolume = "kube-api-access-";
constexpr std::string_view kRootCertificates = "kube-root-ca.crt";
// A bit more than an hour: kubelets renew at 80%, long before.
constexpr std::int64_t kTokenSeconds = 3607;
constexpr std::int64_t kTolerationSeconds = 300;
constexpr std::int64_t kSharedMode = 0644;

const std::string& pod_name(const Value& pod) { return pod["metadata"]["name"].as_string(); }

bool is_mirror(const Value& pod) {
  return pod["metadata"]["annotations"].has("kubernetes.io/config.mirror");
}

bool mounts_token(const Value& container) {
  const auto mounts = container["volumeMounts"].items();
  return std::any_of(mounts.begin(), mounts.end(),
                     [](const Value& m) { return m["mountPath"].as_string() == kTokenPath; });
}

// The token, the cluster's root certificates and the namespace, projected into one directory
// (KEP-1205).
Value token_volume(std::string name) {
  Value token = Value::object({{"expirationSeconds", kTokenSeconds}, {"path", "token"}});
  Value ca_items = Value::array({Value::object({{"key", "ca.crt"}, {"path", "ca.crt"}})});
  Value ca = Value::object({{"name", kRootCertificates}, {"items", std::move(ca_items)}});
  Value field = Value::object({{"apiVersion", "v1"}, {"fieldPath", "metadata.namespace"}});
  Value down_item = Value::object({{"path", "namespace"}, {"fieldRef", std::move(field)}});
  Value down = Value::object({{"items", Value::array({std::move(down_item)})}});
  Value sources = Value::array({Value::object({{"serviceAccountToken", std::move(token)}}),
                                Value::object({{"configMap", std::move(ca)}}),
                                Value::object({{"downwardAPI", std::move(down)}})});
  Value projected = Value::object({{"sources", std::move(sources)}, {"defaultMode", kSharedMode}});
  return Value::object({{"name", std::move(name)}, {"projected", std::move(projected)}});
}

void mount_token(Call& call, Value& pod) {
  Value& spec = pod.member("spec");
  bool needed = false;
  for (const std::string_view list : {"initContainers", "containers"}) {
    for (const Value& c : spec[list].items()) needed = needed || !mounts_token(c);
  }
  if (!needed) return;
  std::string name;
  for (const Value& v : spec["volumes"].items()) {
    if (v["name"].as_string().starts_with(kTokenVolume) && v["projected"].is_object()) {
      name = v["name"].as_string();
    }
  }
  if (name.empty()) {
    name = std::string(kTokenVolume) + call.core.env.random->name_suffix(5);
    spec.member("volumes").push_back(token_volume(name));
  }
  const Value mount =
      Value::object({{"name", name}, {"readOnly", true}, {"mountPath", kTokenPath}});
  for (const std::string_view list : {"initContainers", "containers"}) {
    Value* containers = spec.find(list);
    if (!containers) continue;
    for (Value& c : containers->mutable_items()) {
      if (!mounts_token(c)) c.member("volumeMounts").push_back(mount);
    }
  }
}

struct Class {
  std::string name;
  std::int64_t value = 0;
  std::string preemption = "PreemptLowerPriority";
};

Class class_of(const store::Item& item) {
  Class out;
  out.name = std::string(keys::name_of(item.key));
  out.value = scan::integer(scan::find(item.value, {"value"}));
  const std::string policy = scan::text(scan::find(item.value, {"preemptionPolicy"}));
  if (!policy.empty()) out.preemption = policy;
  return out;
}

Result<Class> class_for(Call& call, const Value& pod) {
  const std::string& name = pod["spec"]["priorityClassName"].as_string();
  if (!name.empty()) {
    const ItemPtr item = call.core.find("scheduling.k8s.io", "priorityclasses", "", name);
    if (item) return class_of(*item);
    return errors::forbidden(call.resource, pod_name(pod),
                             "no PriorityClass with name " + name + " was found");
  }
  std::optional<Class> fallback;
  for (const ItemPtr& item : call.core.all("scheduling.k8s.io", "priorityclasses", "")) {
    if (scan::find(item->value, {"globalDefault"}) != "true") continue;
    Class c = class_of(*item);
    if (!fallback || c.value < fallback->value) fallback = std::move(c);
  }
  return fallback.value_or(Class{});
}

}  // namespace

Result<void> service_account(Call& call, Value& pod) {
  if (is_mirror(pod)) return {};
  Value& spec = pod.member("spec");
  std::string name = spec["serviceAccountName"].as_string();
  if (name.empty()) name = spec["serviceAccount"].as_string();
  if (name.empty()) name = "default";
  spec.set("serviceAccountName", name);
  spec.set("serviceAccount", name);
  const std::string& ns = call.target.ns;
  const ItemPtr account = call.core.find("", "serviceaccounts", ns, name);
  if (!account) {
    return errors::forbidden(call.resource, pod_name(pod),
                             "error looking up service account " + ns + "/" + name +
                                 ": serviceaccount \"" + name + "\" not found");
  }
  bool mount = scan::find(account->value, {"automountServiceAccountToken"}) != "false";
  if (const Value& own = spec["automountServiceAccountToken"]; own.is_bool()) mount = own.as_bool();
  if (mount) mount_token(call, pod);
  const std::string_view secrets = scan::find(account->value, {"imagePullSecrets"});
  if (!secrets.empty() && spec["imagePullSecrets"].empty()) {
    SKIFF_TRY(Value parsed, api::parse_json(secrets));
    spec.set("imagePullSecrets", std::move(parsed));
  }
  return {};
}

Result<void> priority(Call& call, Value& pod) {
  SKIFF_TRY(const Class chosen, class_for(call, pod));
  Value& spec = pod.member("spec");
  const Value& asked = spec["priority"];
  if (asked.is_int() && asked.as_int() != chosen.value) {
    return errors::forbidden(
        call.resource, pod_name(pod),
        "the integer value of priority (" + std::to_string(asked.as_int()) +
            ") must not be provided in pod spec; priority admission controller computed " +
            std::to_string(chosen.value) + " from the given PriorityClass name");
  }
  const std::string& policy = spec["preemptionPolicy"].as_string();
  if (!policy.empty() && policy != chosen.preemption) {
    return errors::forbidden(
        call.resource, pod_name(pod),
        "the string value of PreemptionPolicy (" + policy +
            ") must not be provided in pod spec; priority admission controller computed " +
            chosen.preemption + " from the given PriorityClass name");
  }
  if (!chosen.name.empty()) spec.set("priorityClassName", chosen.name);
  spec.set("priority", chosen.value);
  spec.set("preemptionPolicy", chosen.preemption);
  return {};
}

void default_tolerations(Value& pod) {
  Value& spec = pod.member("spec");
  for (const std::string_view key :
       {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}) {
    bool tolerated = false;
    for (const Value& t : spec["tolerations"].items()) {
      const std::string& have = t["key"].as_string();
      const std::string& effect = t["effect"].as_string();
      tolerated =
          tolerated || ((have == key || have.empty()) && (effect == "NoExecute" || effect.empty()));
    }
    if (tolerated) continue;
    Value toleration = Value::object({{"key", key},
                                      {"operator", "Exists"},
                                      {"effect", "NoExecute"},
                                      {"tolerationSeconds", kTolerationSeconds}});
    spec.member("tolerations").push_back(std::move(toleration));
  }
}

}  // namespace skiff::registry::admission
