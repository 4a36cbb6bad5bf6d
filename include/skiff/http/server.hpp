// HTTP/1.1 server (RFC 9110, RFC 9112), over TLS or plain. A connection is one coroutine on the
// loop; an idle one holds no buffers.
//
//   class Hello : public http::Handler {
//     Task<void> handle(http::Request request, http::Exchange& exchange) override {
//       exchange.respond(http::Response::text(200, "hello\n"));
//       co_return;
//     }
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/http/message.hpp"
#include "skiff/http/tls.hpp"

namespace skiff::http {

// A raw duplex connection, after an upgrade. One reader and one writer at a time; they may be two
// tasks.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // At least one byte, or 0 at the end of the stream.
  virtual Task<Result<std::size_t>> read_some(std::span<char> into) = 0;
  // All of it, in as few system calls as the pieces allow.
  virtual Task<Result<void>> write(Buffers data) = 0;
  // Ends both directions; pending reads and writes fail.
  virtual void close() noexcept = 0;
};

// One request being answered. Belongs to the connection and lives until handle() returns. Of
// respond, start and upgrade exactly one is called, once; a handler that calls none has answered
// 500. Knows nothing of HTTP/1.1, so that other versions can stand behind it.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // The whole answer; it is sent when handle() returns. The answer to HEAD loses its body on the
  // way out.
  virtual void respond(Response response) = 0;

  // Sends the head of an answer whose body follows through write() (`response.body` is its first
  // part). From now on the handler's task is cancelled as soon as the client goes away.
  virtual Task<Result<void>> start(Response response) = 0;
  // Sends one more part of the body, all pieces with one system call where they fit, and returns
  // when the kernel has taken them. Fails with Code::canceled once the client is gone, and when it
  // takes nothing for Limits::write_stall.
  virtual Task<Result<void>> write(Buffers part) = 0;
  // After start(): the connection breaks when handle() returns, so that the client sees that the
  // body is incomplete. Without it, returning ends the body properly.
  virtual void abort() noexcept = 0;

  // Answers 101 with these headers (Connection: Upgrade is added; name the protocol in Upgrade) and
  // hands the connection over. The stream lives until handle() returns; then the connection closes.
  virtual Task<Result<ByteStream*>> upgrade(Headers headers) = 0;

  // Something was sent or is about to be.
  virtual bool answered() const noexcept = 0;
};

class Handler {
 public:
  virtual ~Handler() = default;
  // Runs on the loop, one call per connection at a time, many connections at once. Cancelled when
  // the client leaves a started or upgraded exchange, and when the server stops. A plain answer is
  // not cancelled when the client leaves: what it does to the cluster is done whole.
  virtual Task<void> handle(Request request, Exchange& exchange) = 0;
};

struct Limits {
  std::size_t header_bytes = 256 * 1024;     // request line and fields; beyond: 431
  std::size_t header_fields = 1000;          // beyond: 431
  std::size_t body_bytes = 3 * 1024 * 1024;  // beyond: 413 (as kube-apiserver)
  std::size_t connections = 20'000;          // beyond: not accepted until one closes
  Duration handshake = 10s;
  Duration header_read = 15s;  // from a request's first byte to the end of its header; beyond: 408
  Duration body_stall = 30s;   // without a byte of the body; beyond: 408
  Duration idle = 120s;        // between requests
  Duration write_stall = 60s;  // the client takes nothing of what it asked for
};

// Why the server itself refused a request.
struct Refusal {
  int status = 400;     // 400, 408, 413, 431, 500 or 501
  std::string message;  // one sentence
};

struct ServerOptions {
  std::string address = "0.0.0.0";         // numeric; "::" takes IPv4 too
  std::uint16_t port = 0;                  // 0: any free one
  std::string port_flag = "--https-port";  // named in the message when the port is busy
  std::optional<TlsServerOptions> tls;     // empty: plain text
  Limits limits;
  // Body of the server's own refusals (a Kubernetes Status, say); empty: plain text.
  std::function<Response(const Refusal&)> format_refusal;
  std::string name = "server";  // label of the metrics
};

class Server {
 public:
  // `handler` outlives the server.
  Server(Env env, Handler& handler, ServerOptions options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // after stop(), or if listen() was never called or failed

  // Binds and starts to accept. Connections are served in the server's own task group.
  Result<void> listen();
  std::uint16_t port() const noexcept;  // the bound one

  // New connections use `tls`; those that stand keep what they have. Nothing changes on failure.
  Result<void> set_tls(TlsServerOptions tls);

  std::size_t connections() const noexcept;

  // Stops accepting, closes idle connections, cancels started and upgraded exchanges (a started
  // body is ended properly), gives plain answers `grace` to finish, then cancels them too. Returns
  // when nothing is left. Call once.
  Task<void> stop(Duration grace = 5s);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skiff::http
