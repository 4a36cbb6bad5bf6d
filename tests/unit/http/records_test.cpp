// TLS 1.3 as it is spoken after the handshake: against OpenSSL as the client, and record by record.
#include "tls_records.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "fixture.hpp"

using namespace skiff;
using namespace skiff::http;
using namespace skiff::http::test;

namespace {

using Got = TlsRecords::Got;
using Type = TlsRecords::Type;

struct Peer {
  explicit Peer(std::uint64_t records = 0, Suite suite = Suite::aes_128_gcm_sha256)
      : client(ciphers, suite, secret(2, suite), records, secret(1, suite), records),
        server(ciphers, suite, secret(1, suite), records, secret(2, suite), records) {}

  static Secret secret(unsigned char first, Suite suite) {
    Secret s;
    s.size = suite == Suite::aes_256_gcm_sha384 ? 48 : 32;
    s.bytes[0] = first;
    return s;
  }

  RecordCiphers ciphers;
  TlsRecords client;
  TlsRecords server;
};

// OpenSSL on the client's side of a connection whose bytes the test can see and change.
class SslClient {
 public:
  SslClient(Env env, std::uint16_t port)
      : raw_(env, port), context_(SSL_CTX_new(TLS_client_method())) {
    ssl_ = SSL_new(context_);
    SSL_set_connect_state(ssl_);
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in_, -1);
    SSL_set_bio(ssl_, in_, out_);
  }
  SslClient(const SslClient&) = delete;
  SslClient& operator=(const SslClient&) = delete;
  ~SslClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }

  SSL* ssl() { return ssl_; }
  RawClient& raw() { return raw_; }

  // What OpenSSL has to say.
  std::string outgoing() {
    std::string bytes(BIO_ctrl_pending(out_), '\0');
    BIO_read(out_, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  Task<void> flush() {
    std::string bytes = outgoing();
    if (!bytes.empty()) co_await raw_.send(std::move(bytes));
  }
  // Hands OpenSSL one more record; false when there is none.
  Task<bool> receive() {
    std::string record = co_await raw_.read(TlsRecords::kHeader);
    if (record.size() < TlsRecords::kHeader) co_return false;
    record += co_await raw_.read(TlsRecords::length(record) - record.size());
    BIO_write(in_, record.data(), static_cast<int>(record.size()));
    co_return true;
  }
  Task<bool> handshake() {
    for (;;) {
      const int done = SSL_do_handshake(ssl_);
      if (done != 1 && SSL_get_error(ssl_, done) != SSL_ERROR_WANT_READ) co_return false;
      co_await flush();
      if (done == 1) co_return true;
      const bool more = co_await receive();
      if (!more) co_return false;
    }
  }
  Task<void> write(std::string text) {
    SSL_write(ssl_, text.data(), static_cast<int>(text.size()));
    co_await flush();
  }
  // Until `count` bytes or the end, whose kind end() tells.
  Task<std::string> read(std::size_t count) {
    std::string all;
    while (all.size() < count) {
      char bytes[20000];
      const int n = SSL_read(ssl_, bytes, sizeof bytes);
      co_await flush();  // answers to key updates
      if (n > 0) {
        all.append(bytes, static_cast<std::size_t>(n));
        continue;
      }
      end_ = SSL_get_error(ssl_, n);
      if (end_ != SSL_ERROR_WANT_READ) break;
      const bool more = co_await receive();
      if (!more) break;
    }
    co_return all;
  }
  int end() const { return end_; }

 private:
  RawClient raw_;
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
  BIO* in_ = nullptr;
  BIO* out_ = nullptr;
  int end_ = 0;
};

std::string upload(std::string_view path, const std::string& body) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

std::string download(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n\r\n";
}

// A server with TLS, and what one client does to it.
template <class Script>
void with_server(Script script) {
  Loop loop;
  TestHandler handler(loop.env);
  LeafSpec spec;
  spec.common_name = "server";
  const Issued leaf = make_leaf(make_authority("ca"), spec);
  ServerOptions options = plain_options();
  options.tls.emplace();
  options.tls->identity = {leaf.certificate_pem, leaf.key_pem};
  Server server(loop.env, handler, options);
  auto body = [&]() -> Task<void> {
    {
      SslClient client(loop.env, server.port());
      co_await script(client);
    }
    const bool gone =
        co_await eventually(loop.clock, [&server] { return server.connections() == 0; });
    CHECK(gone);
    co_await server.stop(0s);
  };
  REQUIRE(server.listen().has_value());
  loop.run(body());
}

// One record; what is expected of it goes on in the test.
TlsRecords::Opened open_one(TlsRecords& by, std::string& wire) {
  REQUIRE(TlsRecords::length(wire) == wire.size());
  return by.open(wire);
}

}  // namespace

TEST_CASE("records: every suite, every size") {
  for (const Suite suite :
       {Suite::aes_128_gcm_sha256, Suite::aes_256_gcm_sha384, Suite::chacha20_sha256}) {
    Peer peer(0, suite);
    for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 16384U, 16385U, 50000U}) {
      CAPTURE(size);
      std::string text(size, 'x');
      std::string wire;
      peer.client.seal(text, wire);
      std::string got;
      for (std::span<char> rest(wire); !rest.empty();) {
        const std::size_t length = TlsRecords::length({rest.data(), rest.size()});
        REQUIRE(length <= rest.size());
        const auto opened = peer.server.open(rest.first(length));
        REQUIRE(opened.got == Got::data);
        got += opened.bytes;
        rest = rest.subspan(length);
      }
      CHECK(got == text);
    }
  }
}

TEST_CASE("records: what is not as it was sealed is refused") {
  std::string good;
  Peer().client.seal("hello", good);
  for (std::size_t i = 0; i < good.size(); ++i) {
    CAPTURE(i);
    Peer peer;
    std::string bad = good;
    bad[i] ^= 1;
    if (TlsRecords::length(bad) <= TlsRecords::kLongest) {
      CHECK(peer.server.open(bad).got == Got::broken);
    }
    std::string goodbye;
    peer.server.say_goodbye(goodbye);
    peer.server.say_goodbye(goodbye);  // once is enough
    if (!goodbye.empty()) CHECK(open_one(peer.client, goodbye).got == Got::broken);
  }
  Peer peer;
  std::string again = good;
  std::string once = good;
  CHECK(peer.server.open(once).got == Got::data);
  CHECK(peer.server.open(again).got == Got::broken);  // a replay
  Peer other;
  std::string own;
  other.server.seal("hello", own);
  CHECK(other.server.open(own).got == Got::broken);  // sent back
}

TEST_CASE("records: types, padding, alerts") {
  struct Row {
    Type type;
    std::string content;
    Got got;
    std::string bytes;
  };
  const auto type = [](int number) { return static_cast<Type>(number); };
  const std::string zeros(3, '\0');
  const std::vector<Row> rows = {
      {Type::data, "hello", Got::data, "hello"},
      {type(0), "hello\x17" + zeros, Got::data, "hello"},
      {type(0), zeros, Got::broken, ""},
      {type(20), "\x01", Got::broken, ""},
      {type(24), "hello", Got::broken, ""},
      {Type::alert, {"\1\0", 2}, Got::closed, ""},
      {Type::alert, {"\2\0", 2}, Got::closed, ""},
      {Type::alert, "\1\x5a", Got::nothing, ""},
      {Type::alert, "\2\x28", Got::broken, ""},
      {Type::alert, "\2", Got::broken, ""},
      {Type::handshake, {"\x18\0\0\1\0", 5}, Got::nothing, ""},
      {Type::handshake, {"\x18\0\0\1\1", 5}, Got::nothing, ""},
      {Type::handshake, {"\x18\0\0\1\2", 5}, Got::broken, ""},
      {Type::handshake, {"\x18\0\0\2\0", 5}, Got::broken, ""},
      {Type::handshake, {"\x18\0\0\1\0\0", 6}, Got::broken, ""},
      {Type::handshake, {"\x18\0\0\1", 4}, Got::broken, ""},
      {Type::handshake, "", Got::broken, ""},
      {Type::handshake, {"\1\0\0\0", 4}, Got::broken, ""},
  };
  for (const Row& row : rows) {
    CAPTURE(static_cast<int>(row.type), row.content);
    Peer peer;
    std::string wire;
    peer.client.seal_as(row.type, row.content, wire);
    const auto opened = open_one(peer.server, wire);
    CHECK(opened.got == row.got);
    CHECK(opened.bytes == row.bytes);
  }
}

TEST_CASE("records: keys wear out, and are renewed on request") {
  Peer peer(TlsRecords::kRecordsPerKey - 1);
  std::string wire;
  peer.client.seal("last", wire);
  CHECK(open_one(peer.server, wire).bytes == "last");
  wire.clear();
  peer.client.seal("first", wire);
  std::span<char> rest(wire);
  const std::size_t update = TlsRecords::length(wire);
  REQUIRE(update < wire.size());
  CHECK(peer.server.open(rest.first(update)).got == Got::nothing);
  CHECK(peer.server.open(rest.subspan(update)).bytes == "first");
  CHECK_FALSE(peer.server.owes_key());

  Peer asked;
  wire.clear();
  asked.client.seal_as(Type::handshake, {"\x18\0\0\1\1", 5}, wire);
  CHECK(open_one(asked.server, wire).got == Got::nothing);
  CHECK(asked.server.owes_key());
  wire.clear();
  asked.server.seal("new", wire);
  CHECK_FALSE(asked.server.owes_key());
  rest = wire;
  const std::size_t answer = TlsRecords::length(wire);
  REQUIRE(answer < wire.size());
  CHECK(asked.client.open(rest.first(answer)).got == Got::nothing);
  CHECK(asked.client.open(rest.subspan(answer)).bytes == "new");
}

TEST_CASE("OpenSSL as client: every suite, both ways, key updates, the end") {
  for (const char* suite : {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                            "TLS_CHACHA20_POLY1305_SHA256", "TLS 1.2", "short records"}) {
    CAPTURE(suite);
    auto script = [suite](SslClient& client) -> Task<void> {
      const std::string_view what = suite;
      if (what == "TLS 1.2") {
        SSL_set_max_proto_version(client.ssl(), TLS1_2_VERSION);
      } else if (what == "short records") {
        SSL_set_tlsext_max_fragment_length(client.ssl(), TLSEXT_max_fragment_length_1024);
      } else {
        SSL_set_ciphersuites(client.ssl(), suite);
      }
      const bool shaken = co_await client.handshake();
      REQUIRE(shaken);
      const std::string body(100'000, 'u');
      co_await client.write(upload("/echo", body));
      const std::string echo = co_await client.read(body.size());
      CHECK(echo.starts_with("HTTP/1.1 200 OK\r\n"));
      co_await client.read(echo.size() - body.size());
      for (int round = 0; round < 3; ++round) {
        if (what.starts_with("TLS_")) {
          const int both = round == 1 ? SSL_KEY_UPDATE_NOT_REQUESTED : SSL_KEY_UPDATE_REQUESTED;
          CHECK(SSL_key_update(client.ssl(), both) == 1);
        }
        co_await client.write(download("/hello"));
        const std::string hello = co_await client.read(100);
        CHECK(hello.ends_with("hello\n"));
      }
      SSL_shutdown(client.ssl());
      co_await client.flush();
      co_await client.read(1);
      CHECK(client.end() == SSL_ERROR_ZERO_RETURN);  // close_notify came back
    };
    with_server(script);
  }
}

TEST_CASE("OpenSSL as client: what comes with the last word of the handshake is not lost") {
  auto script = [](SslClient& client) -> Task<void> {
    std::string together;
    for (;;) {
      const int done = SSL_do_handshake(client.ssl());
      together = client.outgoing();
      if (done == 1) break;
      co_await client.raw().send(std::move(together));
      co_await client.receive();
    }
    const std::string request = download("/hello");
    SSL_write(client.ssl(), request.data(), static_cast<int>(request.size()));
    together += client.outgoing();
    co_await client.raw().send(std::move(together));
    const std::string hello = co_await client.read(100);
    CHECK(hello.ends_with("hello\n"));
  };
  with_server(script);
}

TEST_CASE("OpenSSL as client: records in pieces, many at once, through a small reader") {
  auto script = [](SslClient& client) -> Task<void> {
    const bool shaken = co_await client.handshake();
    REQUIRE(shaken);
    const std::string upgrade =
        "GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    co_await client.write(upgrade);
    const std::string head = co_await client.read(1);
    CHECK(head.starts_with("HTTP/1.1 101"));
    std::string text;
    for (int i = 0; i < 10'000; ++i) text += std::to_string(i) + ',';
    for (std::size_t at = 0; at < text.size(); at += 7000) {
      const std::string_view piece = std::string_view(text).substr(at, 7000);
      SSL_write(client.ssl(), piece.data(), static_cast<int>(piece.size()));
    }
    const std::string wire = client.outgoing();
    for (std::size_t at = 0; at < wire.size(); at += 9001) {
      co_await client.raw().send(wire.substr(at, 9001));
    }
    const std::string echo = co_await client.read(text.size());
    CHECK(echo == text);
  };
  with_server(script);
}

TEST_CASE("OpenSSL as client: it is told what was wrong with its records") {
  struct Row {
    std::string wire;  // empty: a genuine record with a flipped bit
    int reason;
  };
  const std::vector<Row> rows = {
      {"", SSL_R_SSLV3_ALERT_BAD_RECORD_MAC},
      {{"\x17\x03\x03\xff\xff", 5}, SSL_R_TLSV1_ALERT_RECORD_OVERFLOW},
      {{"\x15\x03\x03\x00\x02\x01\x00", 7}, SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE},
      {{"\x14\x03\x03\x00\x01\x01", 6}, SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE},
  };
  for (const Row& row : rows) {
    CAPTURE(row.reason);
    auto script = [&row](SslClient& client) -> Task<void> {
      const bool shaken = co_await client.handshake();
      REQUIRE(shaken);
      std::string wire = row.wire;
      if (wire.empty()) {
        SSL_write(client.ssl(), "GET", 3);
        wire = client.outgoing();
        wire.back() ^= 1;
      }
      co_await client.raw().send(std::move(wire));
      ERR_clear_error();
      co_await client.read(1);
      CHECK(client.end() == SSL_ERROR_SSL);
      CHECK(ERR_GET_REASON(ERR_peek_error()) == row.reason);
      ERR_clear_error();
    };
    with_server(script);
  }
}
