// Routes to the pods of other nodes: for each Node with a range of pod addresses, one through that
// node's own address, as long as it is on a link of this machine. (Nodes behind a router are left
// out; reaching these takes a tunnel.)
//
// The routes carry a protocol number of their own (`ip route` shows "proto 83"): what others made
// is never touched, and what a former run left is put right. They stay when skiff stops: pods go on
// talking. One follows when a Node changes and when addresses or routes of the machine do, so one
// that somebody removed, or that went with its link, comes back.
//
// Threading: belongs to the loop; netlink runs in env.blocking. IPv4.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/client/informer.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::network {

inline constexpr std::uint8_t kRouteProtocol = 83;

struct RouteOptions {
  std::string node_name;
  std::string bridge = "skiff0";                // no node is behind it
  std::optional<netlink::Prefix> cluster_cidr;  // ranges outside of it are not believed
};

class Routes {
 public:
  // Takes the nodes informer from the factory: before the factory's start().
  Routes(Env env, client::InformerFactory& informers, RouteOptions options);
  ~Routes();

  // Spawns what follows Nodes and links; it ends when the group is cancelled. *this outlives the
  // group.
  void start(TaskGroup& group);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace skiff::network
