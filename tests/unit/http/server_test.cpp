#include "fixture.hpp"

using namespace skiff;
using namespace skiff::http;
using namespace skiff::http::test;

namespace {

const std::string kGet = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";

std::string status_line(const std::string& answer) { return answer.substr(0, answer.find("\r\n")); }

}  // namespace

TEST_CASE("whatever garbage comes in, the answer is a refusal and the server stays") {
  Loop loop;
  TestHandler handler(loop.env);
  ServerOptions options = plain_options();
  options.limits.body_bytes = 1000;
  options.limits.header_bytes = 2000;
  options.format_refusal = [](const Refusal& r) {
    return Response::make(r.status, "application/json",
                          {Buffer("{\"why\":\"" + r.message + "\"}")});
  };
  Server server(loop.env, handler, options);
  auto body = [&]() -> Task<void> {
    struct Row {
      std::string text;
      std::string status;
    };
    const std::vector<Row> rows = {
        {"GARBAGE\r\n\r\n", "HTTP/1.1 400 Bad Request"},
        {std::string(100, '\0'), "HTTP/1.1 400 Bad Request"},
        {"GET / HTTP/1.1\r\nX: " + std::string(3000, 'x'),
         "HTTP/1.1 431 Request Header Fields Too Large"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'x'),
         "HTTP/1.1 413 Request Entity Too Large"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n" +
             kGet,
         "HTTP/1.1 400 Bad Request"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
         "HTTP/1.1 400 Bad Request"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 400 Bad Request"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text.substr(0, 60));
      RawClient client(loop.env, server.port());
      co_await client.send(row.text);
      const std::string answer = co_await client.read_all();
      CHECK(status_line(answer) == row.status);
      CHECK(answer.find("Connection: close") != std::string::npos);
      CHECK(answer.find("{\"why\":") != std::string::npos);
      CHECK(client.ended());
    }
    CHECK(handler.handled == 0);
    RawClient client(loop.env, server.port());
    co_await client.send(kGet);
    const std::string answer = co_await client.read(10);
    CHECK(answer == "HTTP/1.1 2");
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("keep-alive, pipelining, HEAD, 100-continue and HTTP/1.0") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  auto body = [&]() -> Task<void> {
    RawClient piped(loop.env, server.port());
    co_await piped.send(kGet + "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" +
                        "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n" +
                        "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + kGet);
    const std::string all = co_await piped.read_all();
    CHECK(piped.ended());
    CHECK(handler.handled == 4);  // what follows "close" is not read
    CHECK(all.find("X-Method: POST") != std::string::npos);
    CHECK(all.ends_with("Connection: close\r\n\r\nhello\n"));
    const std::size_t head = all.find("abcHTTP/1.1 200 OK");
    REQUIRE(head != std::string::npos);
    CHECK(all.find("Content-Length: 6\r\n\r\nHTTP/1.1 200 OK", head) != std::string::npos);

    RawClient patient(loop.env, server.port());
    co_await patient.send(
        "PUT /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    const std::string go_on = co_await patient.read(25);
    CHECK(go_on == "HTTP/1.1 100 Continue\r\n\r\n");
    co_await patient.send("body");
    const std::string answer = co_await patient.read_all(200ms);
    CHECK(answer.ends_with("\r\n\r\nbody"));
    CHECK_FALSE(patient.ended());

    RawClient old(loop.env, server.port());
    co_await old.send("GET /stream?n=2 HTTP/1.0\r\n\r\n");
    const std::string streamed = co_await old.read_all();
    CHECK(old.ended());
    CHECK(streamed.ends_with("Connection: close\r\n\r\nhead\npart 0\npart 1\n"));

    RawClient kept(loop.env, server.port());
    co_await kept.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const std::string kept_answer = co_await kept.read_all(200ms);
    CHECK(kept_answer.find("Connection: keep-alive") != std::string::npos);
    CHECK_FALSE(kept.ended());
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("slow and silent clients lose their connection") {
  Loop loop;
  TestHandler handler(loop.env);
  ServerOptions options = plain_options();
  options.limits.header_read = 200ms;
  options.limits.body_stall = 200ms;
  options.limits.idle = 200ms;
  Server server(loop.env, handler, options);
  auto body = [&]() -> Task<void> {
    struct Row {
      std::string text;
      std::string expected;
    };
    const std::vector<Row> rows = {
        {"", ""},
        {"GET / HT", "HTTP/1.1 408 Request Timeout"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
         "HTTP/1.1 408 Request Timeout"},
    };
    for (const Row& row : rows) {
      RawClient client(loop.env, server.port());
      co_await client.send(row.text);
      const std::string answer = co_await client.read_all();
      CHECK(status_line(answer) == row.expected);
      CHECK(client.ended());
    }
    // A byte now and then does not stretch the time for the header.
    RawClient drip(loop.env, server.port());
    const TimePoint begun = loop.clock.now();
    for (int i = 0; i < 50 && !drip.ended(); ++i) {
      co_await drip.send("G");
      co_await drip.read(1, 50ms);
    }
    CHECK(loop.clock.now() - begun < 2s);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("a client that has said all may still hear the answer; one that left costs nothing") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  auto body = [&]() -> Task<void> {
    RawClient half(loop.env, server.port());
    co_await half.send("GET /slow?ms=100 HTTP/1.1\r\nHost: h\r\n\r\n");
    half.finish();
    const std::string answer = co_await half.read_all();
    CHECK(answer.ends_with("slow\n"));
    CHECK(half.ended());

    handler.wait_finished = false;
    {
      RawClient gone(loop.env, server.port());
      co_await gone.send("GET /slow?ms=100 HTTP/1.1\r\nHost: h\r\n\r\n");
      co_await loop.clock.sleep_for(20ms);
    }
    CHECK(co_await eventually(loop.clock, [&] { return handler.wait_finished; }));
    RawClient partial(loop.env, server.port());
    co_await partial.send("GET /hel");
    partial.finish();
    const std::string nothing = co_await partial.read_all();
    CHECK(nothing.empty());
    CHECK(co_await eventually(loop.clock, [&] { return server.connections() == 0; }));
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("handlers that fail answer 500, and the connection bound holds") {
  Loop loop;
  TestHandler handler(loop.env);
  ServerOptions options = plain_options();
  options.limits.connections = 2;
  Server server(loop.env, handler, options);
  log::set_sink([](std::string_view) {});
  auto body = [&]() -> Task<void> {
    for (const char* path : {"/none", "/throw"}) {
      RawClient client(loop.env, server.port());
      co_await client.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n\r\n");
      const std::string answer = co_await client.read(12);
      CHECK(answer == "HTTP/1.1 500");
    }
    RawClient first(loop.env, server.port());
    RawClient second(loop.env, server.port());
    auto third = std::make_unique<RawClient>(loop.env, server.port());
    co_await first.send(kGet);
    co_await second.send(kGet);
    co_await third->send(kGet);
    co_await first.read(10);
    co_await second.read(10);
    const std::string early = co_await third->read(10, 100ms);
    CHECK(early.empty());
    CHECK(server.connections() == 2);
    first.close();
    const std::string late = co_await third->read(10);
    CHECK(late == "HTTP/1.1 2");
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
  log::set_sink(nullptr);
}

TEST_CASE("a port that is taken, or an address that is none, is told clearly") {
  Loop loop;
  TestHandler handler(loop.env);
  Server first(loop.env, handler, plain_options());
  REQUIRE(first.listen().has_value());
  ServerOptions options = plain_options();
  options.port = first.port();
  Server second(loop.env, handler, options);
  const auto busy = second.listen();
  REQUIRE(busy.has_error());
  CHECK(busy.error().message.find("address already in use") == 0);
  CHECK(busy.error().message.find("--https-port") != std::string::npos);
  options.address = "localhost";
  Server third(loop.env, handler, options);
  CHECK(third.listen().has_error());
  options.address = "203.0.113.1";
  Server fourth(loop.env, handler, options);
  CHECK(fourth.listen().error().message.find("does not have the address") != std::string::npos);
  loop.run(first.stop(0s));
}

TEST_CASE("stopping ends watches properly, lets answers finish, and closes what is idle") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  auto body = [&]() -> Task<void> {
    RawClient idle(loop.env, server.port());
    RawClient watcher(loop.env, server.port());
    RawClient slow(loop.env, server.port());
    RawClient endless(loop.env, server.port());
    co_await idle.send(kGet);
    co_await idle.read(10);
    co_await watcher.send("GET /watch HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await watcher.read(10);
    co_await slow.send("GET /slow?ms=100 HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await endless.send("GET /slow?ms=100000 HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await loop.clock.sleep_for(30ms);
    const TimePoint begun = loop.clock.now();
    co_await server.stop(500ms);
    CHECK(loop.clock.now() - begun < 2s);
    CHECK(server.connections() == 0);
    const std::string watched = co_await watcher.read_all();
    CHECK(watched.ends_with("\r\n0\r\n\r\n"));
    const std::string answered = co_await slow.read_all();
    CHECK(answered.ends_with("Connection: close\r\n\r\nslow\n"));
    const std::string nothing = co_await endless.read_all();
    CHECK(nothing.empty());
    co_await idle.read_all();
    CHECK(idle.ended());
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}
