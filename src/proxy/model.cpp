#include "model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace skiff::proxy {

using api::Value;

std::optional<Protocol> parse_protocol(std::string_view text) {
  if (text.empty() || text == "TCP") return Protocol::tcp;
  if (text == "UDP") return Protocol::udp;
  if (text == "SCTP") return Protocol::sctp;
  return std::nullopt;
}

std::string_view name_of(Protocol p) {
  switch (p) {
    case Protocol::tcp:
      return "tcp";
    case Protocol::udp:
      return "udp";
    case Protocol::sctp:
      return "sctp";
  }
  return "tcp";
}

std::string ServicePort::id() const {
  return fmt::format("{}/{}/{}/{}", ns, service, name_of(protocol), port);
}

namespace {

std::optional<IpAddress> v4(const Value& text) {
  const auto a = IpAddress::parse(text.as_string());
  if (!a || a->v6 || a->unspecified()) return std::nullopt;
  return *a;
}

std::optional<IpAddress> cluster_ip(const Value& spec) {
  for (const auto& ip : spec["clusterIPs"].items()) {
    if (const auto a = v4(ip)) return a;
  }
  return v4(spec["clusterIP"]);
}

std::vector<IpAddress> load_balancer_ips(const Value& service) {
  std::vector<IpAddress> ips;
  if (service["spec"]["type"].as_string() != "LoadBalancer") return ips;
  for (const auto& ingress : service["status"]["loadBalancer"]["ingress"].items()) {
    // ipMode Proxy: the balancer must see the traffic first (KEP-1860).
    if (ingress["ipMode"].as_string_or("VIP") != "VIP") continue;
    if (const auto a = v4(ingress["ip"])) ips.push_back(*a);
  }
  return ips;
}

ServicePort common(const Value& service, const IpAddress& ip) {
  const Value& spec = service["spec"];
  ServicePort p;
  p.ns = service["metadata"]["namespace"].as_string();
  p.service = service["metadata"]["name"].as_string();
  p.cluster_ip = ip;
  p.internal_local = spec["internalTrafficPolicy"].as_string() == "Local";
  p.external_local = spec["externalTrafficPolicy"].as_string() == "Local";
  if (spec["sessionAffinity"].as_string() == "ClientIP") {
    const auto seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_int(10'800);
    p.affinity_seconds = static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 1, 86'400));
  }
  for (const auto& ip_value : spec["externalIPs"].items()) {
    if (const auto a = v4(ip_value)) p.external_ips.push_back(*a);
  }
  p.load_balancer_ips = load_balancer_ips(service);
  for (const auto& range : spec["loadBalancerSourceRanges"].items()) {
    const auto prefix = Prefix::parse(range.as_string());
    if (prefix && !prefix->address.v6) p.source_ranges.push_back(*prefix);
  }
  return p;
}

bool in_range(std::int64_t port) { return port > 0 && port < 65'536; }

}  // namespace

std::vector<ServicePort> service_ports(const Value& service) {
  const Value& spec = service["spec"];
  if (spec["type"].as_string() == "ExternalName") return {};
  if (service["metadata"]["labels"].has("service.kubernetes.io/service-proxy-name")) return {};
  const auto ip = cluster_ip(spec);
  if (!ip) return {};
  const ServicePort base = common(service, *ip);
  std::vector<ServicePort> ports;
  for (const auto& item : spec["ports"].items()) {
    const auto protocol = parse_protocol(item["protocol"].as_string());
    const auto number = item["port"].as_int();
    const auto node_port = item["nodePort"].as_int();
    if (!protocol || !in_range(number)) continue;
    ServicePort p = base;
    p.port_name = item["name"].as_string();
    p.protocol = *protocol;
    p.port = static_cast<std::uint16_t>(number);
    if (in_range(node_port)) p.node_port = static_cast<std::uint16_t>(node_port);
    ports.push_back(std::move(p));
  }
  return ports;
}

namespace {

std::vector<std::string> hint_names(const Value& hints) {
  std::vector<std::string> names;
  for (const auto& h : hints.items()) names.push_back(h["name"].as_string());
  return names;
}

std::optional<Endpoint> endpoint_of(const Value& item, std::uint16_t port, const Place& place) {
  const auto address = v4(item["addresses"][std::size_t{0}]);
  if (!address) return std::nullopt;
  const Value& conditions = item["conditions"];
  Endpoint e;
  e.target = {*address, port};
  // Absent means ready; absent serving follows ready (discovery.k8s.io/v1 EndpointConditions).
  e.ready = conditions["ready"].as_bool(true);
  e.serving = conditions["serving"].as_bool(e.ready);
  e.terminating = conditions["terminating"].as_bool(false);
  e.local = !place.node.empty() && item["nodeName"].as_string() == place.node;
  e.zone_hints = hint_names(item["hints"]["forZones"]);
  e.node_hints = hint_names(item["hints"]["forNodes"]);
  return e;
}

}  // namespace

std::vector<Endpoint> endpoints_of(const ServicePort& port, const std::vector<const Value*>& slices,
                                   const Place& place) {
  std::map<Target, Endpoint> found;
  for (const Value* slice : slices) {
    if ((*slice)["addressType"].as_string() != "IPv4") continue;
    for (const auto& p : (*slice)["ports"].items()) {
      const auto number = p["port"].as_int();
      if (p["name"].as_string() != port.port_name || !in_range(number) ||
          parse_protocol(p["protocol"].as_string()) != port.protocol) {
        continue;
      }
      for (const auto& item : (*slice)["endpoints"].items()) {
        auto e = endpoint_of(item, static_cast<std::uint16_t>(number), place);
        if (!e) continue;
        // While an endpoint moves between slices it is in both: the ready one is right.
        const auto [it, fresh] = found.try_emplace(e->target, *e);
        if (!fresh && e->ready && !it->second.ready) it->second = std::move(*e);
      }
    }
  }
  std::vector<Endpoint> endpoints;
  for (auto& [target, e] : found) endpoints.push_back(std::move(e));
  return endpoints;
}

namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return !name.empty() && std::find(names.begin(), names.end(), name) != names.end();
}

// Hints count only when all have them and one is for us: anything else is a cluster half-way
// through changing its mind.
bool hints_apply(const std::vector<const Endpoint*>& ready,
                 std::vector<std::string> Endpoint::*hints, const std::string& name) {
  bool ours = false;
  for (const auto* e : ready) {
    if ((e->*hints).empty()) return false;
    ours = ours || contains(e->*hints, name);
  }
  return ours;
}

std::vector<const Endpoint*> narrowed(const std::vector<const Endpoint*>& ready,
                                      const Place& place) {
  const auto keep = [&](std::vector<std::string> Endpoint::*hints, const std::string& name) {
    std::vector<const Endpoint*> kept;
    for (const auto* e : ready) {
      if (contains(e->*hints, name)) kept.push_back(e);
    }
    return kept;
  };
  if (hints_apply(ready, &Endpoint::node_hints, place.node)) {
    return keep(&Endpoint::node_hints, place.node);
  }
  if (hints_apply(ready, &Endpoint::zone_hints, place.zone)) {
    return keep(&Endpoint::zone_hints, place.zone);
  }
  return ready;
}

std::vector<Target> targets(const std::vector<const Endpoint*>& endpoints) {
  std::vector<Target> t;
  for (const auto* e : endpoints) t.push_back(e->target);
  return t;
}

}  // namespace

Backends choose(const std::vector<Endpoint>& endpoints, const Place& place) {
  std::vector<const Endpoint*> ready, leaving, local_ready, local_leaving;
  for (const auto& e : endpoints) {
    if (e.ready) {
      ready.push_back(&e);
      if (e.local) local_ready.push_back(&e);
    } else if (e.serving && e.terminating) {
      leaving.push_back(&e);
      if (e.local) local_leaving.push_back(&e);
    }
  }
  Backends b;
  b.any = !ready.empty() || !leaving.empty();
  b.cluster = targets(ready.empty() ? leaving : narrowed(ready, place));
  b.local = targets(local_ready.empty() ? local_leaving : local_ready);
  return b;
}

}  // namespace skiff::proxy
