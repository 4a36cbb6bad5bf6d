// How a server's store is opened: which log, with which settings.
#pragma once

#include <memory>

#include "cluster.hpp"
#include "options.hpp"
#include "skiff/etcd/etcd.hpp"
#include "skiff/store/store.hpp"

namespace skiff::app {

// The settings of an external etcd: reads the files they name. `cluster`: Identity::cluster_id, or
// "" where that is not known yet. Blocking. Fails with one line for the user.
Result<etcd::EtcdOptions> etcd_options(const ServerOptions& options, std::string cluster);

// What --datastore asks for. `cluster` is null for a server alone and over an etcd, `etcd` is for
// the latter only.
Task<Result<std::unique_ptr<store::Store>>> open_store(Env env, ServerOptions options,
                                                       std::shared_ptr<const store::Sealer> sealer,
                                                       Cluster* cluster, etcd::EtcdOptions etcd);

}  // namespace skiff::app
