// The service proxy: Services and EndpointSlices become nftables maps.
//
// One table ("skiff-proxy"). A map per kind of front (address, node port) leads from protocol and
// port to a pool of endpoints and its size. One chain per size, shared by all services, draws a
// number below it and finds address and port in the endpoints map. So services come, go and change
// by elements alone, and a change costs the same whatever the number of services, on the wire and
// in the kernel. All changes of one loop turn are one transaction.
//
// Semantics per Kubernetes v1.35 services: ClusterIP, NodePort, external IPs, load-balancer
// addresses with source ranges, session affinity ClientIP, internal and external traffic policy
// Local, topology hints (KEP-2433, KEP-3015), terminating endpoints (KEP-1669), TCP, UDP and SCTP.
// Connections to a service without endpoints are refused; with none on this node under policy
// Local, dropped. Flow of the nftables mode: KEP-3866.
//
// At start the table is rebuilt whole in one transaction that replaces what a former run left:
// traffic sees either the old or the new rules. The table stays when skiff stops. A refused
// transaction is followed by a rebuild, with back-off.
//
// Threading: belongs to the loop; netlink runs in env.blocking.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/client/informer.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::proxy {

struct Options {
  std::string node_name;
  std::string zone;  // topology.kubernetes.io/zone of this node; "" when unknown
  std::optional<netlink::Prefix>
      cluster_cidr;  // traffic to cluster IPs from elsewhere is masqueraded
  std::string table = "skiff-proxy";
  // Node ports answer on 127.0.0.1 too. Sets net.ipv4.conf.all.route_localnet and drops packets for
  // 127.0.0.0/8 that come in from any other link, so nothing else gains a way in.
  bool localhost_node_ports = true;
};

struct Statistics {
  std::uint64_t transactions = 0;
  std::uint64_t rebuilds = 0;
  std::uint64_t failures = 0;
  std::size_t last_bytes = 0;       // of the last transaction's datagram
  std::size_t last_operations = 0;  // nf_tables messages in it
  std::size_t service_ports = 0;
  std::size_t endpoints = 0;
};

class Proxy {
 public:
  // Takes the services and endpointslices informers from the factory: before the factory's start().
  Proxy(Env env, client::InformerFactory& informers, Options options);
  ~Proxy();

  // Spawns the sync task; it ends when the group is cancelled. *this outlives the group.
  void start(TaskGroup& group);
  // Returns once every change seen so far is in the kernel (or was refused).
  Task<void> wait_idle();

  const Statistics& statistics() const noexcept;
  // The last transaction's refusal; empty while all is well.
  const std::string& trouble() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether this kernel can carry services; the error says what is missing and what to do.
Result<void> check();

}  // namespace skiff::proxy
