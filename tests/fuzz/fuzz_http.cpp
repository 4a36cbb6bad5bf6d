// HTTP/1.1 messages from strangers: whatever arrives, in whatever pieces, means the same.
#include <string>
#include <vector>

#include "fuzz.hpp"
#include "parser.hpp"
#include "tls_records.hpp"

using namespace skiff::http;

namespace {

// Feeds `text`, at most `piece` more bytes a time, as a connection would. The requests in it, as
// far as they are whole; when a broken one is found out may depend on the pieces.
std::vector<std::string> parse_requests(std::string_view text, std::size_t piece) {
  Limits limits;
  limits.header_bytes = 4096;
  limits.body_bytes = 8192;
  RequestParser parser(limits);
  std::vector<std::string> out;
  std::size_t from = 0;
  std::size_t shown = 0;
  while (true) {
    const ParseStep step = parser.feed(text.substr(from, shown - from));
    SKIFF_ASSERT(step.consumed <= shown - from, "a parser takes no more than it is shown");
    from += step.consumed;
    if (step.status == ParseStatus::failed) {
      const int status = parser.refusal().status;
      SKIFF_ASSERT(status >= 400 && status < 600, "a refusal has a status");
      SKIFF_ASSERT(!parser.refusal().message.empty(), "a refusal says why");
      return out;
    }
    if (step.status == ParseStatus::complete) {
      const Request r = parser.take();
      SKIFF_ASSERT(r.body.size() <= limits.body_bytes, "bodies are bounded");
      out.push_back(r.method_name + ' ' + r.target + '\n' + r.body);
      continue;
    }
    if (shown == text.size()) return out;
    shown = std::min(text.size(), shown + piece);
  }
}

void parse_response(std::string_view text, bool no_body, std::size_t piece) {
  ResponseParser parser(4096, no_body);
  std::size_t from = 0;
  for (std::size_t shown = 0; shown < text.size();) {
    shown = std::min(text.size(), shown + piece);
    const ParseStep step = parser.feed(text.substr(from, shown - from));
    SKIFF_ASSERT(step.consumed <= shown - from, "a parser takes no more than it is shown");
    from += step.consumed;
    if (step.status == ParseStatus::failed) {
      SKIFF_ASSERT(!parser.problem().empty(), "a broken answer is explained");
      return;
    }
    if (step.status == ParseStatus::complete) return;
  }
  (void)parser.finish();
}

// A client that knows its keys and says what it likes: every record is data, of the protocol's own,
// or the end; and one that was changed on the way is never taken for genuine.
void open_records(std::string_view text) {
  static RecordCiphers ciphers;
  Secret client;
  Secret server;
  client.size = server.size = 32;
  client.bytes[0] = 1;
  TlsRecords peer(ciphers, Suite::aes_128_gcm_sha256, server, 0, client, 0);
  TlsRecords own(ciphers, Suite::aes_128_gcm_sha256, client, 0, server, 0);
  std::string wire;
  while (!text.empty()) {
    const auto type = static_cast<TlsRecords::Type>(20 + static_cast<unsigned char>(text[0]) % 5);
    const std::string_view content = text.substr(1, static_cast<unsigned char>(text[0]) % 16);
    text.remove_prefix(1 + content.size());
    wire.clear();
    peer.seal_as(type, content, wire);
    if (content.size() == 15) {
      wire[static_cast<unsigned char>(content[0]) % wire.size()] ^= 1;
      SKIFF_ASSERT(own.open(wire).got == TlsRecords::Got::broken, "a changed record is found out");
      return;
    }
    const TlsRecords::Opened opened = own.open(wire);
    if (type == TlsRecords::Type::data) {
      SKIFF_ASSERT(opened.got == TlsRecords::Got::data && opened.bytes == content,
                   "what was sealed is opened");
    } else {
      SKIFF_ASSERT(opened.bytes.empty(), "only data is data");
    }
    if (opened.got == TlsRecords::Got::broken || opened.got == TlsRecords::Got::closed) return;
    // A KeyUpdate that was accepted: the peer moves on as well.
    if (type == TlsRecords::Type::handshake) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto whole = parse_requests(text, std::max<std::size_t>(size, 1));
  SKIFF_ASSERT(whole == parse_requests(text, 1), "how bytes arrive does not change what they mean");
  SKIFF_ASSERT(whole == parse_requests(text, 2 + size % 7),
               "how bytes arrive does not change what they mean");
  for (const std::size_t piece : {std::size_t{1}, 2 + size % 7, std::max<std::size_t>(size, 1)}) {
    parse_response(text, false, piece);
    parse_response(text, true, piece);
  }
  open_records(text);
  if (const auto decoded = percent_decode(text)) {
    SKIFF_ASSERT(*percent_decode(percent_encode(*decoded)) == *decoded, "encoding is undone");
  }
  if (const auto query = Query::parse(text)) {
    SKIFF_ASSERT(Query::parse(query->to_string()).has_value(), "a written query is read again");
  }
  if (const auto url = Url::parse(text)) {
    SKIFF_ASSERT(!url->host.empty() && url->target.starts_with('/'), "a URL names a host");
  }
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      "GET /api/v1/pods?watch=1&limit=5 HTTP/1.1\r\nHost: a:6443\r\nAccept: */*\r\n\r\n",
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      "PUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;n=v\r\nhello\r\n0\r\nT: 1\r\n\r\n",
      "PUT /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET /c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
      "GET http://a/b HTTP/1.0\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      "HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nnothing here",
      "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
      "https://user@[::1]:6443/a%20b?c=%2F+d#e",
      "labelSelector=a%3Db%2Cc%21%3Dd&limit=&continue",
  };
  return kSeeds;
}
