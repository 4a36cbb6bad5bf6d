// Who the cluster's parts are: keys and certificates under DATA_DIR/pki, made at first start and
// renewed at later ones.
#pragma once

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
  std::string service_account_key_pem;
};

// Addresses and names the API is reached by; the certificate is made anew when one is missing.
// Blocking.
Result<Identity> load_or_make_identity(const Env& env, const ServerOptions& options,
                                       const std::string& service_ip);

// A kubeconfig for the admin, reaching the API at `server`.
std::string make_kubeconfig(const Identity& identity, const std::string& server);

}  // namespace skiff::app
