// How a server's store is opened: which log, with which settings.
#pragma once

#include <memory>

#include "cluster.hpp"
#include "options.hpp"
#include "skiff/etcd/etcd.hpp"
#include "skiff/store/store.hpp"

namespace skiff::app {

// What --datastore asks for. `cluster` is null for a server alone.
Task<Result<std::unique_ptr<store::Store>>> open_store(Env env, ServerOptions options,
                                                       std::shared_ptr<const store::Sealer> sealer,
                                                       Cluster* cluster);

// Who leads among the servers over one etcd; null over any other datastore.
Result<std::unique_ptr<etcd::Election>> open_election(Env env, const ServerOptions& options);

}  // namespace skiff::app
