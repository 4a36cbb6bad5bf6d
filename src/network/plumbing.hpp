// The system calls of the pod network, each a synchronous step for env.blocking.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "addresses.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/network/network.hpp"

namespace skiff::network {

struct Bridge {
  int index = 0;
  std::uint32_t mtu = 0;
  std::vector<Owner> pods;  // attached already
};

// Makes or completes what all pods share. Deletes half-made pairs of ours (no alias).
Result<Bridge> set_up(const Options& options, const Prefix& pod_cidr, const IpAddress& gateway);

struct Plug {
  Owner owner;
  IpAddress gateway;
  std::string host_interface;
  std::string netns_path;
  int bridge = 0;
  std::uint32_t mtu = 1500;
};

// Connects a pod. Leaves nothing behind when it fails.
Result<void> plug(const Plug& plug);
// Whether the namespace holds the address on eth0 and the host's end is there.
bool plugged(const Plug& plug);
Result<void> unplug(const std::string& host_interface);

}  // namespace skiff::network
