#include "skiff/http/message.hpp"

#include <zlib.h>

#include <catch2/catch_test_macros.hpp>

#include "write.hpp"

using namespace skiff;
using namespace skiff::http;

TEST_CASE("headers forget no case and keep order") {
  Headers h;
  h.add("Accept", "application/json");
  h.add("X", "1");
  h.add("x", "2");
  h.add("Connection", "keep-alive, Upgrade");
  CHECK(h.get("ACCEPT") == "application/json");
  CHECK(h.get("absent").empty());
  CHECK(h.all("X") == std::vector<std::string_view>{"1", "2"});
  CHECK(h.has_token("connection", "upgrade"));
  CHECK_FALSE(h.has_token("connection", "up"));
  h.set("X", "3");
  CHECK(h.all("x") == std::vector<std::string_view>{"3"});
  h.erase("x");
  CHECK_FALSE(h.has("X"));
}

TEST_CASE("percent encoding goes there and back") {
  CHECK(percent_encode("a b/c?d=é", "/") == "a%20b/c%3Fd%3D%C3%A9");
  CHECK(percent_decode("a%20b+c").value() == "a b+c");
  CHECK(percent_decode("a%20b+c", true).value() == "a b c");
  for (const char* bad : {"%", "%4", "%zz", "a%2"}) CHECK(percent_decode(bad).has_error());
  const auto query = Query::parse("a=1&b&&c=x%3Dy&a=2");
  REQUIRE(query.has_value());
  CHECK(query->to_string() == "a=1&b=&c=x%3Dy&a=2");
}

TEST_CASE("URLs are taken apart") {
  struct Row {
    std::string text;
    bool tls;
    std::string host;
    int port;
    std::string target;
    std::string authority;
  };
  const std::vector<Row> rows = {
      {"http://h", false, "h", 80, "/", "h"},
      {"https://10.0.0.1:6443/api?x=1#f", true, "10.0.0.1", 6443, "/api?x=1", "10.0.0.1:6443"},
      {"HTTPS://[::1]:443?q", true, "::1", 443, "/?q", "[::1]"},
      {"http://h:/", false, "h", 80, "/", "h"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto url = Url::parse(row.text);
    REQUIRE(url.has_value());
    CHECK(url->tls == row.tls);
    CHECK(url->host == row.host);
    CHECK(url->port == row.port);
    CHECK(url->target == row.target);
    CHECK(url->authority() == row.authority);
  }
  for (const char* bad : {"", "h", "ftp://h/", "http://", "http:///x", "http://h:0/", "http://h:x/",
                          "http://h:70000/", "http://u@h/", "http://[::1/", "http://h/a b",
                          "http://[::1]x/", "http://h/\r\nX: y"}) {
    CAPTURE(bad);
    CHECK(Url::parse(bad).has_error());
  }
}

TEST_CASE("a value cannot start a header of its own") {
  Headers h;
  h.add("X", "a\r\nInjected: 1");
  h.add("Content-Length", "999");
  Framing framing;
  framing.length = 3;
  const std::string head = response_head(200, h, framing, "");
  CHECK(head == "HTTP/1.1 200 OK\r\nX: a  Injected: 1\r\nContent-Length: 3\r\n\r\n");
}

TEST_CASE("dates and gzip") {
  CHECK(http_date(WallTime(std::chrono::seconds(784'111'777))) == "Sun, 06 Nov 1994 08:49:37 GMT");
  const std::vector<std::pair<const char*, bool>> rows = {
      {"gzip", true},         {"deflate, gzip;q=0.5", true},
      {"gzip;q=0", false},    {"gzip;q=0.0", false},
      {"identity", false},    {"GZIP", true},
      {"gzip; q=0.01", true}, {"", false},
  };
  for (const auto& [text, expected] : rows) {
    CAPTURE(text);
    Headers h;
    h.add("accept-encoding", text);
    CHECK(accepts_gzip(h) == expected);
  }
  Buffers pieces;
  std::string whole;
  for (int i = 0; i < 50'000; ++i) {
    std::string piece = "{\"item\":" + std::to_string(i * 7919) + "},";
    whole += piece;
    pieces.emplace_back(std::move(piece));
  }
  const std::string packed = gzip(pieces);
  CHECK(packed.size() < whole.size() / 2);
  std::string unpacked(whole.size() + 1, '\0');
  z_stream z{};
  REQUIRE(inflateInit2(&z, 15 + 16) == Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  z.avail_in = static_cast<uInt>(packed.size());
  z.next_out = reinterpret_cast<Bytef*>(unpacked.data());
  z.avail_out = static_cast<uInt>(unpacked.size());
  CHECK(inflate(&z, Z_FINISH) == Z_STREAM_END);
  unpacked.resize(z.total_out);
  inflateEnd(&z);
  CHECK(unpacked == whole);
}
