// RuntimeClass admission: what a class says about overhead and placement becomes part of its Pods
// (KEP-585, KEP-688).
#include "errors.hpp"
#include "strategy.hpp"

namespace skiff::registry::admission {
namespace {

Error rejected(const Call& call, const Value& pod, const std::string& why) {
  return errors::forbidden(call.resource, pod["metadata"]["name"].as_string(),
                           "pod rejected: " + why);
}

Result<void> set_overhead(const Call& call, const Value& runtime, Value& pod) {
  const Value& fixed = runtime["overhead"]["podFixed"];
  const Value& asked = pod["spec"]["overhead"];
  if (fixed.empty()) {
    if (asked.empty()) return {};
    return rejected(call, pod,
                    "Pod Overhead set without corresponding RuntimeClass defined Overhead");
  }
  if (!asked.empty() && !(asked == fixed)) {
    return rejected(call, pod, "Pod's Overhead doesn't match RuntimeClass's defined Overhead");
  }
  pod.member("spec").set("overhead", fixed);
  return {};
}

Result<void> set_placement(const Call& call, const Value& scheduling, Value& pod) {
  Value& spec = pod.member("spec");
  for (const api::Member& m : scheduling["nodeSelector"].members()) {
    const Value& asked = spec["nodeSelector"][m.name];
    if (!asked.is_null() && !(asked == m.value)) {
      return rejected(call, pod,
                      "conflict: runtimeClass.scheduling.nodeSelector[" + std::string(m.name) +
                          "] = " + m.value.as_string() + "; pod.spec.nodeSelector[" +
                          std::string(m.name) + "] = " + asked.as_string());
    }
    spec.member("nodeSelector").set(m.name, m.value);
  }
  for (const Value& t : scheduling["tolerations"].items()) {
    const auto have = spec["tolerations"].items();
    if (std::find(have.begin(), have.end(), t) == have.end()) {
      spec.member("tolerations").push_back(t);
    }
  }
  return {};
}

}  // namespace

Result<void> runtime_class(Call& call, Value& pod) {
  const std::string name = pod["spec"]["runtimeClassName"].as_string();
  static const Value nothing;
  if (name.empty()) return set_overhead(call, nothing, pod);
  const ItemPtr item = call.core.find("node.k8s.io", "runtimeclasses", "", name);
  if (!item) return rejected(call, pod, "RuntimeClass \"" + name + "\" not found");
  const ObjectPtr runtime = object_of(item);
  SKIFF_CHECK(set_overhead(call, runtime->root(), pod));
  return set_placement(call, (*runtime)["scheduling"], pod);
}

}  // namespace skiff::registry::admission
