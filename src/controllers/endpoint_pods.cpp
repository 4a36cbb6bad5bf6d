#include <set>

#include "endpoint_plan.hpp"

namespace skiff::controllers {
namespace {

constexpr std::size_t kMaxAddresses = 1000;  // of an Endpoints object

// The port that a service's target is on this pod; 0 for none. A name is looked up among the ports
// of containers and of sidecars, where the protocol agrees.
std::int64_t target_port(const Value& port, const Value& pod) {
  const Value& target = port["targetPort"];
  if (target.is_int() && target.as_int() != 0) return target.as_int();
  if (!target.is_string() || target.as_string().empty()) return port["port"].as_int();
  const std::string_view protocol = port["protocol"].as_string_or("TCP");
  const auto find = [&](const Value& container) -> std::int64_t {
    for (const Value& p : container["ports"].items()) {
      if (p["name"] == target && p["protocol"].as_string_or("TCP") == protocol) {
        return p["containerPort"].as_int();
      }
    }
    return 0;
  };
  for (const Value& c : pod["spec"]["containers"].items()) {
    if (const std::int64_t found = find(c); found != 0) return found;
  }
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    if (c["restartPolicy"].as_string() != "Always") continue;
    if (const std::int64_t found = find(c); found != 0) return found;
  }
  return 0;
}

Value reference_to_pod(const api::Object& pod) {
  return Value::object(
      {{"kind", "Pod"}, {"namespace", pod.ns()}, {"name", pod.name()}, {"uid", pod.uid()}});
}

// The host name DNS serves for the pod under this service; "" for none.
std::string endpoint_hostname(const Value& service, const Value& pod) {
  const std::string& hostname = pod["spec"]["hostname"].as_string();
  if (hostname.empty() || pod["spec"]["subdomain"] != service["metadata"]["name"]) return "";
  return hostname;
}

void add_hints(Value& endpoint, const std::string& distribution) {
  const std::string zone = endpoint["zone"].as_string();
  const std::string node = endpoint["nodeName"].as_string();
  const bool same_node = distribution == "PreferSameNode";
  const bool same_zone =
      same_node || distribution == "PreferClose" || distribution == "PreferSameZone";
  if (!endpoint["conditions"]["ready"].as_bool()) return;
  if (same_zone && !zone.empty()) {
    endpoint.member("hints").member("forZones").push_back(Value::object({{"name", zone}}));
  }
  if (same_node && !node.empty()) {
    endpoint.member("hints").member("forNodes").push_back(Value::object({{"name", node}}));
  }
}

Value endpoint_of(const Value& service, const api::Object& pod, const std::string& ip,
                  const ZoneOf& zone_of) {
  const Value& root = pod.root();
  const bool serving = pod_ready(root);
  const bool terminating = pod.deleting();
  const bool anyway = service["spec"]["publishNotReadyAddresses"].as_bool();
  Value endpoint = Value::object();
  endpoint.member("addresses").push_back(ip);
  endpoint.set("conditions", Value::object({{"ready", anyway || (serving && !terminating)},
                                            {"serving", serving},
                                            {"terminating", terminating}}));
  const std::string hostname = endpoint_hostname(service, root);
  if (!hostname.empty()) endpoint.set("hostname", hostname);
  endpoint.set("targetRef", reference_to_pod(pod));
  const std::string& node = root["spec"]["nodeName"].as_string();
  if (!node.empty()) {
    endpoint.set("nodeName", node);
    const std::string zone = zone_of(node);
    if (!zone.empty()) endpoint.set("zone", zone);
  }
  add_hints(endpoint, service["spec"]["trafficDistribution"].as_string());
  return endpoint;
}

}  // namespace

bool headless(const Value& service) {
  const std::string& ip = service["spec"]["clusterIP"].as_string();
  return ip.empty() || ip == "None";
}

std::string family_of(std::string_view ip) {
  return ip.find(':') == std::string_view::npos ? "IPv4" : "IPv6";
}

std::string pod_ip(const Value& pod, std::string_view family) {
  for (const Value& ip : pod["status"]["podIPs"].items()) {
    const std::string& text = ip["ip"].as_string();
    if (!text.empty() && family_of(text) == family) return text;
  }
  const std::string& only = pod["status"]["podIP"].as_string();
  return !only.empty() && family_of(only) == family ? only : "";
}

bool belongs_in_endpoints(const Value& pod, bool terminating_too) {
  if (pod_finished(pod)) return false;
  if (pod["status"]["podIP"].as_string().empty() && pod["status"]["podIPs"].empty()) return false;
  return terminating_too || pod["metadata"]["deletionTimestamp"].is_null();
}

Value resolve_ports(const Value& service, const Value& pod) {
  Value out = Value::array();
  for (const Value& port : service["spec"]["ports"].items()) {
    const std::int64_t number = target_port(port, pod);
    if (number == 0) continue;
    Value resolved = Value::object({{"name", port["name"].as_string()},
                                    {"port", number},
                                    {"protocol", port["protocol"].as_string_or("TCP")}});
    if (port.has("appProtocol")) resolved.set("appProtocol", port["appProtocol"]);
    out.push_back(std::move(resolved));
  }
  return out;
}

std::vector<EndpointGroup> service_groups(const Value& service, std::span<const ObjectPtr> pods,
                                          const ZoneOf& zone_of) {
  std::map<std::string, EndpointGroup> groups;
  for (const Value& family : service["spec"]["ipFamilies"].items()) {
    for (const ObjectPtr& pod : pods) {
      if (!belongs_in_endpoints(pod->root(), true)) continue;
      const std::string ip = pod_ip(pod->root(), family.as_string());
      if (ip.empty()) continue;
      Value ports = resolve_ports(service, pod->root());
      std::string key = family.as_string() + " ";
      append_canonical_json(key, ports);
      EndpointGroup& group = groups[key];
      group.address_type = family.as_string();
      group.ports = std::move(ports);
      group.endpoints.push_back(endpoint_of(service, *pod, ip, zone_of));
    }
  }
  std::vector<EndpointGroup> out;
  for (auto& [key, group] : groups) out.push_back(std::move(group));
  return out;
}

namespace {

void mirror(const Value& subset, const char* field, bool ready,
            std::map<std::string, EndpointGroup>& groups) {
  for (const Value& address : subset[field].items()) {
    const std::string family = family_of(address["ip"].as_string());
    Value ports = subset["ports"].is_array() ? subset["ports"] : Value::array();
    std::string key = family + " ";
    append_canonical_json(key, ports);
    EndpointGroup& group = groups[key];
    group.address_type = family;
    group.ports = std::move(ports);
    Value endpoint = Value::object();
    endpoint.member("addresses").push_back(address["ip"]);
    endpoint.set("conditions", Value::object({{"ready", ready}}));
    for (const char* copied : {"hostname", "nodeName", "targetRef"}) {
      if (address.has(copied)) endpoint.set(copied, address[copied]);
    }
    group.endpoints.push_back(std::move(endpoint));
  }
}

}  // namespace

std::vector<EndpointGroup> mirrored_groups(const Value& endpoints) {
  std::map<std::string, EndpointGroup> groups;
  for (const Value& subset : endpoints["subsets"].items()) {
    mirror(subset, "addresses", true, groups);
    mirror(subset, "notReadyAddresses", false, groups);
  }
  std::vector<EndpointGroup> out;
  for (auto& [key, group] : groups) out.push_back(std::move(group));
  return out;
}

namespace {

// An address of an Endpoints object with where it belongs.
struct Address {
  Value value;
  bool ready;
};

Value address_of(const Value& service, const api::Object& pod, const std::string& ip) {
  Value address = Value::object({{"ip", ip}});
  const std::string hostname = endpoint_hostname(service, pod.root());
  if (!hostname.empty()) address.set("hostname", hostname);
  const std::string& node = pod["spec"]["nodeName"].as_string();
  if (!node.empty()) address.set("nodeName", node);
  address.set("targetRef", reference_to_pod(pod));
  return address;
}

}  // namespace

// Ports that the same addresses serve make one subset.
Value endpoint_subsets(const Value& service, std::span<const ObjectPtr> pods, bool* truncated) {
  const bool anyway = service["spec"]["publishNotReadyAddresses"].as_bool();
  const std::string& family = service["spec"]["ipFamilies"][std::size_t{0}].as_string();
  std::map<std::string, Address> addresses;                              // by IP and pod
  std::map<std::string, std::pair<Value, std::set<std::string>>> ports;  // who serves a port
  *truncated = false;
  for (const ObjectPtr& pod : pods) {
    if (!belongs_in_endpoints(pod->root(), anyway)) continue;
    const std::string ip = pod_ip(pod->root(), family.empty() ? "IPv4" : family);
    if (ip.empty()) continue;
    if (addresses.size() >= kMaxAddresses) {
      *truncated = true;
      break;
    }
    const std::string id = ip + " " + pod->uid();
    addresses[id] = {address_of(service, *pod, ip), anyway || pod_ready(pod->root())};
    Value resolved = resolve_ports(service, pod->root());
    if (service["spec"]["ports"].empty()) resolved.push_back(Value());  // headless without ports
    for (Value& port : resolved.mutable_items()) {
      if (port["name"].as_string().empty()) port.erase("name");
      std::string key;
      append_canonical_json(key, port);
      auto& entry = ports[key];
      entry.first = port;
      entry.second.insert(id);
    }
  }
  std::map<std::set<std::string>, std::vector<Value>> grouped;
  for (auto& [key, entry] : ports) grouped[entry.second].push_back(std::move(entry.first));
  Value subsets = Value::array();
  for (auto& [ids, served] : grouped) {
    Value subset = Value::object();
    for (const std::string& id : ids) {
      const Address& address = addresses[id];
      subset.member(address.ready ? "addresses" : "notReadyAddresses").push_back(address.value);
    }
    for (Value& port : served) {
      if (!port.is_null()) subset.member("ports").push_back(std::move(port));
    }
    subsets.push_back(std::move(subset));
  }
  return subsets;
}

}  // namespace skiff::controllers
