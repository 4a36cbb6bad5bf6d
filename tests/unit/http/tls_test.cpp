#include "fixture.hpp"

using namespace skiff;
using namespace skiff::http;
using namespace skiff::http::test;

namespace {

struct Authorities {
  Issued trusted = make_authority("trusted");
  Issued stranger = make_authority("stranger");
};

TlsIdentity identity(const Issued& issued) { return {issued.certificate_pem, issued.key_pem}; }

LeafSpec named(std::string common_name, std::string organization = "") {
  LeafSpec spec;
  spec.common_name = std::move(common_name);
  spec.organization = std::move(organization);
  return spec;
}

TlsServerOptions server_tls(const Authorities& ca, const LeafSpec& spec) {
  TlsServerOptions tls;
  tls.identity = identity(make_leaf(ca.trusted, spec));
  tls.client_ca_pem = ca.trusted.certificate_pem;
  return tls;
}

}  // namespace

TEST_CASE("client certificates: known, unknown, expired, none") {
  Loop loop;
  TestHandler handler(loop.env);
  const Authorities ca;
  ServerOptions options = plain_options();
  options.tls = server_tls(ca, named("server"));
  Server server(loop.env, handler, options);
  auto body = [&]() -> Task<void> {
    LeafSpec expired = named("admin", "system:masters");
    expired.valid_from = -7200;
    expired.valid_for = 3600;
    struct Row {
      TlsIdentity identity;
      int status;
      std::string body;
    };
    const std::vector<Row> rows = {
        {identity(make_leaf(ca.trusted, named("admin", "system:masters"))), 200,
         "admin/system:masters TLSv1.3"},
        {identity(make_leaf(ca.stranger, named("admin", "system:masters"))), 401,
         "nobody unable to"},
        {identity(make_leaf(ca.trusted, expired)), 401, "nobody certificate has expired"},
        {{}, 401, "nobody "},
    };
    for (const Row& row : rows) {
      ClientOptions client_options;
      client_options.tls.ca_pem = ca.trusted.certificate_pem;
      client_options.tls.identity = row.identity;
      Client client(loop.env, client_options);
      auto answer = co_await client.request(get(url_of(server, "/whoami", true)));
      REQUIRE(answer.has_value());
      CHECK(answer->status == row.status);
      CHECK(answer->body.starts_with(row.body));
    }
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("a client talks only to the server it means") {
  Loop loop;
  TestHandler handler(loop.env);
  const Authorities ca;
  struct Row {
    std::string alternative_names;
    bool stranger;
    bool skip;
    std::string server_name;
    bool good;
  };
  const std::vector<Row> rows = {
      {"IP:127.0.0.1", false, false, "", true},
      {"DNS:localhost", false, false, "", false},
      {"IP:127.0.0.2", false, false, "", false},
      {"DNS:kubernetes", false, false, "kubernetes", true},
      {"DNS:kubernetes", false, false, "other", false},
      {"IP:127.0.0.1", true, false, "", false},
      {"DNS:other", true, true, "", true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.alternative_names, row.stranger, row.server_name);
    LeafSpec spec = named("server");
    spec.alternative_names = row.alternative_names;
    ServerOptions options = plain_options();
    options.tls = server_tls(ca, spec);
    Server server(loop.env, handler, options);
    ClientOptions client_options;
    client_options.tls.ca_pem = (row.stranger ? ca.stranger : ca.trusted).certificate_pem;
    client_options.tls.server_name = row.server_name;
    client_options.tls.insecure_skip_verify = row.skip;
    Client client(loop.env, client_options);
    auto body = [&]() -> Task<void> {
      auto answer = co_await client.request(get(url_of(server, "/hello", true)));
      CHECK(answer.has_value() == row.good);
      if (!row.good) CHECK(answer.error().code == Code::unauthorized);
      client.close_idle();
      co_await server.stop(0s);
    };
    REQUIRE(server.listen().has_value());
    loop.run(body());
  }
}

TEST_CASE("the certificate is replaced while the server runs") {
  Loop loop;
  TestHandler handler(loop.env);
  const Authorities ca;
  ServerOptions options = plain_options();
  options.tls = server_tls(ca, named("first"));
  Server server(loop.env, handler, options);
  ClientOptions client_options;
  client_options.tls.ca_pem = ca.trusted.certificate_pem;
  Client client(loop.env, client_options);
  auto body = [&]() -> Task<void> {
    auto watch = co_await client.stream(get(url_of(server, "/watch", true)));
    REQUIRE(watch.has_value());
    TlsServerOptions fresh;
    fresh.identity = identity(make_leaf(ca.stranger, named("second")));
    REQUIRE(server.set_tls(fresh).has_value());
    auto refused = co_await client.request(get(url_of(server, "/hello", true)));
    CHECK(refused.error().code == Code::unauthorized);
    TlsClientOptions both;
    both.ca_pem = ca.trusted.certificate_pem + ca.stranger.certificate_pem;
    REQUIRE(client.set_tls(both).has_value());
    auto answer = co_await client.request(get(url_of(server, "/hello", true)));
    CHECK(answer.has_value());
    CHECK(handler.watches == 1);  // connections that stand do not notice

    TlsServerOptions broken = fresh;
    broken.identity.key_pem = make_leaf(ca.stranger, named("third")).key_pem;
    CHECK(server.set_tls(broken).has_error());
    broken.identity.certificate_pem = "no certificate";
    CHECK(server.set_tls(broken).has_error());
    answer = co_await client.request(get(url_of(server, "/hello", true)));
    CHECK(answer.has_value());
    watch->reset();
    client.close_idle();
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("what is not TLS is turned away from a TLS port, and slow handshakes too") {
  Loop loop;
  TestHandler handler(loop.env);
  const Authorities ca;
  ServerOptions options = plain_options();
  options.tls = server_tls(ca, named("server"));
  options.limits.handshake = 200ms;
  Server server(loop.env, handler, options);
  auto body = [&]() -> Task<void> {
    RawClient plain(loop.env, server.port());
    co_await plain.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    const std::string answer = co_await plain.read_all();
    CHECK(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"));
    CHECK(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"));
    SeededRandom random(7);
    for (int i = 0; i < 50; ++i) {
      std::string noise(1 + random.below(400), '\0');
      for (char& c : noise) c = static_cast<char>(random.next());
      if (i % 2 == 0) noise.replace(0, std::min<std::size_t>(noise.size(), 3), "\x16\x03\x01");
      RawClient client(loop.env, server.port());
      co_await client.send(noise);
      co_await client.read_all();
      CHECK(client.ended());
    }
    RawClient silent(loop.env, server.port());
    co_await silent.read_all();
    CHECK(silent.ended());
    CHECK(co_await eventually(loop.clock, [&] { return server.connections() == 0; }));
    CHECK(handler.handled == 0);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("a TLS client that finds no TLS says so") {
  Loop loop;
  TestHandler handler(loop.env);
  Server server(loop.env, handler, plain_options());
  ClientOptions options;
  options.tls.insecure_skip_verify = true;
  Client client(loop.env, options);
  auto body = [&]() -> Task<void> {
    auto answer = co_await client.request(get(url_of(server, "/hello", true)));
    REQUIRE(answer.has_error());
    CHECK(answer.error().message.find("does not speak TLS") != std::string::npos);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

TEST_CASE("a clock at the epoch does not lock anybody out") {
  // The server's machine boots in 1970; its certificates are from now.
  struct EpochClock final : Clock {
    RealClock real;
    TimePoint now() const noexcept override { return real.now(); }
    WallTime wall() const noexcept override { return WallTime{}; }
    Task<void> sleep_until(TimePoint when) override { return real.sleep_until(when); }
  };
  Loop loop;
  EpochClock epoch;
  loop.env.clock = &epoch;
  TestHandler handler(loop.env);
  const Authorities ca;
  ServerOptions options = plain_options();
  options.tls = server_tls(ca, named("server"));
  Server server(loop.env, handler, options);
  ClientOptions client_options;
  client_options.tls.ca_pem = ca.trusted.certificate_pem;
  client_options.tls.identity = identity(make_leaf(ca.trusted, named("node", "system:nodes")));
  Client client(loop.env, client_options);
  auto body = [&]() -> Task<void> {
    auto answer = co_await client.request(get(url_of(server, "/whoami", true)));
    REQUIRE(answer.has_value());
    CHECK(answer->status == 200);
    client.close_idle();
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}
