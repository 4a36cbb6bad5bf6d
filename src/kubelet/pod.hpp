// Small readings of a pod's document that several files need.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/object.hpp"

namespace skiff::kubelet {

using api::ObjectPtr;
using api::Value;

enum class RestartPolicy : std::uint8_t { always, on_failure, never };

inline RestartPolicy restart_policy_of(const Value& pod) {
  const std::string& policy = pod["spec"]["restartPolicy"].as_string();
  if (policy == "Never") return RestartPolicy::never;
  return policy == "OnFailure" ? RestartPolicy::on_failure : RestartPolicy::always;
}

// An init container that keeps running beside the others (KEP-753).
inline bool is_sidecar(const Value& container) {
  return container["restartPolicy"].as_string() == "Always";
}

inline const Value* find_named(const Value& list, std::string_view name) {
  for (const Value& item : list.items()) {
    if (item["name"].as_string() == name) return &item;
  }
  return nullptr;
}

// The container, init container or ephemeral container of that name, or null.
inline const Value* find_container(const Value& pod, std::string_view name) {
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    if (const Value* c = find_named(pod["spec"][list], name)) return c;
  }
  return nullptr;
}

inline bool is_host_network(const Value& pod) { return pod["spec"]["hostNetwork"].as_bool(); }

// "web_default(uid)", as upstream's messages name pods.
inline std::string pod_label(const Value& pod) {
  const Value& m = pod["metadata"];
  return m["name"].as_string() + "_" + m["namespace"].as_string() + "(" + m["uid"].as_string() +
         ")";
}

// A port number, or the number of the container's port of that name.
Result<std::int64_t> port_of(const Value& port, const Value& container);
// "10.0.0.1:80", "[fd00::1]:80".
std::string host_port(const std::string& host, std::int64_t port);

// guaranteed, burstable or besteffort, from requests and limits.
std::string qos_class_of(const Value& pod);

}  // namespace skiff::kubelet
