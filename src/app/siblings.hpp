// The servers over one external etcd: how a new one comes by the cluster's keys, who they are, and
// what the one that leads does for all of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "identity.hpp"
#include "options.hpp"
#include "skiff/api/value.hpp"
#include "skiff/base/env.hpp"
#include "skiff/etcd/etcd.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::app {

class Siblings {
 public:
  Siblings(Env env, ServerOptions options);

  // Before the identity is made. A data directory without keys gets those of the cluster from the
  // server at --server; without that flag, it may make its own only where etcd holds no cluster.
  Task<Result<void>> prepare();
  // Before the store is opened: reads the files that the flags name. Blocking.
  Result<void> connect(const Identity& identity);
  etcd::EtcdOptions settings() const { return settings_; }
  etcd::Election& election() { return *election_; }

  // Keeps default/kubernetes leading to the servers that live, while this one leads. `registry`
  // outlives what stop() ends.
  void start(registry::Registry& registry);
  Task<void> stop();

  // conflict when a server of that name lives.
  Task<Result<void>> admit(std::string name);
  // "quorum" and "servers" as Cluster::status() tells them; asks etcd.
  Task<api::Value> status();

 private:
  Task<void> keep_endpoints();
  Task<bool> refresh_endpoints(std::vector<std::string>* written);
  api::Value describe(const etcd::Candidate& candidate) const;

  Env env_;
  ServerOptions options_;
  etcd::EtcdOptions settings_;
  std::unique_ptr<etcd::Election> election_;
  registry::Registry* registry_ = nullptr;
  TaskGroup tasks_;
};

}  // namespace skiff::app
