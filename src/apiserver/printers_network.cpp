#include "printers.hpp"

namespace skiff::apiserver::print {
namespace {

std::string number(const Value& v) { return std::to_string(v.as_int()); }

// Addresses of status.loadBalancer.
std::string balancer(const Value& status) {
  std::vector<std::string> out;
  for (const Value& i : status["loadBalancer"]["ingress"].items()) {
    const std::string& ip = i["ip"].as_string();
    out.push_back(ip.empty() ? i["hostname"].as_string() : ip);
  }
  return join(out);
}

std::string external_ip(const Value& o) {
  const Value& spec = o["spec"];
  const std::string& type = spec["type"].as_string();
  const std::string given = join(strings(spec["externalIPs"]));
  if (type == "ExternalName") return spec["externalName"].as_string();
  if (type != "LoadBalancer") return or_none(given);
  std::string ips = balancer(o["status"]);
  if (!given.empty()) ips += (ips.empty() ? "" : ",") + given;
  return ips.empty() ? "<pending>" : ips;
}

std::string service_ports(const Value& ports) {
  std::vector<std::string> parts;
  for (const Value& p : ports.items()) {
    std::string one = number(p["port"]);
    if (p["nodePort"].as_int() > 0) one += ":" + number(p["nodePort"]);
    parts.push_back(one + "/" + p["protocol"].as_string());
  }
  return or_none(join(parts));
}

std::string with_port(const std::string& ip, const std::string& port) {
  if (port.empty()) return ip;
  return ip.find(':') == std::string::npos ? ip + ":" + port : "[" + ip + "]:" + port;
}

}  // namespace

Cells service(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(spec["type"]);
  const Value& first = spec["clusterIPs"][std::size_t{0}];
  cells.emplace_back(or_none(first.is_null() ? spec["clusterIP"].as_string() : first.as_string()));
  cells.emplace_back(external_ip(o));
  cells.emplace_back(service_ports(spec["ports"]));
  cells.emplace_back(age(o, now));
  cells.emplace_back(labels(spec["selector"]));
  return cells;
}

Cells endpoints(const Value& o, WallTime now) {
  std::vector<std::string> all;
  for (const Value& subset : o["subsets"].items()) {
    for (const Value& a : subset["addresses"].items()) {
      if (subset["ports"].empty()) all.push_back(a["ip"].as_string());
    }
    for (const Value& p : subset["ports"].items()) {
      for (const Value& a : subset["addresses"].items()) {
        all.push_back(with_port(a["ip"].as_string(), number(p["port"])));
      }
    }
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(or_none(first_three(all)));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells endpoint_slice(const Value& o, WallTime now) {
  std::vector<std::string> ports;
  for (const Value& p : o["ports"].items()) {
    ports.push_back(p["port"].is_null() ? "*" : number(p["port"]));
  }
  std::vector<std::string> addresses;
  for (const Value& e : o["endpoints"].items()) {
    for (const Value& a : e["addresses"].items()) addresses.push_back(a.as_string());
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["addressType"]);
  cells.emplace_back(ports.empty() ? std::string(kUnset) : first_three(ports));
  cells.emplace_back(addresses.empty() ? std::string(kUnset) : first_three(addresses));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells ingress(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  std::vector<std::string> hosts;
  for (const Value& r : spec["rules"].items()) {
    if (const std::string& host = r["host"].as_string(); !host.empty()) hosts.push_back(host);
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(or_none(spec["ingressClassName"].as_string()));
  cells.emplace_back(hosts.empty() ? "*" : first_three(hosts));
  cells.emplace_back(balancer(o["status"]));
  cells.emplace_back(spec["tls"].empty() ? "80" : "80, 443");
  cells.emplace_back(age(o, now));
  return cells;
}

Cells ingress_class(const Value& o, WallTime now) {
  const Value& p = o["spec"]["parameters"];
  std::string parameters(kNone);
  if (!p.is_null()) {
    parameters = p["kind"].as_string();
    if (const std::string& group = p["apiGroup"].as_string(); !group.empty()) {
      parameters += "." + group;
    }
    parameters += "/" + p["name"].as_string();
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["controller"]);
  cells.emplace_back(std::move(parameters));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells network_policy(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(label_selector(o["spec"]["podSelector"]));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells service_cidr(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(join(strings(o["spec"]["cidrs"])));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells ip_address(const Value& o, WallTime) {
  const Value& ref = o["spec"]["parentRef"];
  std::string parent = ref["resource"].as_string();
  if (const std::string& group = ref["group"].as_string(); !group.empty()) parent += "." + group;
  for (const std::string_view part : {"namespace", "name"}) {
    if (const std::string& text = ref[part].as_string(); !text.empty()) parent += "/" + text;
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(or_none(parent));
  return cells;
}

}  // namespace skiff::apiserver::print
