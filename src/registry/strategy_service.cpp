// Services: families, cluster addresses and node ports (KEP-563, "dual-stack").
#include "errors.hpp"
#include "strategy.hpp"

namespace skiff::registry::services {
namespace {

constexpr std::string_view kNone = "None";
constexpr std::size_t kFirst = 0;

bool is_external(const Value& doc) { return doc["spec"]["type"].as_string() == "ExternalName"; }
bool is_headless(const Value& doc) {
  return !is_external(doc) && doc["spec"]["clusterIP"].as_string() == kNone;
}
bool wants_ports(const Value& doc) {
  const std::string& type = doc["spec"]["type"].as_string();
  if (type == "LoadBalancer") return doc["spec"]["allocateLoadBalancerNodePorts"].as_bool(true);
  return type == "NodePort";
}
bool may_have_ports(const Value& doc) {
  const std::string& type = doc["spec"]["type"].as_string();
  return type == "LoadBalancer" || type == "NodePort";
}
bool wants_health_port(const Value& doc) {
  return doc["spec"]["type"].as_string() == "LoadBalancer" &&
         doc["spec"]["externalTrafficPolicy"].as_string() == "Local";
}

Error refuse(const Call& call, const Value& doc, std::string field, const Value& value,
             std::string_view why) {
  return errors::invalid_field(call.resource, doc["metadata"]["name"].as_string(), field, value,
                               why);
}

IpFamily parse_family(std::string_view text) {
  return text == "IPv6" ? IpFamily::v6 : IpFamily::v4;
}

Value family_list(const std::vector<IpFamily>& families) {
  Value out = Value::array();
  for (const IpFamily f : families) out.push_back(name_of(f));
  return out;
}

// clusterIP and clusterIPs[0] say the same.
void normalize_ips(Value& doc, const Value* old) {
  Value& spec = doc.member("spec");
  const std::string ip = spec["clusterIP"].as_string();
  if (!old) {
    if (!ip.empty() && spec["clusterIPs"].empty()) spec.set("clusterIPs", Value::array({ip}));
    if (ip.empty() && !spec["clusterIPs"].empty())
      spec.set("clusterIP", spec["clusterIPs"][kFirst]);
    return;
  }
  const Value& was = (*old)["spec"];
  const bool same_list = spec["clusterIPs"] == was["clusterIPs"];
  if (ip != was["clusterIP"].as_string() && same_list) {
    // The caller knows only the old field.
    if (ip.empty()) {
      spec.erase("clusterIPs");
    } else {
      spec.set("clusterIPs", Value::array({ip}));
    }
  } else if (ip == was["clusterIP"].as_string() && spec["clusterIPs"].empty() && !ip.empty()) {
    spec.set("clusterIPs", was["clusterIPs"]);
  }
}

// Which families this Service shall have, filled into the document.
Result<std::vector<IpFamily>> settle_families(Call& call, Value& doc) {
  Value& spec = doc.member("spec");
  const std::vector<IpFamily>& available = call.core.services.families();
  std::vector<IpFamily> families;
  for (const Value& f : spec["ipFamilies"].items()) {
    const IpFamily family = parse_family(f.as_string());
    families.push_back(family);
    if (std::find(available.begin(), available.end(), family) == available.end()) {
      return refuse(call, doc, "spec.ipFamilies[" + std::to_string(families.size() - 1) + "]", f,
                    "not configured on this cluster");
    }
  }
  std::string policy = spec["ipFamilyPolicy"].as_string();
  const bool selectorless = is_headless(doc) && spec["selector"].empty();
  if (policy.empty()) {
    const bool two = spec["clusterIPs"].size() == 2 || families.size() == 2 || selectorless;
    policy = two ? "RequireDualStack" : "SingleStack";
  }
  spec.set("ipFamilyPolicy", policy);
  for (const Value& ip : spec["clusterIPs"].items()) {
    const auto family = family_of(ip.as_string());
    if (family && families.size() < spec["clusterIPs"].size() &&
        std::find(families.begin(), families.end(), *family) == families.end()) {
      families.push_back(*family);
    }
  }
  if (families.empty()) families.push_back(available.front());
  const bool dual = available.size() > 1;
  if (policy == "RequireDualStack" && !dual && !selectorless) {
    return refuse(call, doc, "spec.ipFamilyPolicy", policy,
                  "this cluster is not configured for dual-stack services");
  }
  if (policy == "SingleStack") {
    families.resize(1);
  } else if (families.size() == 1 && (dual || selectorless)) {
    families.push_back(families[0] == IpFamily::v4 ? IpFamily::v6 : IpFamily::v4);
  }
  spec.set("ipFamilies", family_list(families));
  return families;
}

Result<std::string> take_ip(Call& call, const Value& doc, const std::string& wanted,
                            IpFamily family) {
  ServiceAllocator& allocator = call.core.services;
  std::string ip = wanted;
  if (wanted.empty()) {
    auto next = allocator.next_ip(family);
    if (!next) {
      return errors::internal("failed to allocate a serviceIP: " + next.error().message);
    }
    ip = std::move(*next);
  } else if (const auto claimed = allocator.claim_ip(wanted); !claimed) {
    return refuse(call, doc, "spec.clusterIPs", doc["spec"]["clusterIPs"],
                  "failed to allocate IP " + wanted + ": " + claimed.error().message);
  }
  call.reservations.if_refused([&allocator, ip] { allocator.release_ip(ip); });
  call.reservations.take("ip/" + ip);
  return ip;
}

// Takes an address per family, keeping those `held` already.
Result<void> settle_ips(Call& call, Value& doc, const std::vector<IpFamily>& families,
                        const Value& held) {
  Value& spec = doc.member("spec");
  if (is_headless(doc)) {
    spec.set("clusterIPs", Value::array({kNone}));
    return {};
  }
  Value ips = Value::array();
  for (std::size_t i = 0; i < families.size(); ++i) {
    const std::string wanted = spec["clusterIPs"][i].as_string();
    const auto owned = held.items();
    if (!wanted.empty() && std::find(owned.begin(), owned.end(), Value(wanted)) != owned.end()) {
      ips.push_back(wanted);
      continue;
    }
    SKIFF_TRY(std::string ip, take_ip(call, doc, wanted, families[i]));
    ips.push_back(std::move(ip));
  }
  spec.set("clusterIP", ips[kFirst]);
  spec.set("clusterIPs", std::move(ips));
  return {};
}

// The node ports a document names, whatever its type.
std::set<int> named_ports(const Value& doc) {
  std::set<int> out;
  for (const Value& p : doc["spec"]["ports"].items()) {
    if (const auto port = p["nodePort"].as_int(); port != 0) out.insert(static_cast<int>(port));
  }
  if (const auto port = doc["spec"]["healthCheckNodePort"].as_int(); port != 0) {
    out.insert(static_cast<int>(port));
  }
  return out;
}

std::set<int> ports_of(const Value& doc) {
  return may_have_ports(doc) ? named_ports(doc) : std::set<int>();
}

Result<int> take_port(Call& call, const Value& doc, std::string field, int wanted) {
  ServiceAllocator& allocator = call.core.services;
  int port = wanted;
  if (wanted == 0) {
    const auto next = allocator.next_port();
    if (!next) return errors::internal("failed to allocate a nodePort: " + next.error().message);
    port = *next;
  } else if (const auto claimed = allocator.claim_port(wanted); !claimed) {
    return refuse(call, doc, std::move(field), wanted, claimed.error().message);
  }
  call.reservations.if_refused([&allocator, port] { allocator.release_port(port); });
  call.reservations.take("port/" + std::to_string(port));
  return port;
}

// Node ports of this Service by port number: one may serve TCP and UDP alike.
Result<void> settle_ports(Call& call, Value& doc, std::set<int> held) {
  Value& spec = doc.member("spec");
  if (!may_have_ports(doc)) return {};
  std::map<std::int64_t, int> by_port;
  if (Value* list = spec.find("ports")) {
    std::vector<Value>& ports = list->mutable_items();
    for (std::size_t i = 0; i < ports.size(); ++i) {
      const std::int64_t number = ports[i]["port"].as_int();
      int wanted = static_cast<int>(ports[i]["nodePort"].as_int());
      if (wanted == 0 && !wants_ports(doc)) continue;
      if (wanted == 0 && by_port.contains(number)) wanted = by_port[number];
      if (wanted == 0 || !held.contains(wanted)) {
        const std::string field = "spec.ports[" + std::to_string(i) + "].nodePort";
        SKIFF_TRY(wanted, take_port(call, doc, field, wanted));
        held.insert(wanted);
      }
      by_port.emplace(number, wanted);
      ports[i].set("nodePort", wanted);
    }
  }
  if (!wants_health_port(doc)) return {};
  const int wanted = static_cast<int>(spec["healthCheckNodePort"].as_int());
  if (wanted != 0 && held.contains(wanted)) return {};
  SKIFF_TRY(const int port, take_port(call, doc, "spec.healthCheckNodePort", wanted));
  spec.set("healthCheckNodePort", port);
  return {};
}

// What the caller left out and the server chose before stays.
void keep_allocated(Value& doc, const Value& old) {
  Value& spec = doc.member("spec");
  const Value& was = old["spec"];
  if (!is_external(doc) && !is_external(old) && spec["clusterIP"].as_string().empty()) {
    spec.set("clusterIP", was["clusterIP"]);
    if (spec["clusterIPs"].empty()) spec.set("clusterIPs", was["clusterIPs"]);
  }
  if (!is_external(doc) && !is_external(old)) {
    for (const std::string_view name : {"ipFamilyPolicy", "ipFamilies"}) {
      if (!spec.has(name) && was.has(name)) spec.set(name, was[name]);
    }
  }
  if (may_have_ports(doc) && may_have_ports(old) && spec.has("ports")) {
    for (Value& p : spec.member("ports").mutable_items()) {
      if (p["nodePort"].as_int() != 0) continue;
      for (const Value& q : was["ports"].items()) {
        if (p["port"] == q["port"] && p["protocol"] == q["protocol"] && q.has("nodePort")) {
          p.set("nodePort", q["nodePort"]);
        }
      }
    }
  }
  if (wants_health_port(doc) && spec["healthCheckNodePort"].as_int() == 0 &&
      was.has("healthCheckNodePort")) {
    spec.set("healthCheckNodePort", was["healthCheckNodePort"]);
  }
}

// A changed type takes along what only the old type had, unless the caller changed that too.
void drop_type_dependent(Value& doc, const Value& old) {
  Value& spec = doc.member("spec");
  const Value& was = old["spec"];
  const auto drop_if_same = [&](std::string_view name) {
    if (spec.has(name) && spec[name] == was[name]) spec.erase(name);
  };
  if (is_external(doc) && !is_external(old)) {
    for (const std::string_view name :
         {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}) {
      drop_if_same(name);
    }
  }
  if (may_have_ports(old) && !may_have_ports(doc) && named_ports(old) == named_ports(doc)) {
    if (Value* ports = spec.find("ports")) {
      for (Value& p : ports->mutable_items()) p.erase("nodePort");
    }
  }
  if (wants_health_port(old) && !wants_health_port(doc)) drop_if_same("healthCheckNodePort");
  if (spec["type"] == was["type"]) return;
  if (spec["type"].as_string() != "LoadBalancer") {
    drop_if_same("allocateLoadBalancerNodePorts");
    drop_if_same("loadBalancerClass");
  }
  if (!may_have_ports(doc)) drop_if_same("externalTrafficPolicy");
}

void release_later(Call& call, const Value& old, const Value* kept) {
  ServiceAllocator& allocator = call.core.services;
  static const Value nothing;
  const auto still = (kept ? (*kept)["spec"]["clusterIPs"] : nothing).items();
  for (const Value& ip : old["spec"]["clusterIPs"].items()) {
    const std::string& text = ip.as_string();
    if (text == kNone || std::find(still.begin(), still.end(), ip) != still.end()) continue;
    call.reservations.if_committed([&allocator, text] { allocator.release_ip(text); });
    call.reservations.give_back("ip/" + text);
  }
  const std::set<int> ports = kept ? ports_of(*kept) : std::set<int>();
  for (const int port : ports_of(old)) {
    if (ports.contains(port)) continue;
    call.reservations.if_committed([&allocator, port] { allocator.release_port(port); });
    call.reservations.give_back("port/" + std::to_string(port));
  }
}

}  // namespace

Result<void> on_create(Call& call, Value& doc) {
  if (is_external(doc)) return {};
  normalize_ips(doc, nullptr);
  SKIFF_TRY(const auto families, settle_families(call, doc));
  SKIFF_CHECK(settle_ips(call, doc, families, Value()));
  return settle_ports(call, doc, {});
}

Result<void> on_update(Call& call, Value& doc, const Value& old) {
  drop_type_dependent(doc, old);
  keep_allocated(doc, old);
  if (!is_external(doc)) {
    normalize_ips(doc, &old);
    const Value& was = old["spec"];
    const std::string& ip = doc["spec"]["clusterIP"].as_string();
    if (!is_external(old) && ip != was["clusterIP"].as_string()) {
      return refuse(call, doc, "spec.clusterIPs[0]", doc["spec"]["clusterIPs"],
                    "may not change once set");
    }
    // A Service that becomes single-stack gives its second address back.
    if (doc["spec"]["ipFamilyPolicy"].as_string() == "SingleStack" &&
        doc["spec"]["clusterIPs"] == was["clusterIPs"] && was["clusterIPs"].size() == 2) {
      doc.member("spec").set("clusterIPs", Value::array({was["clusterIPs"][kFirst]}));
      doc.member("spec").set("ipFamilies", Value::array({was["ipFamilies"][kFirst]}));
    }
    SKIFF_TRY(const auto families, settle_families(call, doc));
    SKIFF_CHECK(settle_ips(call, doc, families, was["clusterIPs"]));
    SKIFF_CHECK(settle_ports(call, doc, ports_of(old)));
  }
  release_later(call, old, &doc);
  return {};
}

void on_erase(Call& call, const Value& last) { release_later(call, last, nullptr); }

std::vector<std::string> allocations(const Value& service) {
  std::vector<std::string> out;
  if (is_external(service)) return out;
  for (const Value& ip : service["spec"]["clusterIPs"].items()) {
    if (ip.as_string() != kNone) out.push_back("ip/" + ip.as_string());
  }
  for (const int port : ports_of(service)) out.push_back("port/" + std::to_string(port));
  return out;
}

void disown(Core& core, const Value& service) {
  if (is_external(service)) return;
  for (const Value& ip : service["spec"]["clusterIPs"].items()) {
    if (ip.as_string() != kNone) core.services.release_ip(ip.as_string());
  }
  for (const int port : ports_of(service)) core.services.release_port(port);
}

void adopt(Core& core, const Value& service) {
  if (is_external(service)) return;
  for (const Value& ip : service["spec"]["clusterIPs"].items()) {
    if (ip.as_string() != kNone) (void)core.services.claim_ip(ip.as_string());
  }
  for (const int port : ports_of(service)) (void)core.services.claim_port(port);
}

}  // namespace skiff::registry::services
