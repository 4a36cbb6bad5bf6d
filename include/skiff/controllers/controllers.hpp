// The controllers: each watches some kinds and writes what must follow from them, as
// kube-controller-manager's loops do. Every one is a pure plan() over what the caches show and a
// thin reconcile() that reads, plans and writes; nothing polls.
//
// They know the API through client::Client only, so the same code runs in the server's process and
// against a remote server. No leader election: whoever composes the program starts them once.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/client/reconcile.hpp"

namespace skiff::controllers {

struct Options {
  // Names of controllers that are not to run; see names().
  std::set<std::string, std::less<>> disabled;
  // PEM bundle published as the ConfigMap kube-root-ca.crt of every namespace; empty: none is
  // published.
  std::string ca_pem;
  // The pods' addresses, an IPv4 prefix, divided among the nodes into prefixes of
  // `node_cidr_length` (one for all when that is no longer than the cluster's own). Anything else:
  // nodes are given none.
  std::string cluster_cidr;
  std::uint8_t node_cidr_length = 24;
  // A node whose Lease and status were not renewed for so long is Unknown.
  Duration node_grace = 40s;
  // Finished pods beyond this number are deleted, oldest first. 0: never.
  std::size_t terminated_pods = 12'500;
};

class Controllers {
 public:
  // Takes its informers from `informers`: construct before InformerFactory::start(). `client` and
  // `informers` outlive this, and this outlives the group given to start().
  Controllers(Env env, client::Client& client, client::InformerFactory& informers, Options options);
  ~Controllers();

  // Spawns every enabled controller in `group`; they end when it is cancelled. Call once.
  void start(TaskGroup& group);

  // The controllers this build has, sorted: what Options::disabled may name.
  static std::vector<std::string_view> names();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace skiff::controllers
