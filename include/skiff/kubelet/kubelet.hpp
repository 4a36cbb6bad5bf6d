// The node agent: runs the pods that are bound to this node, reports on them and on the node
// itself.
//
// One coroutine per pod with a latest-wins slot for its spec: it looks at what the runtime says,
// plans (a pure function), acts, and sleeps until something changes. Nothing polls. Statuses of all
// pods that changed in a turn go out as one batch. Containers outlive the kubelet: a new one adopts
// what it finds.
//
// Semantics follow the pod life cycle and node documentation of Kubernetes v1.35; KEP-753
// (sidecars), KEP-1205 (bound tokens).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "skiff/client/informer.hpp"
#include "skiff/http/tls.hpp"
#include "skiff/network/network.hpp"
#include "skiff/runtime/images.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::kubelet {

struct Options {
  std::string node_name;
  std::string node_ip;
  std::string root_dir;     // DATA_DIR/kubelet: volumes and termination messages
  std::string memory_dir;   // on a tmpfs: volumes that may hold secrets; "": in root_dir
  std::string log_dir;      // containers' logs: NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log
  std::string cluster_dns;  // address of the DNS service; "" to hand the host's settings to pods
  std::string cluster_domain = "cluster.local";
  std::string version;  // NodeInfo.kubeletVersion
  std::string default_registry;
  std::map<std::string, std::string> node_labels;
  std::int64_t max_pods = 110;
  // The node's own HTTPS API. Clients show a certificate of `tls.client_ca_pem` whose organization
  // is system:masters or whose name is in `api_clients`.
  std::string bind_address = "0.0.0.0";
  std::uint16_t port = 10250;
  http::TlsServerOptions tls;
  std::vector<std::string> api_clients = {"kube-apiserver-kubelet-client"};
};

class Kubelet {
 public:
  // `network` may be null: pods then run in the host's network only, others wait. One that is not
  // ready yet is waited for; the Node says so when that takes long. `informers` gives
  // Services and Nodes: construct before its start(). All references outlive this.
  Kubelet(Env env, client::Client& client, client::InformerFactory& informers,
          runtime::Runtime& runtime, runtime::ImageStore& images, network::Network* network,
          Options options);
  ~Kubelet();

  // Opens the port, registers the node, adopts what runs, and spawns everything else in `group`.
  // Fails with a message for the user (busy port).
  Task<Result<void>> start(TaskGroup& group);
  // Closes the port and ends all workers; pods keep running. Call before the group is cancelled.
  Task<void> stop();

  // The node API's certificate was renewed: new connections see this one.
  Result<void> set_tls(http::TlsServerOptions tls);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skiff::kubelet
