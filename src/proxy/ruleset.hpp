// The table's shape, and what one service port puts into it. Pure.
//
//   prerouting, output (nat)  -> services: service-ips, then node-ports for local destinations
//   service-ips, node-ports   -> cluster/ID, local/ID or external/ID
//   external/ID               -> marks for masquerading where the policy wants it, then cluster/ or
//   local/ cluster/ID, local/ID      -> draw, look up in `endpoints`, dnat postrouting (nat) ->
//   masquerade what is marked, and pods that reached themselves forward, input, output    -> refuse
//   or drop new connections to services without endpoints
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ledger.hpp"
#include "model.hpp"
#include "skiff/proxy/proxy.hpp"

namespace skiff::proxy {

// Marks packets to be masqueraded, between the dnat and the postrouting hook; the bit upstream
// uses, so that other software that knows it to be taken stays clear of it.
inline constexpr std::uint32_t kMasqueradeMark = 0x4000;

// The endpoints traffic is spread over: draw number i leads to targets[i].
struct Pool {
  std::uint32_t id = 0;  // key of its elements in `endpoints`
  std::vector<Target> targets;
};

// Those of `before` that are still wanted keep their numbers as far as possible, so that few
// elements change: gaps are filled with new ones, then from the end.
std::vector<Target> arrange(const std::vector<Target>& before, const std::vector<Target>& wanted);

// Replaces the table, as it stands empty of services.
void write_skeleton(nft::Batch& batch, const Options& options);

// What a service port wants. Pools hold what choose() said, arranged.
Items items_of(const ServicePort& port, const Backends& backends, const Pool& cluster,
               const Pool& local, const std::vector<Target>& on_this_node, const Options& options);

}  // namespace skiff::proxy
