#include "tls_context.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "handover.hpp"
#include "pem.hpp"

namespace skiff::http {
namespace {

constexpr unsigned char kAlpn[] = "\x08http/1.1";
constexpr std::size_t kAlpnSize = sizeof kAlpn - 1;
constexpr long kResumeFor = 3600;  // seconds a session ticket is good for

// Where distributions keep the CAs they trust; the first that exists is used.
constexpr const char* kSystemRoots[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
};

Error tls_error(Code code, std::string_view what) {
  return {code, std::string(what) + ": " + tls_error_text()};
}

// Whether this session's client certificate failed a check; see remember_failure.
int failure_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// The server lets clients with a certificate it does not know in, as anonymous; the failure must
// not be lost on the way.
int remember_failure(int ok, X509_STORE_CTX* store) {
  if (ok == 0) {
    auto* ssl =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    const auto error = static_cast<std::uintptr_t>(X509_STORE_CTX_get_error(store));
    if (SSL_get_ex_data(ssl, failure_index()) == nullptr) {
      SSL_set_ex_data(ssl, failure_index(), reinterpret_cast<void*>(error));  // NOLINT
    }
  }
  return 1;
}

int select_alpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                const unsigned char* in, unsigned in_size, void* /*arg*/) {
  auto* chosen = const_cast<unsigned char*>(*out);
  if (SSL_select_next_proto(&chosen, out_size, kAlpn, kAlpnSize, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

void set_common(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384");
  SSL_CTX_set_options(
      context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Idle connections give their buffers back; a record's header and body are read together.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
}

Result<void> use_identity(SSL_CTX* context, const TlsIdentity& identity, WallTime& known_past) {
  SKIFF_TRY(const std::vector<X509Ptr> chain, read_certificates(identity.certificate_pem));
  SKIFF_TRY(const PkeyPtr key, read_private_key(identity.key_pem));
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1) {
    return tls_error(Code::invalid, "the TLS certificate cannot be used");
  }
  for (std::size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context, chain[i].get());
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return tls_error(Code::invalid, "the TLS private key does not belong to its certificate");
  }
  known_past = time_of(X509_get0_notBefore(chain.front().get()));
  return {};
}

Result<void> trust(SSL_CTX* context, std::string_view ca_pem) {
  SKIFF_TRY(const std::vector<X509Ptr> roots, read_certificates(ca_pem));
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const X509Ptr& root : roots) X509_STORE_add_cert(store, root.get());
  // A CA named by the user is trusted as it is, even where it is itself signed by another.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  ERR_clear_error();
  return {};
}

Result<void> trust_system(SSL_CTX* context) {
  if (const char* file = ::getenv("SSL_CERT_FILE"); file != nullptr) {
    if (SSL_CTX_load_verify_file(context, file) == 1) return {};
    return tls_error(Code::invalid, "SSL_CERT_FILE names a file that holds no certificates");
  }
  for (const char* file : kSystemRoots) {
    if (::access(file, R_OK) == 0 && SSL_CTX_load_verify_file(context, file) == 1) return {};
  }
  SSL_CTX_set_default_verify_paths(context);
  ERR_clear_error();
  return {};
}

bool is_address(const std::string& host) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

std::vector<std::string> name_entries(X509_NAME* name, int nid) {
  std::vector<std::string> values;
  for (int i = -1; (i = X509_NAME_get_index_by_NID(name, nid, i)) >= 0;) {
    unsigned char* utf8 = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
    if (size < 0) continue;
    values.emplace_back(reinterpret_cast<char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
  }
  return values;
}

ClientCertificate client_certificate(X509* x) {
  ClientCertificate c;
  X509_NAME* subject = X509_get_subject_name(x);
  auto names = name_entries(subject, NID_commonName);
  if (!names.empty()) c.common_name = std::move(names.front());
  c.organizations = name_entries(subject, NID_organizationName);
  unsigned char* der = nullptr;
  if (const int size = i2d_X509(x, &der); size > 0) {
    c.der.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  }
  OPENSSL_free(der);
  c.not_after = time_of(X509_get0_notAfter(x));
  return c;
}

void set_check_time(SSL* ssl, WallTime when) {
  X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), to_time_t(when));
}

}  // namespace

void SslFree::operator()(ssl_st* ssl) const noexcept { SSL_free(ssl); }

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

std::string tls_error_text() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown TLS error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "TLS error " + std::to_string(code);
}

Result<std::shared_ptr<const TlsContext>> TlsContext::for_server(const TlsServerOptions& options) {
  init_openssl();
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  SKIFF_ASSERT(context != nullptr, "OpenSSL cannot make a TLS context");
  std::shared_ptr<TlsContext> self(new TlsContext(context));
  set_common(context);
  SKIFF_CHECK(use_identity(context, options.identity, self->known_past_));
  // Resumption by tickets alone: the server keeps no state per client.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_timeout(context, kResumeFor);
  static constexpr unsigned char kSessionContext[] = "skiff";
  SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext - 1);
  SSL_CTX_set_alpn_select_cb(context, select_alpn, nullptr);
  Handover::prepare(context);
  if (!options.client_ca_pem.empty()) {
    SKIFF_CHECK(trust(context, options.client_ca_pem));
    SKIFF_TRY(const std::vector<X509Ptr> roots, read_certificates(options.client_ca_pem));
    for (const X509Ptr& root : roots) SSL_CTX_add_client_CA(context, root.get());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, remember_failure);
  }
  return std::shared_ptr<const TlsContext>(std::move(self));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::for_client(const TlsClientOptions& options) {
  init_openssl();
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SKIFF_ASSERT(context != nullptr, "OpenSSL cannot make a TLS context");
  std::shared_ptr<TlsContext> self(new TlsContext(context));
  set_common(context);
  if (!options.identity.empty()) {
    SKIFF_CHECK(use_identity(context, options.identity, self->known_past_));
  }
  self->expected_name_ = options.server_name;
  self->verify_ = !options.insecure_skip_verify;
  if (self->verify_) {
    SKIFF_CHECK(options.ca_pem.empty() ? trust_system(context) : trust(context, options.ca_pem));
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  SSL_CTX_set_alpn_protos(context, kAlpn, kAlpnSize);
  return std::shared_ptr<const TlsContext>(std::move(self));
}

SslPtr TlsContext::server_session(WallTime now) const {
  SslPtr ssl(SSL_new(context_));
  SKIFF_ASSERT(ssl != nullptr, "OpenSSL cannot make a TLS session");
  SSL_set_accept_state(ssl.get());
  set_check_time(ssl.get(), check_time(now));
  return ssl;
}

Result<SslPtr> TlsContext::client_session(WallTime now, const std::string& host) const {
  SslPtr ssl(SSL_new(context_));
  SKIFF_ASSERT(ssl != nullptr, "OpenSSL cannot make a TLS session");
  SSL_set_connect_state(ssl.get());
  const std::string& name = expected_name_.empty() ? host : expected_name_;
  const bool address = is_address(name);
  if (!address) SSL_set_tlsext_host_name(ssl.get(), name.c_str());
  if (verify_) {
    X509_VERIFY_PARAM* param = SSL_get0_param(ssl.get());
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int ok = address ? X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str())
                           : X509_VERIFY_PARAM_set1_host(param, name.c_str(), name.size());
    if (ok != 1) return Error{Code::bad_request, "\"" + name + "\" is no TLS server name"};
    set_check_time(ssl.get(), check_time(now));
  }
  return ssl;
}

void TlsContext::describe(const ssl_st& ssl, WallTime now, ConnectionInfo& info) const {
  info.tls_version = SSL_get_version(&ssl);
  info.tls_cipher = SSL_get_cipher_name(&ssl);
  X509* peer = SSL_get0_peer_certificate(&ssl);
  if (peer == nullptr) return;
  auto failure = static_cast<long>(
      reinterpret_cast<std::uintptr_t>(SSL_get_ex_data(&ssl, failure_index())));  // NOLINT
  if (failure == X509_V_OK) failure = SSL_get_verify_result(&ssl);
  ClientCertificate certificate = client_certificate(peer);
  // A resumed session carries the verdict of its first handshake, which time may have overtaken.
  if (failure == X509_V_OK && certificate.not_after < check_time(now)) {
    failure = X509_V_ERR_CERT_HAS_EXPIRED;
  }
  if (failure == X509_V_OK) {
    info.client_certificate = std::move(certificate);
  } else {
    info.client_certificate_error = X509_verify_cert_error_string(failure);
  }
}

}  // namespace skiff::http
