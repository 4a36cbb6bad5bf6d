// networking.k8s.io.
#include "validation.hpp"

namespace skiff::api {
namespace {

void validate_backend(FieldErrors& errors, const Path& here, const Value& backend) {
  const Value& service = backend["service"];
  const Value& resource = backend["resource"];
  if (service.is_object() && resource.is_object())
    return errors.invalid(here, "", "cannot set both resource and service backends");
  if (resource.is_object()) return;
  const Path path = child(here, "service");
  if (!service.is_object()) return errors.required(here, "resource or service backend is required");
  if (!service["name"].as_string().empty())
    check_text(errors, child(path, "name"), service["name"], dns1035_label_errors);
  const Value& port = service["port"];
  const std::string& name = port["name"].as_string();
  std::int64_t number = port["number"].as_int();
  if (!name.empty() && number != 0)
    errors.invalid(path, service, "cannot set both port name & port number");
  else if (!name.empty())
    complain(errors, child(path, "port.name"), port["name"], port_name_errors(name));
  else if (number == 0)
    errors.required(path, "port name or number is required");
  else
    complain(errors, child(path, "port.number"), port["number"], port_number_errors(number));
}

void validate_ingress_path(FieldErrors& errors, const Path& here, const Value& p) {
  const std::string& type = p["pathType"].as_string();
  const Value& path = p["path"];
  const std::string& text = path.as_string();
  if (type == "Exact" || type == "Prefix") {
    if (!text.starts_with('/')) {
      errors.invalid(child(here, "path"), path, "must be an absolute path");
    } else {
      for (const char* bad : {"//", "/./", "/../", "%2f", "%2F"})
        if (text.find(bad) != std::string::npos)
          errors.invalid(child(here, "path"), path, std::string("must not contain '") + bad + "'");
      for (const char* bad : {"/..", "/."})
        if (text.ends_with(bad))
          errors.invalid(child(here, "path"), path, std::string("cannot end with '") + bad + "'");
    }
  } else if (type == "ImplementationSpecific" && !text.empty() && !text.starts_with('/')) {
    errors.invalid(child(here, "path"), path, "must be an absolute path");
  }
  validate_backend(errors, child(here, "backend"), p["backend"]);
}

void validate_host(FieldErrors& errors, const Path& path, const Value& host) {
  const std::string& text = host.as_string();
  if (text.empty()) return;
  if (address_family(text) != AddressFamily::none)
    errors.invalid(path, host, "must be a DNS name, not an IP address");
  else
    check_text(
        errors, path, host,
        text.find('*') == std::string::npos ? dns1123_subdomain_errors : wildcard_subdomain_errors);
}

void check_ingress(const Subject& s) {
  const Value& spec = s.doc["spec"];
  if (spec["rules"].empty() && !spec["defaultBackend"].is_object())
    s.errors.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified");
  if (spec["defaultBackend"].is_object())
    validate_backend(s.errors, "spec.defaultBackend", spec["defaultBackend"]);
  std::size_t i = 0;
  for (const Value& rule : spec["rules"].items()) {
    Path here = at("spec.rules", i++);
    validate_host(s.errors, child(here, "host"), rule["host"]);
    std::size_t j = 0;
    for (const Value& p : rule["http"]["paths"].items())
      validate_ingress_path(s.errors, at(child(here, "http.paths"), j++), p);
  }
  i = 0;
  for (const Value& tls : spec["tls"].items()) {
    Path here = at("spec.tls", i++);
    std::size_t j = 0;
    for (const Value& host : tls["hosts"].items())
      validate_host(s.errors, at(child(here, "hosts"), j++), host);
    if (!tls["secretName"].as_string().empty() && !s.old)
      check_text(s.errors, child(here, "secretName"), tls["secretName"], dns1123_subdomain_errors);
  }
  if (const Value& name = spec["ingressClassName"]; !name.is_null())
    check_text(s.errors, "spec.ingressClassName", name, dns1123_subdomain_errors);
}

void validate_ip_block(FieldErrors& errors, const Path& here, const Value& block) {
  if (!block["cidr"].as_string().empty())
    check_text(errors, child(here, "cidr"), block["cidr"], cidr_errors);
  std::size_t index = 0;
  for (const Value& except : block["except"].items())
    check_text(errors, at(child(here, "except"), index++), except, cidr_errors);
}

void validate_peers(FieldErrors& errors, const Path& path, const Value& peers) {
  std::size_t index = 0;
  for (const Value& peer : peers.items()) {
    Path here = at(path, index++);
    bool selects = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    bool block = peer["ipBlock"].is_object();
    if (block) validate_ip_block(errors, child(here, "ipBlock"), peer["ipBlock"]);
    if (!selects && !block)
      errors.required(here, "must specify a peer");
    else if (selects && block)
      errors.forbidden(here, "may not specify both ipBlock and another peer");
  }
}

void validate_policy_ports(FieldErrors& errors, const Path& path, const Value& ports) {
  std::size_t index = 0;
  for (const Value& p : ports.items()) {
    Path here = at(path, index++);
    const Value& port = p["port"];
    const Value& end = p["endPort"];
    if (port.is_int())
      complain(errors, child(here, "port"), port, port_number_errors(port.as_int()));
    else if (port.is_string())
      complain(errors, child(here, "port"), port, port_name_errors(port.as_string()));
    if (end.is_null()) continue;
    if (port.is_null())
      errors.required(child(here, "port"), "must be specified when `endPort` is specified");
    else if (port.is_string())
      errors.invalid(child(here, "port"), port, "must be an integer when `endPort` is specified");
    else if (end.as_int() < port.as_int())
      errors.invalid(child(here, "endPort"), end, "must be greater than or equal to `port`");
    complain(errors, child(here, "endPort"), end, port_number_errors(end.as_int()));
  }
}

void check_network_policy(const Subject& s) {
  const Value& spec = s.doc["spec"];
  struct Direction {
    const char* rules;
    const char* peers;
  };
  for (Direction d : {Direction{"ingress", "from"}, Direction{"egress", "to"}}) {
    std::size_t index = 0;
    for (const Value& rule : spec[d.rules].items()) {
      Path here = at(child("spec", d.rules), index++);
      validate_policy_ports(s.errors, child(here, "ports"), rule["ports"]);
      validate_peers(s.errors, child(here, d.peers), rule[d.peers]);
    }
  }
  if (spec["policyTypes"].size() > 2)
    s.errors.invalid("spec.policyTypes", spec["policyTypes"],
                     "may not specify more than two policyTypes");
}

void check_ingress_class(const Subject& s) {
  const Value& controller = s.doc["spec"]["controller"];
  const std::string& text = controller.as_string();
  if (text.empty()) {
    s.errors.required("spec.controller");
  } else {
    auto slash = text.find('/');
    if (slash == std::string::npos || slash == 0 || slash + 1 == text.size())
      s.errors.invalid("spec.controller", controller,
                       "must be a domain-prefixed path (such as \"acme.io/foo\")");
    else
      complain(s.errors, "spec.controller", Value(text.substr(0, slash)),
               dns1123_subdomain_errors(text.substr(0, slash)));
  }
  if (s.old)
    check_immutable(s.errors, "spec.controller", controller, s.before()["spec"]["controller"]);
}

void check_ip_address(const Subject& s) {
  const Value& name = s.doc["metadata"]["name"];
  check_text(s.errors, "metadata.name", name, ip_errors);
  if (!s.doc["spec"]["parentRef"].is_object()) s.errors.required("spec.parentRef");
}

void check_service_cidr(const Subject& s) {
  const Value& cidrs = s.doc["spec"]["cidrs"];
  if (cidrs.empty()) s.errors.required("spec.cidrs", "at least one CIDR required");
  if (cidrs.size() > 2) s.errors.invalid("spec.cidrs", cidrs, "may only hold up to 2 values");
  std::size_t index = 0;
  for (const Value& cidr : cidrs.items())
    check_text(s.errors, at("spec.cidrs", index++), cidr, cidr_errors);
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.networking.v1.Ingress", check_ingress},
    {"io.k8s.api.networking.v1.NetworkPolicy", check_network_policy},
    {"io.k8s.api.networking.v1.IngressClass", check_ingress_class},
    {"io.k8s.api.networking.v1.IPAddress", check_ip_address},
    {"io.k8s.api.networking.v1.ServiceCIDR", check_service_cidr},
};

}  // namespace

std::span<const KindRule> network_rules() { return kRules; }

}  // namespace skiff::api
