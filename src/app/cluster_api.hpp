// skiff's own paths beside the Kubernetes API, below /skiff/v1/:
//
//   GET    ca                  the authority's certificate and the time: to anybody
//   POST   join                lets a server in: to who shows a good token (join.hpp)
//   GET    status              servers, roles, lag, health; ?local=true: as this server sees them
//   DELETE servers/NAME        takes a server out
//   GET    encryption          keys by id, and how far a change of keys has come
//   POST   encryption/keys     {"key": TEXT, "seal": BOOL}
//   POST   encryption/reload   reads the keys' file or command again
//
// All but the first two ask for a client certificate of the cluster whose organization is
// system:masters (the kubeconfig's) or skiff:servers (another server's).
#pragma once

#include "cluster.hpp"
#include "encryption.hpp"
#include "siblings.hpp"
#include "skiff/http/client.hpp"

namespace skiff::app {

class ClusterApi final : public http::Handler {
 public:
  // What it answers; the API server has other paths below /skiff/v1/.
  static constexpr std::string_view kPaths[] = {"/skiff/v1/ca", "/skiff/v1/join",
                                                "/skiff/v1/status", "/skiff/v1/servers/",
                                                "/skiff/v1/encryption"};

  // `cluster` is null for a server alone, `siblings` where there is no etcd. All outlive this.
  ClusterApi(Env env, const ServerOptions& options, const Identity& identity,
             registry::Registry& registry, Encryption& encryption, Cluster* cluster,
             Siblings* siblings);

  Task<void> handle(http::Request request, http::Exchange& exchange) override;

 private:
  using Answer = Result<api::Value>;
  Task<Answer> answer(const http::Request* request);
  bool allowed(const http::Request& request) const;
  Task<Answer> join(const http::Request* request);
  Task<Answer> status(bool local);
  Task<Answer> encryption(const http::Request* request, std::string what);
  api::Value alone() const;

  Env env_;
  const ServerOptions& options_;
  const Identity& identity_;
  registry::Registry& registry_;
  Encryption& encryption_;
  Cluster* cluster_;
  Siblings* siblings_;
};

}  // namespace skiff::app
