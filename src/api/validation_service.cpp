// Services, and the endpoints behind them.
#include <algorithm>
#include <set>

#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::int64_t kMaxAffinitySeconds = 86400;
constexpr std::size_t kMaxEndpoints = 1000;
constexpr std::size_t kMaxEndpointPorts = 20000;
constexpr std::size_t kMaxEndpointAddresses = 100;

bool is_headless(const Value& spec) { return spec["clusterIP"].as_string() == "None"; }

void validate_target_port(FieldErrors& errors, const Path& path, const Value& target) {
  complain(errors, path, target,
           target.is_string() ? port_name_errors(target.as_string())
                              : port_number_errors(target.as_int()));
}

void validate_service_port(FieldErrors& errors, const Path& here, const Value& p, bool many,
                           std::set<std::string_view>& names) {
  const Value& name = p["name"];
  if (many && name.as_string().empty()) {
    errors.required(child(here, "name"));
  } else if (!name.as_string().empty()) {
    check_text(errors, child(here, "name"), name, dns1123_label_errors);
    if (!names.insert(name.as_string()).second) errors.duplicate(child(here, "name"), name);
  }
  complain(errors, child(here, "port"), p["port"], port_number_errors(p["port"].as_int()));
  validate_target_port(errors, child(here, "targetPort"), p["targetPort"]);
  if (const Value& protocol = p["appProtocol"]; !protocol.is_null())
    complain(errors, child(here, "appProtocol"), protocol, label_key_errors(protocol.as_string()));
}

void validate_service_ports(FieldErrors& errors, const Value& spec) {
  const std::string& type = spec["type"].as_string();
  const Value& ports = spec["ports"];
  if (ports.empty() && !is_headless(spec) && type != "ExternalName") errors.required("spec.ports");
  std::set<std::string_view> names;
  std::set<std::string> used, node_ports;
  std::size_t index = 0;
  for (const Value& p : ports.items()) {
    Path here = at("spec.ports", index++);
    validate_service_port(errors, here, p, ports.size() > 1, names);
    std::int64_t node_port = p["nodePort"].as_int();
    const std::string& protocol = p["protocol"].as_string();
    if (type == "ClusterIP" && node_port != 0)
      errors.forbidden(child(here, "nodePort"), "may not be used when `type` is 'ClusterIP'");
    if (type == "LoadBalancer" && p["port"].as_int() == 10250)
      errors.invalid(child(here, "port"), p["port"],
                     "may not expose port 10250 externally since it is used by kubelet");
    if (!used.insert(protocol + "/" + std::to_string(p["port"].as_int())).second)
      errors.duplicate(here, Value::object({{"port", p["port"]}, {"protocol", protocol}}));
    if (node_port == 0) continue;
    if (!node_ports.insert(protocol + "/" + std::to_string(node_port)).second)
      errors.duplicate(child(here, "nodePort"), p["nodePort"]);
  }
}

void validate_cluster_ips(FieldErrors& errors, const Value& spec) {
  const Value& ips = spec["clusterIPs"];
  const std::string& type = spec["type"].as_string();
  const std::string& first = spec["clusterIP"].as_string();
  if (type == "ExternalName") {
    if (!ips.empty() && !first.empty())
      errors.forbidden("spec.clusterIPs", "may not be set for ExternalName services");
    return;
  }
  if (is_headless(spec) && (type == "NodePort" || type == "LoadBalancer"))
    errors.invalid("spec.clusterIPs[0]", "None",
                   "may not be set to 'None' for " + type + " services");
  if (!first.empty() && first != "None" && ips.empty())
    check_text(errors, "spec.clusterIP", spec["clusterIP"], ip_errors);
  if (!ips.empty() && ips.items().front().as_string() != first)
    errors.invalid("spec.clusterIPs", ips, "first value must match `clusterIP`");
  if (ips.size() > 2) errors.invalid("spec.clusterIPs", ips, "may only hold up to 2 values");
  std::size_t index = 0;
  for (const Value& ip : ips.items()) {
    Path here = at("spec.clusterIPs", index++);
    if (ip.as_string() == "None") {
      if (ips.size() > 1) errors.invalid(here, ips, "'None' must be the first and only value");
      continue;
    }
    check_text(errors, here, ip, ip_errors);
  }
}

void validate_service_affinity(FieldErrors& errors, const Value& spec) {
  const Value& config = spec["sessionAffinityConfig"];
  const Path here = "spec.sessionAffinityConfig";
  const std::string& affinity = spec["sessionAffinity"].as_string();
  if (affinity == "None" && config.is_object())
    errors.forbidden(here, "must not be set when session affinity is None");
  if (affinity != "ClientIP") return;
  const Value& seconds = config["clientIP"]["timeoutSeconds"];
  const Path path = here + ".clientIP.timeoutSeconds";
  if (seconds.is_null())
    errors.required(path, "when session affinity type is ClientIP");
  else if (seconds.as_int() <= 0 || seconds.as_int() > kMaxAffinitySeconds)
    errors.invalid(path, seconds, "must be greater than 0 and less than 86400");
}

void validate_external_name(FieldErrors& errors, const Value& spec) {
  if (spec["type"].as_string() != "ExternalName") return;
  std::string name = spec["externalName"].as_string();
  if (name.ends_with('.')) name.pop_back();
  if (name.empty()) return errors.required("spec.externalName");
  complain(errors, "spec.externalName", name, dns1123_subdomain_errors(name));
}

void validate_traffic(FieldErrors& errors, const Value& spec) {
  const std::string& type = spec["type"].as_string();
  bool balanced = type == "LoadBalancer";
  bool external =
      balanced || type == "NodePort" || (type == "ClusterIP" && !spec["externalIPs"].empty());
  const Value& policy = spec["externalTrafficPolicy"];
  if (!policy.as_string().empty() && !external)
    errors.invalid("spec.externalTrafficPolicy", policy,
                   "may only be set for externally-accessible services");
  const Value& health = spec["healthCheckNodePort"];
  bool needs_health = balanced && policy.as_string() == "Local";
  if (health.as_int() != 0 && !needs_health)
    errors.invalid("spec.healthCheckNodePort", health,
                   "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is "
                   "'Local'");
  if (balanced) return;
  for (const char* field :
       {"loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"}) {
    const Value& v = spec[field];
    if (v.is_null() || (v.is_array() && v.empty())) continue;
    errors.forbidden(child("spec", field), "may only be used when `type` is 'LoadBalancer'");
  }
}

void validate_addresses(FieldErrors& errors, const Value& spec) {
  std::size_t index = 0;
  for (const Value& ip : spec["externalIPs"].items())
    check_text(errors, at("spec.externalIPs", index++), ip, ip_errors);
  index = 0;
  for (const Value& range : spec["loadBalancerSourceRanges"].items())
    check_text(errors, at("spec.loadBalancerSourceRanges", index++), range, cidr_errors);
  index = 0;
  for (const Value& family : spec["ipFamilies"].items()) {
    if (family.as_string() != "IPv4" && family.as_string() != "IPv6")
      errors.not_supported(at("spec.ipFamilies", index), family, {"IPv4", "IPv6"});
    ++index;
  }
}

void check_service_update(FieldErrors& errors, const Value& now, const Value& before) {
  if (now["type"].as_string() == "ExternalName" || before["type"].as_string() == "ExternalName")
    return;
  const std::string& ip = before["clusterIP"].as_string();
  if (ip.empty()) return;
  if (now["clusterIP"].as_string().empty())
    return errors.required("spec.clusterIPs[0]", "primary clusterIP can not be unset");
  if (now["clusterIP"] != before["clusterIP"])
    errors.invalid("spec.clusterIPs[0]", now["clusterIPs"], "may not change once set");
}

void check_service(const Subject& s) {
  const Value& spec = s.doc["spec"];
  validate_service_ports(s.errors, spec);
  validate_cluster_ips(s.errors, spec);
  validate_labels(s.errors, "spec.selector", spec["selector"]);
  validate_service_affinity(s.errors, spec);
  validate_external_name(s.errors, spec);
  validate_traffic(s.errors, spec);
  validate_addresses(s.errors, spec);
  if (s.old) check_service_update(s.errors, spec, s.before()["spec"]);
}

void check_service_status(const Subject& s) {
  std::size_t index = 0;
  for (const Value& ingress : s.doc["status"]["loadBalancer"]["ingress"].items()) {
    Path here = at("status.loadBalancer.ingress", index++);
    if (!ingress["ip"].as_string().empty())
      check_text(s.errors, child(here, "ip"), ingress["ip"], ip_errors);
    if (!ingress["hostname"].as_string().empty())
      check_text(s.errors, child(here, "hostname"), ingress["hostname"], dns1123_subdomain_errors);
  }
}

// --- endpoints ---

void validate_endpoint_ip(FieldErrors& errors, const Path& path, const Value& ip) {
  Complaints bad = ip_errors(ip.as_string());
  complain(errors, path, ip, bad);
  if (!bad.empty()) return;
  std::string_view text = ip.as_string();
  if (text == "0.0.0.0" || text == "::")
    errors.invalid(path, ip, "may not be unspecified (" + std::string(text) + ")");
  if (text.starts_with("127.") || text == "::1")
    errors.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  if (text.starts_with("169.254."))
    errors.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
}

void validate_endpoint_port(FieldErrors& errors, const Path& here, const Value& p,
                            bool name_required) {
  const Value& name = p["name"];
  if (name_required && name.as_string().empty())
    errors.required(child(here, "name"));
  else if (!name.as_string().empty())
    check_text(errors, child(here, "name"), name, dns1123_label_errors);
  complain(errors, child(here, "port"), p["port"], port_number_errors(p["port"].as_int()));
  if (const Value& protocol = p["appProtocol"]; !protocol.is_null())
    complain(errors, child(here, "appProtocol"), protocol, label_key_errors(protocol.as_string()));
}

void check_endpoints(const Subject& s) {
  std::size_t i = 0;
  for (const Value& subset : s.doc["subsets"].items()) {
    Path here = at("subsets", i++);
    if (subset["addresses"].empty() && subset["notReadyAddresses"].empty())
      s.errors.required(here, "must specify `addresses` or `notReadyAddresses`");
    for (const char* list : {"addresses", "notReadyAddresses"}) {
      std::size_t j = 0;
      for (const Value& address : subset[list].items()) {
        Path path = at(child(here, list), j++);
        validate_endpoint_ip(s.errors, child(path, "ip"), address["ip"]);
        if (!address["hostname"].as_string().empty())
          check_text(s.errors, child(path, "hostname"), address["hostname"], dns1123_label_errors);
      }
    }
    std::size_t j = 0;
    for (const Value& p : subset["ports"].items())
      validate_endpoint_port(s.errors, at(child(here, "ports"), j++), p,
                             subset["ports"].size() > 1);
  }
}

void validate_slice_address(FieldErrors& errors, const Path& path, const Value& address,
                            const std::string& type) {
  if (type == "FQDN") return check_text(errors, path, address, dns1123_subdomain_errors);
  AddressFamily family = address_family(address.as_string());
  if (type == "IPv4" && family != AddressFamily::v4)
    errors.invalid(path, address, "must be an IPv4 address");
  else if (type == "IPv6" && family != AddressFamily::v6)
    errors.invalid(path, address, "must be an IPv6 address");
  else if (family != AddressFamily::none)
    validate_endpoint_ip(errors, path, address);
}

void validate_slice_endpoint(FieldErrors& errors, const Path& here, const Value& e,
                             const std::string& type) {
  const Value& addresses = e["addresses"];
  const Path path = child(here, "addresses");
  if (addresses.empty()) errors.required(path, "must contain at least 1 address");
  if (addresses.size() > kMaxEndpointAddresses)
    errors.too_many(path, addresses.size(), kMaxEndpointAddresses);
  std::size_t index = 0;
  for (const Value& a : addresses.items())
    validate_slice_address(errors, at(path, index++), a, type);
  if (const Value& host = e["hostname"]; !host.is_null())
    check_text(errors, child(here, "hostname"), host, dns1123_label_errors);
  if (const Value& node = e["nodeName"]; !node.is_null())
    check_text(errors, child(here, "nodeName"), node, dns1123_subdomain_errors);
}

void check_endpoint_slice(const Subject& s) {
  const std::string& type = s.doc["addressType"].as_string();
  if (s.doc["endpoints"].size() > kMaxEndpoints)
    s.errors.too_many("endpoints", s.doc["endpoints"].size(), kMaxEndpoints);
  std::size_t index = 0;
  for (const Value& e : s.doc["endpoints"].items())
    validate_slice_endpoint(s.errors, at("endpoints", index++), e, type);
  const Value& ports = s.doc["ports"];
  if (ports.size() > kMaxEndpointPorts) s.errors.too_many("ports", ports.size(), kMaxEndpointPorts);
  std::set<std::string_view> names;
  index = 0;
  for (const Value& p : ports.items()) {
    Path here = at("ports", index++);
    const Value& name = p["name"];
    if (!name.as_string().empty())
      check_text(s.errors, child(here, "name"), name, dns1123_label_errors);
    if (!names.insert(name.as_string()).second) s.errors.duplicate(child(here, "name"), name);
  }
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.core.v1.Service", check_service},
    {"io.k8s.api.core.v1.Service", check_service_status, true},
    {"io.k8s.api.core.v1.Endpoints", check_endpoints},
    {"io.k8s.api.discovery.v1.EndpointSlice", check_endpoint_slice},
};

}  // namespace

std::span<const KindRule> service_rules() { return kRules; }

}  // namespace skiff::api
