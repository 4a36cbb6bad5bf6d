// How a server comes into a cluster: the token, and what both sides say.
//
// A token is "skiff10::HASH::ID.SECRET". HASH is the SHA-256 of the authority's certificate, so the
// newcomer knows whom it speaks to before it says anything secret: it fetches the certificate
// without trust, compares, and only then trusts it. ID.SECRET is a bootstrap token as kubeadm's
// are: a Secret in kube-system that expires, seen and removed with kubectl.
//
//   GET  /skiff/v1/ca    -> {"ca": PEM, "time": ...}               to anybody
//   POST /skiff/v1/join  {"token","name","id","address","time",...} -> keys and settings
#pragma once

#include <string>

#include "options.hpp"
#include "skiff/api/value.hpp"
#include "skiff/base/env.hpp"

namespace skiff::app {

struct JoinToken {
  std::string cluster_id;  // 64 hexadecimal digits
  std::string id;          // 6 of a-z and 0-9
  std::string secret;      // 16 of a-z and 0-9

  // bad_request: what a token looks like. The secret is in no message.
  static Result<JoinToken> parse(std::string_view text);
  std::string to_string() const;
};
JoinToken make_join_token(Random& random, std::string cluster_id);

// The Secret that makes `token` good until `expires`: a v1 Secret document for kube-system.
api::Value token_secret(const JoinToken& token, WallTime expires, std::string_view description);
// Whether `document`, the Secret found under the token's id, makes it good now. unauthorized.
Result<void> check_token(const api::Value& document, std::string_view secret, WallTime now);

// A difference of clocks that certificates and leases do not bear.
inline constexpr Duration kMaxClockSkew = 5min;
// Says how far off `mine` is, when that is too far from `theirs`: "this machine's clock is ...".
Result<void> check_clocks(WallTime mine, WallTime theirs);

// What all servers of a cluster must agree on.
api::Value cluster_settings(const ServerOptions& options);
// conflict, naming the flag: `mine` differs from `cluster`.
Result<void> check_settings(const api::Value& mine, const api::Value& cluster);

// Asks the server at options.server to let this one in, and writes the keys it hands over to
// DATA_DIR/pki. `id` and `address` are this server's in the replicated log. Fails with one line for
// the user; nothing was written then.
Task<Result<void>> join_cluster(Env env, ServerOptions options, std::string id);

}  // namespace skiff::app
