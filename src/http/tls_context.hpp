// OpenSSL's contexts and sessions behind names of our own; only the .cpp files see OpenSSL.
#pragma once

#include <memory>
#include <string>

#include "skiff/base/clock.hpp"
#include "skiff/http/message.hpp"
#include "skiff/http/tls.hpp"

struct ssl_st;
struct ssl_ctx_st;

namespace skiff::http {

struct SslFree {
  void operator()(ssl_st* ssl) const noexcept;
};
using SslPtr = std::unique_ptr<ssl_st, SslFree>;

// Immutable once made: live replacement means a new one for new connections.
class TlsContext {
 public:
  static Result<std::shared_ptr<const TlsContext>> for_server(const TlsServerOptions& options);
  static Result<std::shared_ptr<const TlsContext>> for_client(const TlsClientOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Sessions that check certificates as of `now`, or as of the start of our own certificate where
  // the clock stands before that (it is wrong then).
  SslPtr server_session(WallTime now) const;
  // `host`: who must answer, unless the options name another.
  Result<SslPtr> client_session(WallTime now, const std::string& host) const;

  // What the handshake told of the peer.
  void describe(const ssl_st& ssl, WallTime now, ConnectionInfo& info) const;

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  WallTime check_time(WallTime now) const { return now < known_past_ ? known_past_ : now; }

  ssl_ctx_st* context_;
  WallTime known_past_{};  // our own certificate's start
  std::string expected_name_;
  bool verify_ = true;
};

// The newest entry of OpenSSL's error queue in words; empties the queue.
std::string tls_error_text();

}  // namespace skiff::http
