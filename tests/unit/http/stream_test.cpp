#include "fixture.hpp"

using namespace skiff;
using namespace skiff::http;
using namespace skiff::http::test;

namespace {

TlsServerOptions server_tls(const Issued& authority) {
  LeafSpec spec;
  spec.common_name = "server";
  const Issued leaf = make_leaf(authority, spec);
  TlsServerOptions tls;
  tls.identity = {leaf.certificate_pem, leaf.key_pem};
  return tls;
}

}  // namespace

TEST_CASE("a watch ends promptly when its client leaves") {
  for (const bool tls : {false, true}) {
    CAPTURE(tls);
    Loop loop;
    TestHandler handler(loop.env);
    const Issued authority = make_authority("ca");
    ServerOptions options = plain_options();
    if (tls) options.tls = server_tls(authority);
    Server server(loop.env, handler, options);
    ClientOptions client_options;
    client_options.tls.ca_pem = authority.certificate_pem;
    Client client(loop.env, client_options);
    auto body = [&]() -> Task<void> {
      for (int round = 0; round < 3; ++round) {
        auto stream = co_await client.stream(get(url_of(server, "/watch", tls)));
        REQUIRE(stream.has_value());
        CHECK((*stream)->status() == 200);
        auto first = co_await (*stream)->read();
        REQUIRE(first.has_value());
        CHECK(*first == "first\n");
        CHECK(handler.watches == 1);
        stream->reset();
        const TimePoint left = loop.clock.now();
        CHECK(co_await eventually(loop.clock, [&] { return handler.watches == 0; }));
        CHECK(loop.clock.now() - left < 500ms);
        CHECK(handler.canceled == round + 1);
      }
      CHECK(co_await eventually(loop.clock, [&] { return server.connections() == 0; }));
      co_await server.stop(0s);
    };
    REQUIRE(server.listen().has_value());
    loop.run(body());
  }
}

TEST_CASE("streams end properly, or visibly not") {
  for (const bool tls : {false, true}) {
    CAPTURE(tls);
    Loop loop;
    TestHandler handler(loop.env);
    const Issued authority = make_authority("ca");
    ServerOptions options = plain_options();
    if (tls) options.tls = server_tls(authority);
    Server server(loop.env, handler, options);
    ClientOptions client_options;
    client_options.tls.ca_pem = authority.certificate_pem;
    Client client(loop.env, client_options);
    auto body = [&]() -> Task<void> {
      for (int i = 0; i < 3; ++i) {
        auto whole = co_await client.request(get(url_of(server, "/stream?n=3", tls)));
        REQUIRE(whole.has_value());
        CHECK(whole->body == "head\npart 0\npart 1\npart 2\n");
      }
      CHECK(server.connections() == 1);  // kept after a stream
      auto cut = co_await client.request(get(url_of(server, "/abort?n=1", tls)));
      REQUIRE(cut.has_error());
      CHECK(cut.error().code == Code::unavailable);
      ClientRequest head = get(url_of(server, "/stream?n=3", tls));
      head.method = Method::head;
      auto no_body = co_await client.request(head);
      REQUIRE(no_body.has_value());
      CHECK(no_body->body.empty());
      client.close_idle();
      co_await server.stop(0s);
    };
    REQUIRE(server.listen().has_value());
    loop.run(body());
  }
}

TEST_CASE("a client that asks and does not read is dropped, without growing memory") {
  Loop loop;
  TestHandler handler(loop.env);
  ServerOptions options = plain_options();
  options.limits.write_stall = 300ms;
  Server server(loop.env, handler, options);
  auto body = [&]() -> Task<void> {
    RawClient client(loop.env, server.port());
    client.shrink_window();
    co_await client.send("GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(co_await eventually(loop.clock, [&] { return server.connections() == 0; }));
    CHECK(handler.flooded < 64 * 1024 * 1024);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("the client reads at its own pace") {
  Loop loop;
  TestHandler handler(loop.env);
  const Issued authority = make_authority("ca");
  ServerOptions options = plain_options();
  options.tls = server_tls(authority);
  Server server(loop.env, handler, options);
  ClientOptions client_options;
  client_options.tls.ca_pem = authority.certificate_pem;
  Client client(loop.env, client_options);
  auto body = [&]() -> Task<void> {
    auto stream = co_await client.stream(get(url_of(server, "/flood", true)));
    REQUIRE(stream.has_value());
    co_await loop.clock.sleep_for(200ms);
    const std::size_t held_up = handler.flooded;
    co_await loop.clock.sleep_for(100ms);
    CHECK(handler.flooded == held_up);
    std::size_t read = 0;
    bool right = true;
    while (read < held_up + 8 * 1024 * 1024) {
      auto part = co_await (*stream)->read();
      REQUIRE(part.has_value());
      right = right && part->find_first_not_of('x') == std::string::npos;
      read += part->size();
    }
    CHECK(right);
    CHECK(handler.flooded > held_up);
    stream->reset();
    CHECK(co_await eventually(loop.clock, [&] { return server.connections() == 0; }));
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("an upgraded connection is the handler's, with what came ahead") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  auto body = [&]() -> Task<void> {
    RawClient client(loop.env, server.port());
    co_await client.send(
        "POST /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nahead");
    const std::string answer = co_await client.read_all(200ms);
    CHECK(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    CHECK(answer.find("Upgrade: echo\r\nConnection: Upgrade\r\n") != std::string::npos);
    CHECK(answer.ends_with("\r\n\r\nahead"));
    const std::string much(300'000, 'm');
    co_await client.send(much);
    const std::string back = co_await client.read(much.size());
    CHECK(back == much);
    client.finish();
    co_await client.read_all();
    CHECK(client.ended());

    // A server that stops takes the connection back.
    RawClient other(loop.env, server.port());
    co_await other.send("POST /upgrade HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await other.read(12);
    co_await server.stop(5s);
    co_await other.read_all();
    CHECK(other.ended());
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("long lists go out piece by piece, compressed where the client likes") {
  Loop loop;
  TestHandler handler(loop.env);
  const Issued authority = make_authority("ca");
  ServerOptions options = plain_options();
  options.tls = server_tls(authority);
  Server server(loop.env, handler, options);
  ClientOptions client_options;
  client_options.tls.ca_pem = authority.certificate_pem;
  Client client(loop.env, client_options);
  auto body = [&]() -> Task<void> {
    for (const std::size_t n : {0, 1, 1000, 100'000}) {
      CAPTURE(n);
      auto list =
          co_await client.request(get(url_of(server, "/list?n=" + std::to_string(n), true)));
      REQUIRE(list.has_value());
      CHECK(list->body.size() == 5 * n);
      CHECK(list->headers.get("content-length") == std::to_string(5 * n));
    }
    auto large = co_await client.request(get(url_of(server, "/bytes?n=20000000", true)));
    REQUIRE(large.has_value());
    CHECK(large->body == std::string(20'000'000, 'b'));
    ClientRequest packed = get(url_of(server, "/list?n=100000", true));
    packed.headers.add("Accept-Encoding", "gzip");
    auto answer = co_await client.request(packed);
    REQUIRE(answer.has_value());
    CHECK(answer->headers.get("Content-Encoding") == "gzip");
    CHECK(answer->body.size() < 50'000);
    packed.url = url_of(server, "/list?n=10", true);
    answer = co_await client.request(packed);
    CHECK_FALSE(answer->headers.has("Content-Encoding"));
    client.close_idle();
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}
