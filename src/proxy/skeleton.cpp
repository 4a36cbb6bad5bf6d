// The table without services: sets, hooks, and the rules that all services share.
#include "fragments.hpp"
#include "ruleset.hpp"

namespace skiff::proxy {
namespace {

using nft::BaseChain;
using nft::Hook;
using nft::Part;

constexpr int kPriorityFirewall = nft::kPriorityDstnat - 10;
// Affinity remembers at most this many clients; more are spread like those of any service.
constexpr std::uint32_t kAffinityClients = 262'144;
constexpr Front kFronts[] = {Front::service_ips, Front::node_ports, Front::local_ips,
                             Front::local_node_ports};

void write_sets(nft::Batch& batch) {
  const std::vector<Part> front{Part::ipv4, Part::protocol, Part::port};
  const std::vector<Part> node_port{Part::protocol, Part::port};
  const std::vector<Part> target{Part::ipv4, Part::port};
  for (const Front f : kFronts) {
    // pool, its size, affinity in seconds, masquerading
    batch.add_set({.name = std::string(name_of(f)),
                   .key = by_node_port(f) ? node_port : front,
                   .value = {Part::mark, Part::mark, Part::mark, Part::mark}});
    batch.add_set({.name = picker_map(f), .key = {Part::mark, Part::mark}, .verdicts = true});
  }
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

// r4..r7 = what the front's map says; then on to the picker for a pool of that size.
Rule& pick(Rule& rule, Front front) {
  return rule.map(name_of(front), Reg{0}, Reg{4}).verdict_map(picker_map(front), Reg{5});
}

Rule& masquerades(Rule& rule, Front front, std::uint32_t flag) {
  return load_key(rule, front)
      .map(name_of(front), Reg{0}, Reg{4})
      .bitwise(Reg{7}, Reg{7}, word(flag), word(0))
      .compare_u32(Compare::neq, Reg{7}, 0);
}

// The comments are for operators: nft(8) can not print a map that is looked up by another's value.
//
// Clients on this side of the balancer are not what policy Local is for: they go on to every
// endpoint, as they would through the cluster IP. A pool of size 0 has none on this node.
void write_front(nft::Batch& batch, const Options& options, Front front, Front local) {
  Rule outside;
  if (options.cluster_cidr) match_prefix(outside, kSource, *options.cluster_cidr, Compare::neq);
  from_this_node(outside, false);
  pick(load_key(outside, local), local).comment("policy Local");
  batch.add_rule("services", outside);
  Rule all;
  mark_for_masquerade(masquerades(all, front, kMasqueradeAll)).comment("masquerade everyone");
  batch.add_rule("services", all);
  Rule node;
  mark_for_masquerade(from_this_node(masquerades(node, front, kMasqueradeNode), true))
      .comment("masquerade the node itself");
  batch.add_rule("services", node);
  Rule spread;
  pick(load_key(spread, front), front).comment("to the picker for the pool's size");
  batch.add_rule("services", spread);
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
  write_front(batch, options, Front::service_ips, Front::local_ips);
  if (!options.localhost_node_ports) {
    Rule loopback;
    match_prefix(loopback, kDestination, Prefix{IpAddress::v4(0x7f000000), 8}, Compare::eq);
    batch.add_rule("services", loopback.verdict(ret()));
  }
  write_front(batch, options, Front::node_ports, Front::local_node_ports);
  const nft::Element nowhere{netlink::Bytes(8), {}, ret(), ""};
  batch.add_elements(picker_map(Front::local_ips), {&nowhere, 1});
  batch.add_elements(picker_map(Front::local_node_ports), {&nowhere, 1});
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

}  // namespace skiff::proxy
