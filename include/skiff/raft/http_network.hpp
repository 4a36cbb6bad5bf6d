// Raft's network over the servers' normal HTTPS ports: POSTs of batched binary frames to
// /skiff/raft/v1, one at a time to each peer over a kept connection; what arrives meanwhile goes
// with the next. Both ends show certificates of the cluster's own authority.
#pragma once

#include <memory>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/http/client.hpp"
#include "skiff/http/server.hpp"
#include "skiff/raft/raft.hpp"

namespace skiff::raft {

inline constexpr std::string_view kRaftPath = "/skiff/raft/v1";

struct HttpNetworkOptions {
  // The cluster's authority, and this server's certificate with its key.
  http::TlsClientOptions tls;
  // A peer's client certificate must carry this organization.
  std::string organization = "skiff:servers";
  std::size_t max_queue_bytes = 64U << 20U;    // to one peer; beyond, send() says false
  std::size_t max_post_bytes = 1U << 20U;      // a larger frame travels in parts
  std::size_t max_frame_bytes = 16U << 20U;    // larger ones are refused at both ends
  Duration timeout = std::chrono::seconds(5);  // of one POST
};

class HttpNetwork : public Network {
 public:
  // For requests below kRaftPath; everything else is refused with 404, strangers with 403, garbage
  // with 400: each with one sentence, and a line in the log at most every ten seconds a peer.
  virtual http::Handler& handler() = 0;
  // Renewed certificates, for connections made from now on.
  virtual Result<void> set_tls(http::TlsClientOptions tls) = 0;
  // Ends what is under way. Before destruction.
  virtual Task<void> stop() = 0;
};

std::unique_ptr<HttpNetwork> make_http_network(Env env, HttpNetworkOptions options);

}  // namespace skiff::raft
