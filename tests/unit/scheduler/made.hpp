// Pods and nodes from a few lines of YAML.
#pragma once

#include <memory>
#include <string>

#include "pod_info.hpp"
#include "snapshot.hpp"

namespace skiff::scheduler::made {

// `spec` is the pod's spec in YAML flow or block form; `labels` likewise.
inline api::Value pod_value(const std::string& name, const std::string& spec = "{}",
                            const std::string& labels = "{}", const std::string& node = "") {
  api::Value pod = api::Value::object({{"apiVersion", "v1"}, {"kind", "Pod"}});
  api::Value& meta = pod.member("metadata");
  meta.set("name", name);
  meta.set("namespace", "a");
  meta.set("uid", "uid-" + name);
  meta.set("labels", api::parse_yaml(labels).value());
  pod.set("spec", api::parse_yaml(spec).value());
  if (!pod["spec"].has("schedulerName"))
    pod.member("spec").set("schedulerName", "default-scheduler");
  if (!node.empty()) pod.member("spec").set("nodeName", node);
  return pod;
}

inline PodInfoPtr pod(const std::string& name, const std::string& spec = "{}",
                      const std::string& labels = "{}", const std::string& node = "") {
  return std::make_shared<const PodInfo>(api::Object::make(pod_value(name, spec, labels, node)));
}

inline api::Value node_value(
    const std::string& name, const std::string& labels = "{}", const std::string& spec = "{}",
    const std::string& allocatable = "{cpu: '2', memory: 4Gi, pods: '10'}") {
  api::Value node = api::Value::object({{"apiVersion", "v1"}, {"kind", "Node"}});
  node.member("metadata").set("name", name);
  node.member("metadata").set("labels", api::parse_yaml(labels).value());
  node.set("spec", api::parse_yaml(spec).value());
  node.member("status").set("allocatable", api::parse_yaml(allocatable).value());
  return node;
}

inline api::ObjectPtr node(const std::string& name, const std::string& labels = "{}",
                           const std::string& spec = "{}",
                           const std::string& allocatable = "{cpu: '2', memory: 4Gi, pods: '10'}") {
  return api::Object::make(node_value(name, labels, spec, allocatable));
}

// A container that asks for this much.
inline std::string asking(const std::string& requests) {
  return "{containers: [{name: c, image: i, resources: {requests: " + requests + "}}]}";
}

}  // namespace skiff::scheduler::made
