// A loop with real time, a server with a handler of many faces, and a client that may send
// anything.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <memory>
#include <string>

#include "skiff/http/client.hpp"
#include "skiff/http/server.hpp"
#include "sockets.hpp"
#include "stream.hpp"

namespace skiff::http::test {

struct Loop {
  asio::io_context io{1};
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{1};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};

  // Runs until `body` is done; half a minute is a hang.
  void run(Task<void> body) {
    TaskGroup group(io.get_executor());
    group.spawn("test", std::move(body));
    io.restart();
    io.run_for(30s);
    REQUIRE(group.size() == 0);
  }
};

// Paths: /hello, /echo (the body, and what was asked as headers), /bytes?n=N, /list?n=N (many
// pieces), /stream?n=N, /abort, /watch (until cancelled), /flood (writes until it fails),
// /slow?ms=N, /none (no answer), /throw, /whoami (client certificate), /upgrade (echoes bytes),
// /wait (a plain answer after release is set).
class TestHandler : public Handler {
 public:
  explicit TestHandler(Env e) : env(std::move(e)) {}
  Task<void> handle(Request request, Exchange& exchange) override;

  Env env;
  int handled = 0;
  int watches = 0;    // running
  int canceled = 0;   // watches ended by cancellation
  std::string flood;  // why the flood ended
  std::size_t flooded = 0;
  bool wait_finished = false;

 private:
  Task<void> watch(Exchange& exchange);
  Task<void> echo_bytes(Exchange& exchange);
  Task<void> write_flood(Exchange& exchange);
};

// Sends and receives bytes as they are.
class RawClient {
 public:
  RawClient(Env env, std::uint16_t port);
  Task<void> send(std::string bytes);
  // Until `count` bytes, the end, or `patience` without any.
  Task<std::string> read(std::size_t count, Duration patience = 5s);
  Task<std::string> read_all(Duration patience = 5s) { return read(SIZE_MAX, patience); }
  bool ended() const { return ended_; }  // the server closed
  void finish() { stream_.shutdown_write(); }
  void close() { stream_.close(); }
  void shrink_window();

 private:
  Task<Result<std::string>> read_part(std::size_t limit);
  Env env_;
  Scratch scratch_;
  Stream stream_;
  bool ended_ = false;
};

// Waits until `condition` holds; false after five seconds.
template <class F>
Task<bool> eventually(Clock& clock, F condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) co_return true;
    co_await clock.sleep_for(5ms);
  }
  co_return false;
}

inline ServerOptions plain_options() {
  ServerOptions o;
  o.address = "127.0.0.1";
  return o;
}

inline std::string url_of(const Server& server, std::string_view path, bool tls = false) {
  return (tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(server.port()) +
         std::string(path);
}

inline ClientRequest get(std::string url) {
  ClientRequest r;
  r.url = std::move(url);
  return r;
}

// --- certificates -------------------------------------------------------------------------------

struct Issued {
  std::string certificate_pem;
  std::string key_pem;
};
struct LeafSpec {
  std::string common_name;
  std::string organization;
  std::string alternative_names = "DNS:localhost,IP:127.0.0.1";  // OpenSSL's notation
  long valid_from = -3600;                                       // seconds from now
  long valid_for = 24 * 3600;
};
Issued make_authority(const std::string& name);
Issued make_leaf(const Issued& authority, const LeafSpec& spec);

}  // namespace skiff::http::test
