#include "table.hpp"

#include <algorithm>

namespace skiff::proxy {

std::set<Target> Table::targets(const Port& port) {
  std::set<Target> all(port.cluster.targets.begin(), port.cluster.targets.end());
  all.insert(port.local.targets.begin(), port.local.targets.end());
  return all;
}

void Table::note_udp(const Port& port, const std::set<Target>& before) {
  if (port.spec.protocol != Protocol::udp) return;
  UdpFronts fronts;
  fronts.live = targets(port);
  // Additions matter only after there was none: then clients were led nowhere.
  const bool lost =
      !std::includes(fronts.live.begin(), fronts.live.end(), before.begin(), before.end());
  if (!lost && !(before.empty() && !fronts.live.empty())) return;
  fronts.fronts.insert({port.spec.cluster_ip, port.spec.port});
  for (const auto& a : port.spec.external_ips) fronts.fronts.insert({a, port.spec.port});
  for (const auto& a : port.spec.load_balancer_ips) fronts.fronts.insert({a, port.spec.port});
  fronts.node_port = port.spec.node_port;
  udp_.push_back(std::move(fronts));
}

void Table::remove_port(const std::string& id) {
  const auto it = ports_.find(id);
  if (it == ports_.end()) return;
  const auto before = targets(it->second);
  endpoints_ -= it->second.cluster.targets.size() + it->second.local.targets.size();
  it->second.cluster.targets.clear();
  it->second.local.targets.clear();
  note_udp(it->second, before);
  ports_.erase(it);
  ledger_.set(id, {});
}

void Table::update_port(Port& port, const std::vector<const api::Value*>& slices) {
  const Place place{options_.node_name, options_.zone};
  const auto endpoints = endpoints_of(port.spec, slices, place);
  const Backends backends = choose(endpoints, place);
  const auto before = targets(port);
  endpoints_ -= port.cluster.targets.size() + port.local.targets.size();
  const std::vector<Target> none;
  port.cluster.targets =
      arrange(port.cluster.targets, port.spec.uses_cluster() ? backends.cluster : none);
  port.local.targets = arrange(port.local.targets, port.spec.uses_local() ? backends.local : none);
  endpoints_ += port.cluster.targets.size() + port.local.targets.size();
  note_udp(port, before);
  std::vector<Target> on_this_node;
  for (const auto& e : endpoints) {
    if (e.local) on_this_node.push_back(e.target);
  }
  ledger_.set(port.spec.id(),
              items_of(port.spec, backends, port.cluster, port.local, on_this_node, pickers_));
}

void Table::update(const api::NamespacedName& key, const api::Value* service,
                   const std::vector<const api::Value*>& slices) {
  std::vector<ServicePort> wanted;
  if (service != nullptr) wanted = proxy::service_ports(*service);
  std::vector<std::string> ids;
  for (const auto& p : wanted) ids.push_back(p.id());
  const auto known = services_.find(key);
  if (known != services_.end()) {
    for (const auto& id : known->second) {
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) remove_port(id);
    }
  }
  for (auto& spec : wanted) {
    auto [it, fresh] = ports_.try_emplace(spec.id());
    if (fresh) {
      it->second.cluster.id = next_pool_++;
      it->second.local.id = next_pool_++;
    }
    it->second.spec = std::move(spec);
    update_port(it->second, slices);
  }
  if (ids.empty()) {
    services_.erase(key);
  } else {
    services_.insert_or_assign(key, std::move(ids));
  }
}

}  // namespace skiff::proxy
