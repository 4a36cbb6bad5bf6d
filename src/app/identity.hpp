// Who the cluster's parts are: keys and certificates under DATA_DIR/pki, made at first start, and
// renewed at later ones and while the server runs.
#pragma once

#include <functional>
#include <string>

#include "options.hpp"
#include "skiff/base/env.hpp"
#include "skiff/pki/certificate.hpp"

namespace skiff::app {

struct Identity {
  std::string ca_pem;
  pki::KeyPair server;         // the API server's
  pki::KeyPair admin;          // O=system:masters: the kubeconfig's user
  pki::KeyPair kubelet;        // the node API's serving certificate
  pki::KeyPair node_api_user;  // the API server, as the kubelet's client
  pki::KeyPair peer;           // this server, to the other servers: O=skiff:servers
  std::string service_account_key_pem;
  std::string cluster_id;  // SHA-256 of the authority's certificate, hex: what a join token names
  WallTime renew_at{};     // when the first of the certificates is to be replaced
};

// Addresses and names the API is reached by; a certificate is made anew when it lacks one, when it
// is due, and when it is no pair with its key (a renewal that was cut short). Blocking.
Result<Identity> load_or_make_identity(const Env& env, const ServerOptions& options,
                                       const std::string& service_ip);

// Makes certificates anew when they are due, long before they expire, and hands over all of them.
// Runs until cancelled.
Task<void> keep_identity_fresh(Env env, ServerOptions options, std::string service_ip,
                               WallTime renew_at, std::function<void(const Identity&)> renewed);

// A kubeconfig for the admin, reaching the API at `server`.
std::string make_kubeconfig(const Identity& identity, const std::string& server);

}  // namespace skiff::app
