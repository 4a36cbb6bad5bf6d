#include "parser.hpp"

#include <catch2/catch_test_macros.hpp>

#include "skiff/base/random.hpp"

using namespace skiff;
using namespace skiff::http;

namespace {

constexpr std::string_view kHost = "Host: h\r\n";

Limits small_limits() {
  Limits limits;
  limits.header_bytes = 1000;
  limits.header_fields = 10;
  limits.body_bytes = 100;
  return limits;
}

// Feeds `text` in pieces of `step` bytes, as a connection would; 0 when complete, -1 when it wants
// more, else the status of the refusal.
int verdict(RequestParser& parser, std::string_view text, std::size_t step) {
  std::string held;
  for (std::size_t at = 0; at < text.size(); at += step) {
    held += text.substr(at, step);
    const ParseStep s = parser.feed(held);
    REQUIRE(s.consumed <= held.size());
    held.erase(0, s.consumed);
    if (s.status == ParseStatus::complete) return 0;
    if (s.status == ParseStatus::failed) return parser.refusal().status;
  }
  return -1;
}

}  // namespace

TEST_CASE("malformed and oversized requests are refused, however they arrive") {
  struct Row {
    std::string text;
    int status;
  };
  const std::string h(kHost);
  const std::vector<Row> rows = {
      {"GARBAGE\r\n\r\n", 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},                         // no Host
      {"GET / HTTP/1.1\r\n" + h + h + "\r\n", 400},            // two of them
      {"GET / HTTP/2.0\r\n" + h + "\r\n", 400},                //
      {"GET  / HTTP/1.1\r\n" + h + "\r\n", 400},               //
      {"GET /a b HTTP/1.1\r\n" + h + "\r\n", 400},             //
      {"GET /%zz HTTP/1.1\r\n" + h + "\r\n", 400},             //
      {"GET /?a=%4 HTTP/1.1\r\n" + h + "\r\n", 400},           //
      {"GET nowhere HTTP/1.1\r\n" + h + "\r\n", 400},          //
      {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},             // blank before the colon
      {"GET / HTTP/1.1\r\n" + h + "bad header\r\n\r\n", 400},  //
      {"GET / HTTP/1.1\r\n" + h + "X: a\x01\r\n\r\n", 400},    //
      {"GET / HTTP/1.1\n" + h + "\n\r\n\r\n", 400},            // bare line feeds
      // Request smuggling (RFC 9112 section 11.2).
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: 3, 4\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: +1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: 0x1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: xchunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, identity\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx",
       501},
      {"POST / HTTP/1.1\r\n" + h +
           "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"POST / HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n", 400},
      // Bad chunks.
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + h +
           "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\nabc\r\n",
       400},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3" +
           std::string(20'000, ' ') + "\r\n",
       400},
      // Too large.
      {"GET /" + std::string(2000, 'a') + " HTTP/1.1\r\n" + h + "\r\n", 431},
      {"GET / HTTP/1.1\r\n" + h + "X: " + std::string(2000, 'a') + "\r\n\r\n", 431},
      {"GET / HTTP/1.1\r\n" + h + std::string(800, 'a'), -1},
      {"POST / HTTP/1.1\r\n" + h + "Content-Length: 101\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nff\r\n", 413},
      {"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n60\r\n" +
           std::string(0x60, 'a') + "\r\n60\r\n",
       413},
  };
  const Limits limits = small_limits();
  for (const Row& row : rows) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, row.text.size()}) {
      RequestParser parser(limits);
      CAPTURE(row.text.substr(0, 120), step);
      CHECK(verdict(parser, row.text, step) == row.status);
    }
  }
  std::string fields;
  for (int i = 0; i < 20; ++i) fields += "X: a\r\n";
  RequestParser parser(limits);
  CHECK(verdict(parser, "GET / HTTP/1.1\r\n" + fields + h + "\r\n", 4096) == 431);
  // Bodies that are all framing: a chunk for every byte is still let pass, long extensions are not.
  Limits wide;
  std::string bytes = "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n";
  std::string extended = bytes;
  for (int i = 0; i < 20'000; ++i) bytes += "1\r\na\r\n";
  for (int i = 0; i < 200; ++i) extended += "1;x=" + std::string(1000, 'y') + "\r\na\r\n";
  RequestParser ones(wide);
  CHECK(verdict(ones, bytes + "0\r\n\r\n", 4096) == 0);
  RequestParser padded(wide);
  CHECK(verdict(padded, extended + "0\r\n\r\n", 4096) == 400);
}

TEST_CASE("good requests come out whole, one after the other") {
  const std::string text =
      "POST /api/v1/name%20spaces/a%2Fb?watch=1&x=a+b%26&x=2&flag HTTP/1.1\r\nHost: h\r\n"
      "accept: */*\r\nContent-Length: 5\r\n\r\nhello"
      "PATCH http://host:6443/p?q=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
      "Connection: close\r\n\r\n3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Remote-User: root\r\n\r\n"
      "FROB * HTTP/1.0\r\n\r\n";
  for (const std::size_t step : {std::size_t{1}, std::size_t{10}, text.size()}) {
    CAPTURE(step);
    RequestParser parser{Limits{}};
    std::string held;
    std::vector<Request> requests;
    std::vector<bool> keep_alive;
    int refused = 0;
    for (std::size_t at = 0; at < text.size() && refused == 0; at += step) {
      held += text.substr(at, step);
      while (!held.empty()) {
        const ParseStep s = parser.feed(held);
        held.erase(0, s.consumed);
        if (s.status == ParseStatus::failed) refused = parser.refusal().status;
        if (s.status != ParseStatus::complete) break;
        keep_alive.push_back(parser.keep_alive());
        requests.push_back(parser.take());
      }
    }
    REQUIRE(requests.size() == 2);
    CHECK(refused == 400);  // "*" is for OPTIONS only
    CHECK(requests[0].method == Method::post);
    CHECK(requests[0].path == "/api/v1/name spaces/a/b");
    CHECK(requests[0].query.get("watch") == "1");
    CHECK(requests[0].query.all("x") == std::vector<std::string_view>{"a b&", "2"});
    CHECK(requests[0].query.has("flag"));
    CHECK(requests[0].headers.get("Accept") == "*/*");
    CHECK(requests[0].body == "hello");
    CHECK(keep_alive[0]);
    CHECK(requests[1].path == "/p");
    CHECK(requests[1].body == "abcdefg");
    CHECK_FALSE(requests[1].headers.has("X-Remote-User"));  // a trailer is no header
    CHECK_FALSE(keep_alive[1]);
  }
}

TEST_CASE("random damage never gets past the parser's bounds") {
  SeededRandom random(11);
  const std::string good =
      "PUT /api/v1/pods?x=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
      "Expect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n";
  const Limits limits = small_limits();
  int complete = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (std::uint64_t n = random.below(4); n > 0; --n) {
      const std::size_t at = random.below(text.size());
      switch (random.below(4)) {
        case 0:
          text[at] = static_cast<char>(random.next());
          break;
        case 1:
          text.erase(at, 1 + random.below(5));
          break;
        case 2:
          text.insert(at, text.substr(random.below(text.size()), random.below(20)));
          break;
        default:
          text.insert(at, 1, "\r\n :;,0"[random.below(7)]);
          break;
      }
      if (text.empty()) text = "x";
    }
    RequestParser parser(limits);
    const int result = verdict(parser, text, 1 + random.below(40));
    if (result == 0) {
      ++complete;
      const Request request = parser.take();
      CHECK(request.body.size() <= limits.body_bytes);
    }
  }
  CHECK(complete > 1000);
}

TEST_CASE("answers: lengths, chunks, the end of the connection") {
  struct Row {
    std::string text;
    bool ends;  // the peer closes after it
    int status;
    std::string body;
    bool complete;
    bool keep_alive;
  };
  const std::vector<Row> rows = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, 200, "hi", true, true},
      {"HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false, 200,
       "hi", true, true},
      {"HTTP/1.1 200 OK\r\n\r\nto the end", true, 200, "to the end", true, false},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false, 200, "x", true,
       false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", true, 200, "hi", false, false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", true, 200, "hi", false,
       false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", false, 200, "",
       false, false},
      {"SSH-2.0-OpenSSH\r\n", false, 0, "", false, false},
      {"", true, 0, "", false, false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    ResponseParser parser(4096, false);
    ParseStatus status = ParseStatus::need_more;
    if (!row.text.empty()) status = parser.feed(row.text).status;
    if (status == ParseStatus::need_more && row.ends) status = parser.finish();
    CHECK((status == ParseStatus::complete) == row.complete);
    CHECK(parser.status() == row.status);
    CHECK(parser.body() == row.body);
    if (row.complete) CHECK(parser.keep_alive() == row.keep_alive);
    if (!row.complete) CHECK_FALSE(parser.problem().empty());
  }
}
