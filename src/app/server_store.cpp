#include "server_store.hpp"

namespace skiff::app {
namespace {

store::SqliteOptions sqlite_options(const ServerOptions& options,
                                    std::shared_ptr<const store::Sealer> sealer) {
  store::SqliteOptions sqlite;
  sqlite.path = options.data_dir + "/state.db";
  if (options.durability == "relaxed") sqlite.durability = store::Durability::relaxed;
  sqlite.history = options.history_age;
  sqlite.history_bytes = options.history_size;
  sqlite.sealer = std::move(sealer);
  return sqlite;
}

etcd::EtcdOptions etcd_options(const ServerOptions& options) {
  etcd::EtcdOptions o;
  for (std::size_t at = 0; at <= options.datastore.size();) {
    const std::size_t end = std::min(options.datastore.find(',', at), options.datastore.size());
    o.endpoints.push_back(options.datastore.substr(at, end - at));
    at = end + 1;
  }
  o.history = options.history_age;
  return o;
}

Result<std::unique_ptr<store::Log>> make_log(Env env, const ServerOptions& options,
                                             std::shared_ptr<const store::Sealer> sealer,
                                             Cluster* cluster) {
  if (options.datastore == "memory") return store::make_memory_log();
  if (options.external_datastore()) {
    etcd::EtcdOptions o = etcd_options(options);
    o.sealer = std::move(sealer);
    return etcd::open_etcd_log(env, std::move(o));
  }
  store::SqliteOptions sqlite = sqlite_options(options, sealer);
  // What is acknowledged is in the replicated log first; the database follows.
  if (cluster) sqlite.durability = store::Durability::relaxed;
  SKIFF_TRY(auto log, store::open_sqlite_log(env, std::move(sqlite)));
  if (!cluster) return log;
  return cluster->make_log(std::move(log), std::move(sealer));
}

}  // namespace

Task<Result<std::unique_ptr<store::Store>>> open_store(Env env, ServerOptions options,
                                                       std::shared_ptr<const store::Sealer> sealer,
                                                       Cluster* cluster) {
  SKIFF_CO_TRY(auto log, make_log(env, options, std::move(sealer), cluster));
  store::StoreOptions store_options;
  co_return co_await store::Store::open(env, std::move(log), store_options);
}

Result<std::unique_ptr<etcd::Election>> open_election(Env env, const ServerOptions& options) {
  if (!options.external_datastore()) return std::unique_ptr<etcd::Election>();
  return etcd::open_election(env, etcd_options(options), options.node_name);
}

}  // namespace skiff::app
