#include "fixture.hpp"

using namespace skiff;
using namespace skiff::http;
using namespace skiff::http::test;

TEST_CASE("requests go out whole and connections are used again") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  Client client(loop.env);
  auto body = [&]() -> Task<void> {
    for (const Method method : {Method::get, Method::post, Method::put, Method::patch,
                                Method::delete_, Method::options}) {
      ClientRequest request = get(url_of(server, "/echo?a=1&b=%20"));
      request.method = method;
      request.body = method == Method::get ? "" : std::string(100'000, 'e');
      auto answer = co_await client.request(request);
      REQUIRE(answer.has_value());
      CHECK(answer->status == 200);
      CHECK(answer->body == request.body);
      CHECK(answer->headers.get("x-method") == name_of(method));
      CHECK(answer->headers.get("X-Query") == "a=1&b=%20");
      CHECK(answer->headers.get("X-Peer") == "127.0.0.1");
    }
    CHECK(server.connections() == 1);
    auto missing = co_await client.request(get(url_of(server, "/nowhere")));
    REQUIRE(missing.has_value());
    CHECK(missing->status == 404);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("what keeps an answer from coming is told") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  Client client(loop.env);
  auto body = [&]() -> Task<void> {
    ClientRequest slow = get(url_of(server, "/slow?ms=5000"));
    slow.timeout = 100ms;
    auto late = co_await client.request(slow);
    REQUIRE(late.has_error());
    CHECK(late.error().code == Code::timeout);
    auto late_stream = co_await client.stream(slow);
    CHECK(late_stream.error().code == Code::timeout);

    ClientRequest large = get(url_of(server, "/bytes?n=100000"));
    large.max_body = 50'000;
    auto much = co_await client.request(large);
    CHECK(much.error().code == Code::too_large);

    auto bad = co_await client.request(get("gopher://x"));
    CHECK(bad.error().code == Code::bad_request);
    const std::uint16_t port = server.port();
    co_await server.stop(0s);
    auto refused = co_await client.request(get("http://127.0.0.1:" + std::to_string(port) + "/"));
    REQUIRE(refused.has_error());
    CHECK(refused.error().code == Code::unavailable);
    CHECK(refused.error().message.find("Connection refused") != std::string::npos);
    auto tls_to_nobody = co_await client.request(get("https://127.0.0.1:1/"));
    CHECK(tls_to_nobody.error().code == Code::unavailable);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("a kept connection that the server closed is replaced") {
  Loop loop;
  TestHandler handler(loop.env);
  ServerOptions options = plain_options();
  options.limits.idle = 150ms;
  Server server(loop.env, handler, options);
  Client client(loop.env);
  auto body = [&]() -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      ClientRequest request = get(url_of(server, "/echo"));
      request.method = Method::post;
      request.body = "x";
      auto answer = co_await client.request(request);
      REQUIRE(answer.has_value());
      co_await loop.clock.sleep_for(400ms);
      CHECK(server.connections() == 0);
    }
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("cancelling a task cancels its request") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  Client client(loop.env);
  bool returned = false;
  auto asker = [&]() -> Task<void> {
    auto answer = co_await client.request(get(url_of(server, "/slow?ms=60000")));
    returned = true;
  };
  auto body = [&]() -> Task<void> {
    TaskGroup group(loop.env.executor);
    group.spawn("asker", asker());
    co_await loop.clock.sleep_for(50ms);
    group.cancel();
    co_await group.join();
    CHECK_FALSE(returned);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("a server that refuses early is heard although the body was not all sent") {
  Loop loop;
  TestHandler handler(loop.env);
  ServerOptions options = plain_options();
  options.limits.body_bytes = 1000;
  Server server(loop.env, handler, options);
  Client client(loop.env);
  auto body = [&]() -> Task<void> {
    ClientRequest request = get(url_of(server, "/echo"));
    request.method = Method::post;
    request.body = std::string(8 * 1024 * 1024, 'x');
    auto answer = co_await client.request(request);
    REQUIRE(answer.has_value());
    CHECK(answer->status == 413);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}
