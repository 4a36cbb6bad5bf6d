// The Kubernetes API over HTTP: an http::Handler in front of the registry. It authenticates,
// authorizes, reads the URL, negotiates the form of the answer, serves discovery and OpenAPI, and
// turns watches into streams. What an object goes through is the registry's business.
//
// Sources: "API Concepts", "Authenticating", "RBAC" of the Kubernetes documentation; KEP-3352
// (aggregated discovery), KEP-2896 (OpenAPI v3), KEP-3157 (watch lists), KEP-555 (/livez, /readyz).
//
//   apiserver::ServiceAccountTokens tokens(env, {.signing_key = key});
//   registry_options.tokens = &tokens;  registry::Registry registry(env, *store, registry_options);
//   co_await registry.start(group);
//   apiserver::ApiServer api(env, registry, &tokens, {...});
//   server_options.format_refusal = apiserver::ApiServer::format_refusal;
//   http::Server server(env, api, server_options);  server.listen();  api.set_ready();
//
// Beside the API of Kubernetes it answers skiff's own paths (docs/operating/backup.md):
//   GET  /skiff/v1/history?group=&version=&resource=&namespace=&name=&limit=&after=&until=
//   GET  /skiff/v1/store        revisions, what is retained, who decides
//   GET  /skiff/v1/state        every object at one revision (?revision=N), a JSON document a line
//   GET  /skiff/v1/snapshot     takes a snapshot and streams its file
//   GET  /skiff/v1/snapshots    those that are kept, and the schedule; POST takes one more
//
// Who may ask, and what:
// - a client certificate (CN = user, O = groups) or a bearer token (static, or of a service
//   account); a request with a bad credential is refused with 401;
// - without any: only /healthz, /livez, /readyz and /version, all else is 401;
// - history asks for the verb get or list on the subresource "history" of what it is about, the
//   other paths of skiff's for get or post on the URL (nonResourceURLs);
// - group system:masters may do everything; everybody else what Roles and ClusterRoles allow.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/http/client.hpp"
#include "skiff/http/server.hpp"
#include "skiff/pki/keys.hpp"
#include "skiff/registry/registry.hpp"
#include "skiff/store/snapshot.hpp"

namespace skiff::apiserver {

using registry::User;

// How the API says no: a Status with the error's code, reason, message and details.
http::Response status_response(const Error& error);

struct TokenOptions {
  pki::PrivateKey signing_key;
  std::vector<pki::PublicKey> older_keys;  // tokens signed by these still count
  std::string issuer = "https://kubernetes.default.svc.cluster.local";
  std::vector<std::string> audiences;  // the API server's own; empty: the issuer
};

// Signed service account tokens (KEP-1205): makes and checks them.
class ServiceAccountTokens final : public registry::TokenIssuer {
 public:
  ServiceAccountTokens(Env env, TokenOptions options);
  ~ServiceAccountTokens() override;

  Result<registry::IssuedToken> issue(const registry::ServiceAccountClaims& claims) override;

  struct Verified {
    User user;
    std::vector<std::string> audiences;  // those asked for that the token carries
    std::string ns;                      // what it speaks for and is bound to
    std::string name;
    std::string uid;
    std::string bound_kind;
    std::string bound_name;
    std::string bound_uid;
  };
  // Signature, issuer, times and audience (empty: the server's own); whether the account still
  // exists is the caller's question. Code::unauthorized.
  Result<Verified> verify(std::string_view token, const std::vector<std::string>& audiences) const;
  // True if the token claims to come from this issuer.
  bool concerns(std::string_view token) const;

  const std::string& issuer() const noexcept;
  // JSON Web Key Set of every key that counts (OpenID Connect discovery).
  std::string key_set_json() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct StaticToken {
  std::string token;
  User user;
};

// A named condition of /livez and /readyz; an error names what is wrong.
struct HealthCheck {
  std::string name;
  std::function<Result<void>()> check;
  bool live = false;  // also part of /livez
};

// The snapshots that the application takes of its store, for /skiff/v1/snapshot and .../snapshots.
class Backups {
 public:
  virtual ~Backups() = default;
  // Takes one now. For whoever asks for the file itself (`aside`): to a place of its own, and the
  // caller removes it; else among those that are kept.
  virtual Task<Result<store::SnapshotInfo>> take(bool aside) = 0;
  // What is kept and what is scheduled, as the endpoint answers it.
  virtual Task<Result<api::Value>> report() = 0;
};

struct Options {
  std::string git_version = "v1.35.0+skiff";  // kubectl reads major and minor from it
  std::string git_commit;
  std::string build_date;
  std::vector<StaticToken> static_tokens;
  // Speaks to the nodes' kubelets (logs); null: pods/log answers 503. Outlives this.
  http::Client* nodes = nullptr;
  std::vector<HealthCheck> checks;
  Backups* backups = nullptr;  // null: there are no snapshots to be had; outlives this
  // How long a request may take; watches: between half an hour and an hour unless they say.
  Duration request_timeout = std::chrono::seconds(60);
  Duration watch_timeout = std::chrono::minutes(30);
  Duration bookmark_interval = std::chrono::minutes(1);
  std::size_t max_in_flight = 2000;  // requests other than watches; beyond: 429
};

class ApiServer final : public http::Handler {
 public:
  // `registry` and `tokens` (may be null: no service account tokens) outlive this.
  ApiServer(Env env, registry::Registry& registry, ServiceAccountTokens* tokens, Options options);
  ~ApiServer() override;

  Task<void> handle(http::Request request, http::Exchange& exchange) override;

  // /readyz says ok from now on, or (false) no longer: call before stopping.
  void set_ready(bool ready = true) noexcept;

  // The server's own refusals as a Kubernetes Status.
  static http::Response format_refusal(const http::Refusal& refusal);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace skiff::apiserver
