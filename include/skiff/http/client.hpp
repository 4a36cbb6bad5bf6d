// HTTP/1.1 client over TLS or plain text, with a pool of kept connections. Redirects are the
// caller's business; there are no proxies.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/http/message.hpp"
#include "skiff/http/tls.hpp"

namespace skiff::http {

struct Pool;

struct ClientRequest {
  Method method = Method::get;
  std::string url;  // absolute: "https://10.0.0.1:6443/api/v1/pods"
  Headers headers;  // Host, Content-Length, Connection and User-Agent are added
  std::string body;
  // request(): until the last byte of the answer. stream(): until the end of its header. 0: none.
  Duration timeout = 30s;
  std::size_t max_body = 64 * 1024 * 1024;  // request() only: a longer answer is Code::too_large
};

// Any status is an answer; only what keeps an answer from coming is an Error: Code::unavailable
// when the server cannot be reached or the connection broke, Code::timeout, Code::unauthorized when
// its certificate is not the one expected, Code::bad_request for a URL that cannot be used.
struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;
};

// An answer whose body is read bit by bit. Not reading stops the server (TCP's flow control).
// Destroying it before the end closes the connection.
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;
  virtual int status() const noexcept = 0;
  virtual const Headers& headers() const noexcept = 0;
  // What has arrived of the body, at least one byte; empty at its proper end. Code::unavailable
  // when the connection breaks before that.
  virtual Task<Result<std::string>> read() = 0;
  // The rest, at most `limit` bytes (beyond: Code::too_large).
  virtual Task<Result<std::string>> read_all(std::size_t limit) = 0;
};

struct ClientOptions {
  TlsClientOptions tls;
  Duration connect_timeout = 10s;      // name lookup, TCP and TLS together
  Duration keep = 90s;                 // how long an unused connection is kept
  std::size_t max_kept_per_host = 32;  // unused ones; those in use are not limited
  std::size_t max_header_bytes = 256 * 1024;
  std::string user_agent = "skiff";
};

// Belongs to the loop. Outlives its requests; streams may outlive it.
class Client {
 public:
  explicit Client(Env env, ClientOptions options = {});
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  // Bad TLS settings show here, with every https request.
  Task<Result<ClientResponse>> request(ClientRequest request);
  Task<Result<std::unique_ptr<ResponseStream>>> stream(ClientRequest request);

  // Connections made from now on use these settings; kept ones are closed. Nothing changes on
  // failure.
  Result<void> set_tls(TlsClientOptions tls);

  void close_idle() noexcept;

 private:
  std::shared_ptr<Pool> pool_;  // streams that are still being read keep it alive
};

}  // namespace skiff::http
