// The table's shape, and what one service port puts into it. Pure.
//
//   prerouting, output (nat) -> services: masquerade marks, then a front's map says which pool, of
//                               which size; the picker for pools of that size takes over
//   pickers, one chain per size -> draw a number, find the endpoint in `endpoints`, dnat
//   postrouting (nat)        -> masquerade what is marked, and pods that reached themselves
//   forward, input, output   -> refuse or drop new connections to services without endpoints
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ledger.hpp"
#include "model.hpp"
#include "skiff/proxy/proxy.hpp"

namespace skiff::proxy {

// Marks packets to be masqueraded, between the dnat and the postrouting hook; the bit upstream
// uses, so that other software that knows it to be taken stays clear of it.
inline constexpr std::uint32_t kMasqueradeMark = 0x4000;

// The ways in, each with a map: by address, by node port; the local ones are for clients from
// outside under externalTrafficPolicy Local.
enum class Front : std::uint8_t { service_ips, node_ports, local_ips, local_node_ports };
std::string_view name_of(Front front);  // the map's name too
bool by_node_port(Front front);

// The endpoints traffic is spread over: number i leads to targets[i].
struct Pool {
  std::uint32_t id = 0;  // key of its elements in `endpoints`
  std::vector<Target> targets;
};

// All that a picker needs to know of a pool.
struct PoolShape {
  std::uint32_t count = 0;
  std::uint32_t affinity_seconds = 0;  // 0: no affinity
};
std::string picker_map(Front front);
std::string picker_name(Front front, const PoolShape& shape);

// The pickers' rules, made once each.
class Pickers {
 public:
  RulesPtr get(Front front, const PoolShape& shape);

 private:
  std::map<std::string, RulesPtr> cache_;
};

// Those of `before` that are still wanted keep their numbers as far as possible, so that few
// elements change: gaps are filled with new ones, then from the end.
std::vector<Target> arrange(const std::vector<Target>& before, const std::vector<Target>& wanted);

// Replaces the table, as it stands empty of services.
void write_skeleton(nft::Batch& batch, const Options& options);

// What a service port wants. Pools hold what choose() said, arranged; one the policies have no use
// for is empty.
Items items_of(const ServicePort& port, const Backends& backends, const Pool& cluster,
               const Pool& local, const std::vector<Target>& on_this_node, Pickers& pickers);

}  // namespace skiff::proxy
