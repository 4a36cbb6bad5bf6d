#include "server_store.hpp"

#include <algorithm>

#include "skiff/pki/certificate.hpp"

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

// The text of a file named by a flag; "" where there is none.
Result<std::string> text_of(const std::string& path, const char* flag) {
  if (path.empty()) return std::string();
  auto text = pki::read_file(path);
  if (!text) return annotate(text.error(), std::string(flag));
  if (text->find_first_not_of(" \t\r\n") != std::string::npos) return text;
  return Error{Code::bad_request, std::string(flag) + " " + path + " is empty"};
}

Result<std::unique_ptr<store::Log>> make_log(Env env, const ServerOptions& options,
                                             std::shared_ptr<const store::Sealer> sealer,
                                             Cluster* cluster, etcd::EtcdOptions etcd) {
  if (options.datastore == "memory") return store::make_memory_log();
  if (options.external_datastore()) {
    etcd.sealer = std::move(sealer);
    return etcd::open_etcd_log(env, std::move(etcd));
  }
  store::SqliteOptions sqlite = sqlite_options(options, sealer);
  // What is acknowledged is in the replicated log first; the database follows.
  if (cluster) sqlite.durability = store::Durability::relaxed;
  SKIFF_TRY(auto log, store::open_sqlite_log(env, std::move(sqlite)));
  if (!cluster) return log;
  return cluster->make_log(std::move(log), std::move(sealer));
}

}  // namespace

Result<etcd::EtcdOptions> etcd_options(const ServerOptions& options, std::string cluster) {
  etcd::EtcdOptions o;
  for (std::size_t at = 0; at <= options.datastore.size();) {
    const std::size_t end = std::min(options.datastore.find(',', at), options.datastore.size());
    o.endpoints.push_back(options.datastore.substr(at, end - at));
    at = end + 1;
  }
  o.prefix = options.datastore_prefix;
  o.cluster = std::move(cluster);
  SKIFF_TRY(o.tls.ca_pem, text_of(options.datastore_ca, "--datastore-cafile"));
  SKIFF_TRY(o.tls.identity.certificate_pem,
            text_of(options.datastore_cert, "--datastore-certfile"));
  SKIFF_TRY(o.tls.identity.key_pem, text_of(options.datastore_key, "--datastore-keyfile"));
  o.user = options.datastore_user;
  SKIFF_TRY(o.password, text_of(options.datastore_password, "--datastore-password-file"));
  // An editor ends the file with a line end.
  while (!o.password.empty() && (o.password.back() == '\n' || o.password.back() == '\r')) {
    o.password.pop_back();
  }
  o.history = options.history_age;
  return o;
}

Task<Result<std::unique_ptr<store::Store>>> open_store(Env env, ServerOptions options,
                                                       std::shared_ptr<const store::Sealer> sealer,
                                                       Cluster* cluster, etcd::EtcdOptions etcd) {
  SKIFF_CO_TRY(auto log, make_log(env, options, std::move(sealer), cluster, std::move(etcd)));
  store::StoreOptions store_options;
  co_return co_await store::Store::open(env, std::move(log), store_options);
}

}  // namespace skiff::app
