#include "fixture.hpp"

#include <sys/socket.h>

namespace skiff::http::test {
namespace {

std::size_t number(const Request& request, std::string_view key) {
  return std::stoul("0" + std::string(request.query.get(key)));
}

Response echo(Request request) {
  Response response = Response::text(200, std::move(request.body));
  response.headers.add("X-Method", request.method_name);
  response.headers.add("X-Path", request.path);
  response.headers.add("X-Query", request.query.to_string());
  response.headers.add("X-Fields", std::to_string(request.headers.size()));
  response.headers.add("X-Peer", request.connection->peer_address);
  return response;
}

Response whoami(const Request& request) {
  const ConnectionInfo& info = *request.connection;
  if (info.client_certificate) {
    std::string text = info.client_certificate->common_name;
    for (const std::string& o : info.client_certificate->organizations) text += "/" + o;
    return Response::text(200, text + " " + info.tls_version);
  }
  return Response::text(401, "nobody " + info.client_certificate_error);
}

}  // namespace

Task<void> TestHandler::watch(Exchange& exchange) {
  const Result<void> started = co_await exchange.start(Response::text(200, "first\n"));
  if (!started) co_return;
  struct Count {
    TestHandler* handler;
    bool finished = false;
    ~Count() {
      --handler->watches;
      if (!finished) ++handler->canceled;
    }
  } count{this};
  ++watches;
  co_await env.clock->sleep_for(1h);
  count.finished = true;
}

Task<void> TestHandler::write_flood(Exchange& exchange) {
  co_await exchange.start(Response::text(200, ""));
  const auto block = std::make_shared<const std::string>(256 * 1024, 'x');
  for (;;) {
    Buffers part{Buffer(block)};
    const Result<void> written = co_await exchange.write(std::move(part));
    if (!written) {
      flood = written.error().message;
      co_return;
    }
    flooded += block->size();
  }
}

Task<void> TestHandler::echo_bytes(Exchange& exchange) {
  Headers headers;
  headers.add("Upgrade", "echo");
  auto stream = co_await exchange.upgrade(std::move(headers));
  if (!stream) co_return;
  char bytes[1000];
  for (;;) {
    auto n = co_await (*stream)->read_some(bytes);
    if (!n || *n == 0) break;
    Buffers out{Buffer(std::string(bytes, *n))};
    const Result<void> written = co_await (*stream)->write(std::move(out));
    if (!written) break;
  }
  (*stream)->close();
}

Task<void> TestHandler::handle(Request request, Exchange& exchange) {
  ++handled;
  const std::string path = request.path;
  if (path == "/hello") {
    exchange.respond(Response::text(200, "hello\n"));
  } else if (path == "/echo") {
    exchange.respond(echo(std::move(request)));
  } else if (path == "/bytes") {
    exchange.respond(Response::text(200, std::string(number(request, "n"), 'b')));
  } else if (path == "/list") {
    Buffers pieces;
    for (std::size_t i = 0; i < number(request, "n"); ++i)
      pieces.push_back(Buffer::literal("item,"));
    exchange.respond(Response::make(200, "text/plain", std::move(pieces)));
  } else if (path == "/stream" || path == "/abort") {
    co_await exchange.start(Response::text(200, "head\n"));
    for (std::size_t i = 0; i < number(request, "n"); ++i) {
      Buffers part{Buffer::literal("part "), Buffer(std::to_string(i) + "\n")};
      co_await exchange.write(std::move(part));
    }
    if (path == "/abort") exchange.abort();
  } else if (path == "/watch") {
    co_await watch(exchange);
  } else if (path == "/flood") {
    co_await write_flood(exchange);
  } else if (path == "/slow") {
    co_await env.clock->sleep_for(std::chrono::milliseconds(number(request, "ms")));
    exchange.respond(Response::text(200, "slow\n"));
    wait_finished = true;
  } else if (path == "/throw") {
    throw std::runtime_error("a broken handler");
  } else if (path == "/whoami") {
    exchange.respond(whoami(request));
  } else if (path == "/upgrade") {
    co_await echo_bytes(exchange);
  } else if (path != "/none") {
    exchange.respond(Response::text(404, "no such path\n"));
  }
}

namespace {

int connect_now(std::uint16_t port) {
  const auto endpoints = resolve("127.0.0.1", port);
  const Result<int> fd = start_connect(endpoints->front());
  REQUIRE(fd.has_value());
  return *fd;
}

}  // namespace

RawClient::RawClient(Env env, std::uint16_t port)
    : env_(env), stream_(env.executor, connect_now(port), scratch_) {}

void RawClient::shrink_window() {
  const int size = 4096;
  ::setsockopt(stream_.native(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

Task<void> RawClient::send(std::string bytes) {
  Outgoing out;
  out.head = std::move(bytes);
  while (stream_.write_now(out) == IoStatus::would_block) co_await stream_.writable();
}

Task<Result<std::string>> RawClient::read_part(std::size_t limit) {
  std::string buffer(std::min<std::size_t>(limit, 16 * 1024), '\0');
  const IoResult read = co_await stream_.read_some(buffer);
  if (read.status != IoStatus::ok) {
    ended_ = true;
    co_return std::string();
  }
  buffer.resize(read.bytes);
  co_return buffer;
}

Task<std::string> RawClient::read(std::size_t count, Duration patience) {
  std::string all;
  while (all.size() < count && !ended_) {
    auto part =
        co_await with_timeout(*env_.clock, patience, std::string(), read_part(count - all.size()));
    if (!part) break;
    all += *part;
  }
  co_return all;
}

}  // namespace skiff::http::test
