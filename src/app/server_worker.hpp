// The part of a server that is a node: images, sandboxes, pod network, kubelet, service proxy.
#pragma once

#include <memory>
#include <string>

#include "identity.hpp"
#include "options.hpp"
#include "pod_range.hpp"
#include "skiff/kubelet/kubelet.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/network/routes.hpp"
#include "skiff/proxy/proxy.hpp"

namespace skiff::app {

struct WorkerRanges {
  netlink::Prefix cluster;
  netlink::Prefix service;
  // Held by the pods' bridge: the node's address where it has no other link.
  std::optional<netlink::IpAddress> node_address;
};

class Worker {
 public:
  // `client` writes as this node. All references outlive this.
  Worker(Env env, const ServerOptions& options, WorkerRanges ranges, client::Client& client);
  ~Worker();

  // Makes what is not disabled and what this machine can do; says in the log what it cannot.
  Task<Result<void>> make(const Identity& identity);
  Task<Result<void>> start(TaskGroup& group);
  // Before the group is cancelled: no pod is looked after any more; all keep running.
  Task<void> stop_kubelet();
  // After the group was joined.
  Task<void> stop();
  void set_identity(const Identity& identity);

 private:
  void make_proxy();
  Task<Result<void>> make_network();
  Task<Result<void>> open_network(netlink::Prefix range);
  Task<Result<void>> make_kubelet(const Identity& identity);
  Task<Result<void>> open_images();
  std::string runtime_state_dir() const;

  Env env_;
  const ServerOptions& options_;
  WorkerRanges ranges_;
  client::Client& client_;
  client::InformerFactory informers_;
  bool images_open_ = false;
  std::unique_ptr<proxy::Proxy> proxy_;
  std::unique_ptr<runtime::ImageStore> images_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<network::Network> network_;
  std::unique_ptr<network::Routes> routes_;
  std::unique_ptr<PodRange> pod_range_;
  std::unique_ptr<kubelet::Kubelet> kubelet_;
};

}  // namespace skiff::app
