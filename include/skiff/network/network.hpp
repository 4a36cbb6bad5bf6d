// The pod network of one node: a bridge, one veth pair per pod, addresses from the node's pod CIDR.
//
// A pod holds its address as a /32 and reaches everything, its neighbours on the node too, through
// the bridge's address. So every packet crosses the node's IP layer, where connection tracking sees
// both directions: services work without br_netfilter.
//
// The kernel is the record of who has what: the host's end of a pair carries the pod's id and
// address as its alias, lives exactly as long as the pod's namespace, and survives a restart or
// kill -9 of skiff. Nothing is written to disk, and an address can not be given out twice.
//
// Everything happens in the network namespace skiff runs in. Threading: belongs to the loop;
// netlink runs in env.blocking. IPv4; types leave room for IPv6.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::network {

using netlink::IpAddress;
using netlink::Prefix;

struct Options {
  std::string bridge = "skiff0";          // at most 15 bytes
  std::string table = "skiff-network";    // nftables table
  std::optional<Prefix> cluster_cidr;     // not masqueraded within; the pod CIDR when absent
  std::optional<Prefix> service_cidr;     // routed to the bridge, so that the node reaches services
                                          // even without a default route
  std::optional<IpAddress> node_address;  // held by the bridge: of a node that has no other link
  std::uint32_t mtu = 0;                  // 0: that of the default route's link, else 1500
};

struct PodAddress {
  IpAddress address;
  IpAddress gateway;
  std::string host_interface;  // "skf..." in skiff's namespace
};

struct Attachment {
  std::string pod_id;
  PodAddress address;
};

class Network {
 public:
  Network(Env env, Options options);
  ~Network();

  // Makes or completes bridge, sysctls, route and nftables table; takes stock of pods that are
  // attached already. `pod_cidr` is this node's share of the cluster's, e.g. 10.42.0.0/24.
  // Idempotent; with another range, pods keep what they have and new ones get addresses of that.
  // Errors: forbidden without CAP_NET_ADMIN, unavailable when the kernel lacks bridges, veth or
  // nftables, invalid options.
  Task<Result<void>> start(Prefix pod_cidr);
  // Whether start() has succeeded; wait_ready() returns then.
  bool ready() const noexcept;
  Task<Result<void>> wait_ready();

  // What is attached now, found by start().
  std::vector<Attachment> attachments() const;
  // Detaches every pod not in `live`. Returns those that stay.
  Task<Result<std::vector<Attachment>>> recover(std::set<std::string> live);

  // Gives the namespace at `netns_path` an eth0 with an address, a default route, and brings lo up.
  // A pod attached already keeps its address (the namespace must be the same). Before start() has
  // succeeded it waits for that, up to ten seconds. Errors: unavailable when that was not enough,
  // or the pod CIDR has no free address ("no IP addresses available in range set: ...").
  Task<Result<PodAddress>> attach(std::string pod_id, std::string netns_path);
  // Success when it was not attached.
  Task<Result<void>> detach(std::string pod_id);

  IpAddress gateway() const;  // the bridge's address: the first of the pod CIDR

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Whether this machine can do the above; the error says what is missing and what to do.
Result<void> check();

}  // namespace skiff::network
