#include "ruleset.hpp"

#include <algorithm>
#include <set>

namespace skiff::proxy {
namespace {

using nft::Base;
using nft::BaseChain;
using nft::Compare;
using nft::Hook;
using nft::Meta;
using nft::Part;
using nft::Reg;
using nft::Rule;
using nft::Verdict;

constexpr nft::Family kFamily = nft::Family::ipv4;
constexpr std::uint32_t kSource = 12, kDestination = 16, kAddress = 4;  // in the IPv4 header
constexpr std::uint32_t kDestinationPort = 2;                           // in TCP, UDP and SCTP
constexpr std::uint32_t kTypeLocal = 2;                                 // RTN_LOCAL
constexpr int kPriorityFirewall = nft::kPriorityDstnat - 10;
// Affinity remembers at most this many clients; more are spread like those of any service.
constexpr std::uint32_t kAffinityClients = 262'144;

netlink::Bytes word(std::uint32_t v) {
  netlink::Bytes b;
  nft::append_mark(b, v);
  return b;
}

// r0..r2 = destination address, protocol, destination port
Rule& load_front(Rule& rule) {
  return rule.payload(Base::network, kDestination, kAddress, Reg{0})
      .meta(Meta::l4proto, Reg{1})
      .payload(Base::transport, kDestinationPort, 2, Reg{2});
}

// r0..r1 = protocol, destination port; only for packets to one of this machine's addresses
Rule& load_node_port(Rule& rule) {
  return rule.destination_type(Reg{0})
      .compare_u32(Compare::eq, Reg{0}, kTypeLocal)
      .meta(Meta::l4proto, Reg{0})
      .payload(Base::transport, kDestinationPort, 2, Reg{1});
}

Rule& mark_for_masquerade(Rule& rule) {
  return rule.meta(Meta::mark, Reg{8})
      .bitwise(Reg{8}, Reg{8}, word(~kMasqueradeMark), word(kMasqueradeMark))
      .set_meta(Meta::mark, Reg{8});
}

Rule& match_prefix(Rule& rule, std::uint32_t offset, const Prefix& prefix, Compare op) {
  const auto mask = prefix.mask();
  auto network = mask;
  for (std::size_t i = 0; i < network.size(); ++i) network[i] &= prefix.address.bytes[i];
  return rule.payload(Base::network, offset, kAddress, Reg{8})
      .bitwise(Reg{8}, Reg{8}, mask, netlink::Bytes(mask.size()))
      .compare(op, Reg{8}, network);
}

Rule& only_new(Rule& rule) {
  return rule.ct_state(Reg{8})
      .bitwise(Reg{8}, Reg{8}, word(nft::kCtNew), word(0))
      .compare_u32(Compare::neq, Reg{8}, 0);
}

Verdict jump(std::string chain) { return {Verdict::Type::jump, std::move(chain)}; }
Verdict go(std::string chain) { return {Verdict::Type::go, std::move(chain)}; }
Verdict drop() { return {Verdict::Type::drop, ""}; }

void write_sets(nft::Batch& batch) {
  const std::vector<Part> front{Part::ipv4, Part::protocol, Part::port};
  const std::vector<Part> node_port{Part::protocol, Part::port};
  const std::vector<Part> target{Part::ipv4, Part::port};
  batch.add_set({.name = "service-ips", .key = front, .verdicts = true});
  batch.add_set({.name = "node-ports", .key = node_port, .verdicts = true});
  batch.add_set({.name = "firewalled", .key = front, .verdicts = true});
  batch.add_set({.name = "endpoints", .key = {Part::mark, Part::mark}, .value = target});
  batch.add_set({.name = "cluster-ips", .key = {Part::ipv4}});
  batch.add_set({.name = "hairpin", .key = {Part::ipv4, Part::ipv4}});
  batch.add_set({.name = "refused", .key = front});
  batch.add_set({.name = "refused-node-ports", .key = node_port});
  batch.add_set({.name = "dropped", .key = front});
  batch.add_set({.name = "dropped-node-ports", .key = node_port});
  batch.add_set({.name = "sticky", .key = {Part::mark, Part::ipv4, Part::port}});
  batch.add_set({.name = "affinity",
                 .key = {Part::mark, Part::ipv4},
                 .value = target,
                 .dynamic = true,
                 .timeout = true,
                 .size = kAffinityClients});
}

void write_services(nft::Batch& batch, const Options& options) {
  batch.add_chain("services");
  if (options.cluster_cidr) {
    Rule outside;
    outside.payload(Base::network, kDestination, kAddress, Reg{0}).in_set("cluster-ips", Reg{0});
    match_prefix(outside, kSource, *options.cluster_cidr, Compare::neq);
    mark_for_masquerade(outside).comment("clients from outside the cluster");
    batch.add_rule("services", outside);
  }
  Rule fronts;
  load_front(fronts).verdict_map("service-ips", Reg{0});
  batch.add_rule("services", fronts);
  Rule node_ports;
  if (!options.localhost_node_ports) {
    match_prefix(node_ports, kDestination, Prefix{IpAddress::v4(0x7f000000), 8}, Compare::neq);
  }
  load_node_port(node_ports).verdict_map("node-ports", Reg{0});
  batch.add_rule("services", node_ports);
  batch.add_chain("prerouting", BaseChain{"nat", Hook::prerouting, nft::kPriorityDstnat});
  batch.add_rule("prerouting", Rule().verdict(jump("services")));
  batch.add_chain("output", BaseChain{"nat", Hook::output, nft::kPriorityDstnat});
  batch.add_rule("output", Rule().verdict(jump("services")));
}

void write_masquerading(nft::Batch& batch) {
  batch.add_chain("postrouting", BaseChain{"nat", Hook::postrouting, nft::kPrioritySrcnat});
  Rule marked;
  marked.meta(Meta::mark, Reg{0})
      .bitwise(Reg{0}, Reg{1}, word(kMasqueradeMark), word(0))
      .compare_u32(Compare::neq, Reg{1}, 0)
      .bitwise(Reg{0}, Reg{0}, word(~kMasqueradeMark), word(0))
      .set_meta(Meta::mark, Reg{0})
      .masquerade();
  batch.add_rule("postrouting", marked);
  Rule hairpin;
  hairpin.payload(Base::network, kSource, kAddress, Reg{0})
      .payload(Base::network, kDestination, kAddress, Reg{1})
      .in_set("hairpin", Reg{0})
      .masquerade()
      .comment("pods that reach themselves through a service");
  batch.add_rule("postrouting", hairpin);
}

void write_refusals(nft::Batch& batch) {
  // Both mean "connection refused" to clients; resets are not limited in number.
  batch.add_chain("refuse");
  Rule tcp;
  tcp.meta(Meta::l4proto, Reg{0})
      .compare(Compare::eq, Reg{0}, netlink::Bytes{static_cast<std::uint8_t>(Protocol::tcp)})
      .reject_tcp();
  batch.add_rule("refuse", tcp);
  batch.add_rule("refuse", Rule().reject(kFamily));

  batch.add_chain("no-endpoints");
  const auto front = [&](std::string_view set, const Verdict& verdict) {
    Rule rule;
    batch.add_rule("no-endpoints", load_front(rule).in_set(set, Reg{0}).verdict(verdict));
  };
  const auto node_port = [&](std::string_view set, const Verdict& verdict) {
    Rule rule;
    batch.add_rule("no-endpoints", load_node_port(rule).in_set(set, Reg{0}).verdict(verdict));
  };
  front("refused", go("refuse"));
  front("dropped", drop());
  node_port("refused-node-ports", go("refuse"));
  node_port("dropped-node-ports", drop());
  // What is still addressed to a cluster IP here was not led anywhere: no such port.
  Rule no_port;
  no_port.payload(Base::network, kDestination, kAddress, Reg{0})
      .in_set("cluster-ips", Reg{0})
      .verdict(go("refuse"))
      .comment("no such port on this cluster IP");
  batch.add_rule("no-endpoints", no_port);
  const auto hooked = [&](std::string_view name, Hook hook) {
    batch.add_chain(name, BaseChain{"filter", hook, nft::kPriorityFilter});
    Rule rule;
    only_new(rule).verdict(jump("no-endpoints"));
    batch.add_rule(name, rule);
  };
  hooked("filter-input", Hook::input);
  hooked("filter-forward", Hook::forward);
  hooked("filter-output", Hook::output);
}

void write_guards(nft::Batch& batch, const Options& options) {
  batch.add_chain("firewall", BaseChain{"filter", Hook::prerouting, kPriorityFirewall});
  Rule firewall;
  only_new(firewall);
  load_front(firewall).verdict_map("firewalled", Reg{0});
  batch.add_rule("firewall", firewall);
  if (!options.localhost_node_ports) return;
  batch.add_chain("localnet", BaseChain{"filter", Hook::prerouting, nft::kPriorityRaw});
  Rule guard;
  netlink::Bytes lo(16, 0);
  lo[0] = 'l';
  lo[1] = 'o';
  guard.meta(Meta::iifname, Reg{0}).compare(Compare::neq, Reg{0}, lo);
  match_prefix(guard, kDestination, Prefix{IpAddress::v4(0x7f000000), 8}, Compare::eq);
  guard.verdict(drop()).comment("route_localnet is on: keep strangers off 127.0.0.0/8");
  batch.add_rule("localnet", guard);
}

}  // namespace

std::vector<Target> arrange(const std::vector<Target>& before, const std::vector<Target>& wanted) {
  const std::set<Target> want(wanted.begin(), wanted.end());
  const std::set<Target> had(before.begin(), before.end());
  std::vector<Target> fresh;
  for (const auto& t : want) {
    if (!had.contains(t)) fresh.push_back(t);
  }
  std::vector<std::optional<Target>> slots(before.begin(), before.end());
  auto next = fresh.begin();
  for (auto& slot : slots) {
    if (want.contains(*slot)) continue;
    slot = next != fresh.end() ? std::optional(*next++) : std::nullopt;
  }
  for (; next != fresh.end(); ++next) slots.emplace_back(*next);
  for (std::size_t i = 0; i < slots.size();) {
    if (!slots.back()) {
      slots.pop_back();
    } else {
      if (!slots[i]) {
        slots[i] = slots.back();
        slots.pop_back();
      }
      ++i;
    }
  }
  std::vector<Target> arranged;
  for (const auto& s : slots) arranged.push_back(*s);
  return arranged;
}

void write_skeleton(nft::Batch& batch, const Options& options) {
  batch.add_table();
  batch.delete_table();
  batch.add_table();
  write_sets(batch);
  write_services(batch, options);
  write_masquerading(batch);
  write_refusals(batch);
  write_guards(batch, options);
}

namespace {

Slot front_slot(std::string set, const IpAddress& ip, const ServicePort& port) {
  Slot slot{std::move(set), {}};
  nft::append_part(slot.key, ip);
  nft::append_protocol(slot.key, static_cast<std::uint8_t>(port.protocol));
  nft::append_port(slot.key, port.port);
  return slot;
}

Slot node_port_slot(std::string set, const ServicePort& port) {
  Slot slot{std::move(set), {}};
  nft::append_protocol(slot.key, static_cast<std::uint8_t>(port.protocol));
  nft::append_port(slot.key, port.node_port);
  return slot;
}

Held leads_to(std::string chain) { return {{}, go(std::move(chain))}; }

netlink::Bytes target_bytes(const Target& t) {
  netlink::Bytes b;
  nft::append_part(b, t.address);
  nft::append_port(b, t.port);
  return b;
}

// The chain that spreads over a pool, and the pool's elements.
void add_pool(Items& items, const std::string& chain, const Pool& pool, std::uint32_t affinity) {
  const auto count = static_cast<std::uint32_t>(pool.targets.size());
  auto& rules = items.chains[chain];
  const std::uint64_t timeout = std::uint64_t{affinity} * 1000;
  if (affinity != 0) {
    // r0 = pool, r1 = client; r3 = pool, r4 = address, r5 = port: the client's last endpoint, as
    // long as the pool still has it.
    Rule again;
    again.load(Reg{0}, word(pool.id))
        .payload(Base::network, kSource, kAddress, Reg{1})
        .load(Reg{3}, word(pool.id))
        .map("affinity", Reg{0}, Reg{4})
        .in_set("sticky", Reg{3})
        .change_set(Rule::SetOp::update, "affinity", Reg{0}, Reg{4}, timeout)
        .dnat(kFamily, Reg{4}, Reg{5});
    rules.push_back(std::move(again));
  }
  const auto draw = [&] {
    Rule rule;
    rule.load(Reg{0}, word(pool.id)).random(count, Reg{1}).map("endpoints", Reg{0}, Reg{4});
    return rule;
  };
  if (affinity != 0) {
    // An update does not replace the value of an element that is there: it goes first. A full map
    // ends this rule, and the next one serves the client without remembering it.
    Rule remember = draw();
    remember.payload(Base::network, kSource, kAddress, Reg{1})
        .change_set(Rule::SetOp::remove, "affinity", Reg{0}, Reg{4}, 0)
        .change_set(Rule::SetOp::update, "affinity", Reg{0}, Reg{4}, timeout)
        .dnat(kFamily, Reg{4}, Reg{5});
    rules.push_back(std::move(remember));
  }
  rules.push_back(draw().dnat(kFamily, Reg{4}, Reg{5}));
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto& t = pool.targets[i];
    Slot slot{"endpoints", word(pool.id)};
    nft::append_mark(slot.key, i);
    items.elements[std::move(slot)] = {target_bytes(t), std::nullopt};
    if (affinity == 0) continue;
    Slot sticky{"sticky", word(pool.id)};
    const auto bytes = target_bytes(t);
    sticky.key.insert(sticky.key.end(), bytes.begin(), bytes.end());
    items.elements[std::move(sticky)] = {};
  }
}

std::vector<Rule> external_rules(const ServicePort& port, const std::string& cluster,
                                 const std::string& local, bool have_cluster, bool have_local,
                                 const Options& options) {
  std::vector<Rule> rules;
  if (!port.external_local) {
    Rule all;
    mark_for_masquerade(all).verdict(go(cluster));
    rules.push_back(std::move(all));
    return rules;
  }
  // Clients on this side of the balancer are not what policy Local is for: they reach every
  // endpoint, as they would through the cluster IP.
  if (have_cluster && options.cluster_cidr) {
    Rule pods;
    match_prefix(pods, kSource, *options.cluster_cidr, Compare::eq).verdict(go(cluster));
    rules.push_back(std::move(pods));
  }
  if (have_cluster) {
    Rule node;
    node.source_type(Reg{0}).compare_u32(Compare::eq, Reg{0}, kTypeLocal);
    mark_for_masquerade(node).verdict(go(cluster));
    rules.push_back(std::move(node));
  }
  if (have_local) rules.push_back(Rule().verdict(go(local)));
  return rules;
}

// Only the source ranges may use the load balancer's addresses.
std::vector<Rule> firewall_rules(const ServicePort& port) {
  std::vector<Rule> rules;
  for (const auto& range : port.source_ranges) {
    Rule allowed;
    match_prefix(allowed, kSource, range, Compare::eq).verdict({Verdict::Type::ret, ""});
    rules.push_back(std::move(allowed));
  }
  rules.push_back(Rule().verdict(drop()));
  return rules;
}

}  // namespace

Items items_of(const ServicePort& port, const Backends& backends, const Pool& cluster,
               const Pool& local, const std::vector<Target>& on_this_node, const Options& options) {
  Items items;
  const std::string id = port.id();
  const std::string cluster_chain = "cluster/" + id, local_chain = "local/" + id;
  const std::string external_chain = "external/" + id;
  Slot ip{"cluster-ips", {}};
  nft::append_part(ip.key, port.cluster_ip);
  items.elements[std::move(ip)] = {};

  // Without endpoints anywhere clients are refused; with some, but none this policy may use, they
  // wait: another node may have one soon, and a balancer in front should look elsewhere.
  const std::string absent = backends.any ? "dropped" : "refused";
  if (!cluster.targets.empty()) {
    add_pool(items, cluster_chain, cluster, port.affinity_seconds);
  }
  if (!local.targets.empty()) add_pool(items, local_chain, local, port.affinity_seconds);

  if (backends.internal(port).empty()) {
    items.elements[front_slot(absent, port.cluster_ip, port)] = {};
  } else {
    items.elements[front_slot("service-ips", port.cluster_ip, port)] =
        leads_to(port.internal_local ? local_chain : cluster_chain);
  }
  for (const auto& t : on_this_node) {
    Slot self{"hairpin", {}};
    nft::append_part(self.key, t.address);
    nft::append_part(self.key, t.address);
    items.elements[std::move(self)] = {};
  }
  if (!port.externally_accessible()) return items;

  const bool served = !backends.external(port).empty();
  if (backends.any) {
    items.chains[external_chain] =
        external_rules(port, cluster_chain, local_chain, !cluster.targets.empty(), served, options);
  }
  std::vector<IpAddress> addresses = port.external_ips;
  addresses.insert(addresses.end(), port.load_balancer_ips.begin(), port.load_balancer_ips.end());
  for (const auto& a : addresses) {
    if (backends.any) {
      items.elements[front_slot("service-ips", a, port)] = leads_to(external_chain);
    }
    if (!served) items.elements[front_slot(absent, a, port)] = {};
  }
  if (port.node_port != 0) {
    if (backends.any) items.elements[node_port_slot("node-ports", port)] = leads_to(external_chain);
    if (!served) items.elements[node_port_slot(absent + "-node-ports", port)] = {};
  }
  if (!port.source_ranges.empty() && !port.load_balancer_ips.empty()) {
    items.chains["firewall/" + id] = firewall_rules(port);
    for (const auto& a : port.load_balancer_ips) {
      items.elements[front_slot("firewalled", a, port)] = leads_to("firewall/" + id);
    }
  }
  return items;
}

}  // namespace skiff::proxy
