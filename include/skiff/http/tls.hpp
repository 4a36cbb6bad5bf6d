// TLS settings of servers and clients. Keys and certificates are PEM text, so that whoever makes
// them (pki) and whoever uses them (http) need not know each other. TLS 1.3 and 1.2 only.
#pragma once

#include <string>

namespace skiff::http {

// Who one is: the certificate with the chain that leads to (and need not include) its root, and its
// private key. Both empty: nobody.
struct TlsIdentity {
  std::string certificate_pem;
  std::string key_pem;
  bool empty() const noexcept { return certificate_pem.empty(); }
};

struct TlsServerOptions {
  TlsIdentity identity;
  // Clients are asked for a certificate, and one that these CAs issued shows up as
  // ConnectionInfo::client_certificate. A client without one, or with another, is let through
  // anonymous, as kube-apiserver does: what it may do is the handler's decision. Empty: not asked.
  std::string client_ca_pem;
};

struct TlsClientOptions {
  std::string ca_pem;       // the only CAs trusted; empty: the system's
  TlsIdentity identity;     // client certificate, may be empty
  std::string server_name;  // expected name or IP address; empty: the URL's host
  // No verification at all: HTTPS probes, `--insecure-skip-tls-verify`.
  bool insecure_skip_verify = false;
};

}  // namespace skiff::http
