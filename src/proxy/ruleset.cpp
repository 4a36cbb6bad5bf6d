#include "ruleset.hpp"

#include <algorithm>
#include <set>

#include "fragments.hpp"

namespace skiff::proxy {

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

namespace {

netlink::Bytes target_bytes(const Target& t) {
  netlink::Bytes b;
  nft::append_part(b, t.address);
  nft::append_port(b, t.port);
  return b;
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

// One service port on its way into Items.
class Writer {
 public:
  Writer(const ServicePort& port, Pickers& pickers) : port_(port), pickers_(pickers) {}

  Slot slot(std::string set, const IpAddress& ip) const {
    Slot slot{std::move(set), {}};
    nft::append_part(slot.key, ip);
    nft::append_protocol(slot.key, static_cast<std::uint8_t>(port_.protocol));
    nft::append_port(slot.key, port_.port);
    return slot;
  }
  Slot node_port_slot(std::string set) const {
    Slot slot{std::move(set), {}};
    nft::append_protocol(slot.key, static_cast<std::uint8_t>(port_.protocol));
    nft::append_port(slot.key, port_.node_port);
    return slot;
  }

  // Where an address or node port leads: to a pool, by way of the picker for its size.
  void lead(Front front, Slot slot, const Pool& pool, std::uint32_t flags) {
    const auto count = static_cast<std::uint32_t>(pool.targets.size());
    const PoolShape shape{count, count == 0 ? 0 : port_.affinity_seconds};
    Held held;
    for (const std::uint32_t v : {pool.id, shape.count, shape.affinity_seconds, flags}) {
      nft::append_mark(held.value, v);
    }
    items_.elements[std::move(slot)] = std::move(held);
    if (count == 0) return;  // to the verdict the skeleton has for those
    Slot picker{picker_map(front), {}};
    nft::append_mark(picker.key, shape.count);
    nft::append_mark(picker.key, shape.affinity_seconds);
    const std::string chain = picker_name(front, shape);
    items_.elements[std::move(picker)] = {{}, go(chain)};
    items_.chains[chain] = pickers_.get(front, shape);
  }

  void add_pool(const Pool& pool) {
    for (std::uint32_t i = 0; i < pool.targets.size(); ++i) {
      const auto bytes = target_bytes(pool.targets[i]);
      Slot slot{"endpoints", word(pool.id)};
      nft::append_mark(slot.key, i);
      items_.elements[std::move(slot)] = {bytes, std::nullopt};
      if (port_.affinity_seconds == 0) continue;
      Slot sticky{"sticky", word(pool.id)};
      sticky.key.insert(sticky.key.end(), bytes.begin(), bytes.end());
      items_.elements[std::move(sticky)] = {};
    }
  }

  void add_to_set(Slot slot) { items_.elements[std::move(slot)] = {}; }

  void add_firewall() {
    const std::string chain = "firewall/" + port_.id();
    items_.chains[chain] = std::make_shared<const std::vector<Rule>>(firewall_rules(port_));
    for (const auto& a : port_.load_balancer_ips) {
      items_.elements[slot("firewalled", a)] = {{}, go(chain)};
    }
  }

  Items take() { return std::move(items_); }

 private:
  const ServicePort& port_;
  Pickers& pickers_;
  Items items_;
};

// Node port and addresses for clients from outside.
void add_external(Writer& w, const ServicePort& port, const Backends& backends, const Pool& cluster,
                  const Pool& local, const std::string& absent) {
  const std::uint32_t flags = port.external_local ? kMasqueradeNode : kMasqueradeAll;
  const bool served = !backends.external(port).empty();
  std::vector<IpAddress> addresses = port.external_ips;
  addresses.insert(addresses.end(), port.load_balancer_ips.begin(), port.load_balancer_ips.end());
  for (const auto& a : addresses) {
    if (!served) w.add_to_set(w.slot(absent, a));
    if (!backends.any) continue;
    w.lead(Front::service_ips, w.slot("service-ips", a), cluster, flags);
    if (port.external_local) w.lead(Front::local_ips, w.slot("local-ips", a), local, 0);
  }
  if (port.node_port != 0) {
    if (!served) w.add_to_set(w.node_port_slot(absent + "-node-ports"));
    if (backends.any) {
      w.lead(Front::node_ports, w.node_port_slot("node-ports"), cluster, flags);
    }
    if (backends.any && port.external_local) {
      w.lead(Front::local_node_ports, w.node_port_slot("local-node-ports"), local, 0);
    }
  }
  if (!port.source_ranges.empty() && !port.load_balancer_ips.empty()) w.add_firewall();
}

}  // namespace

Items items_of(const ServicePort& port, const Backends& backends, const Pool& cluster,
               const Pool& local, const std::vector<Target>& on_this_node, Pickers& pickers) {
  Writer w(port, pickers);
  Slot ip{"cluster-ips", {}};
  nft::append_part(ip.key, port.cluster_ip);
  w.add_to_set(std::move(ip));
  w.add_pool(cluster);
  w.add_pool(local);

  // Without endpoints anywhere clients are refused; with some, but none this policy may use, they
  // wait: another node may have one soon, and a balancer in front should look elsewhere.
  const std::string absent = backends.any ? "dropped" : "refused";
  if (backends.internal(port).empty()) {
    w.add_to_set(w.slot(absent, port.cluster_ip));
  } else {
    w.lead(Front::service_ips, w.slot("service-ips", port.cluster_ip),
           port.internal_local ? local : cluster, 0);
  }
  for (const auto& t : on_this_node) {
    Slot self{"hairpin", {}};
    nft::append_part(self.key, t.address);
    nft::append_part(self.key, t.address);
    w.add_to_set(std::move(self));
  }
  if (port.externally_accessible()) add_external(w, port, backends, cluster, local, absent);
  return w.take();
}

}  // namespace skiff::proxy
