#include "parser.hpp"

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "text.hpp"

namespace skiff::http {
namespace {

namespace beast = boost::beast::http;
using boost::beast::string_view;
using ErrorCode = boost::beast::error_code;

std::string_view std_view(string_view text) noexcept { return {text.data(), text.size()}; }

// A refused message stops Beast with this code; the reason stands in `refusal`.
ErrorCode stop() { return beast::make_error_code(beast::error::bad_value); }

// Bodies grow as they arrive: a length that is only announced must not cost memory.
constexpr std::size_t kReserve = 64 * 1024;
// Chunk headers, extensions and trailers that a body may carry beside itself.
constexpr std::size_t kFramingAllowance = 64 * 1024;
constexpr std::size_t kMaxChunkHeader = 16 * 1024;

// The shortest end of a chunked body is "0" and two line ends. Shown less than that twice, Beast's
// parser fails an assertion of its own: what may become such an end waits here.
constexpr std::size_t kShortestChunkEnd = 5;

template <class Message>
bool too_short(const Message& m, std::string_view input) {
  return m.is_header_done() && !m.is_done() && m.chunked() && input.starts_with('0') &&
         input.size() < kShortestChunkEnd;
}

Refusal refusal_of(const ErrorCode& ec) {
  if (ec == beast::error::header_limit) return {431, "the request header is too large"};
  if (ec == beast::error::body_limit) return {413, "Request entity too large: limit exceeded"};
  if (ec == beast::error::bad_content_length || ec == beast::error::multiple_content_length ||
      ec == beast::error::bad_transfer_encoding) {
    return {400, "the request's Content-Length and Transfer-Encoding are wrong or contradict"};
  }
  if (ec == beast::error::bad_chunk || ec == beast::error::bad_chunk_extension) {
    return {400, "the chunked request body is malformed"};
  }
  return {400, "malformed HTTP request: " + ec.message()};
}

class RequestMessage final : public beast::basic_parser<true> {
 public:
  explicit RequestMessage(const Limits& limits) : limits_(limits) {
    eager(true);
    header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    body_limit(limits.body_bytes);
  }

  Request request;
  Refusal refusal{0, ""};
  std::size_t header_bytes = 0;
  std::size_t body_section_bytes = 0;  // with framing
  bool expects_continue = false;

 private:
  void refuse(int status, std::string message, ErrorCode& ec) {
    refusal = {status, std::move(message)};
    ec = stop();
  }

  void on_request_impl(beast::verb /*verb*/, string_view method, string_view target, int version,
                       ErrorCode& /*ec*/) override {
    request.method = http::parse_method(std_view(method));
    request.method_name = std_view(method);
    request.target = std_view(target);
    request.minor_version = version - 10;
  }

  void on_field_impl(beast::field /*field*/, string_view name, string_view value,
                     ErrorCode& ec) override {
    // Trailers must not pass for header fields (RFC 9110 section 6.5.1): they are dropped.
    if (header_complete_) return;
    if (request.headers.size() >= limits_.header_fields) {
      return refuse(431, "the request has too many header fields", ec);
    }
    request.headers.add(std::string(std_view(name)), std::string(std_view(value)));
  }

  void on_header_impl(ErrorCode& ec) override {
    header_complete_ = true;
    check_framing(ec);
    if (!ec) check_host(ec);
    if (!ec) split_target(ec);
    if (request.minor_version > 0) {
      expects_continue = iequals(request.headers.get("Expect"), "100-continue");
    }
  }

  void check_framing(ErrorCode& ec) {
    const auto codings = request.headers.all("Transfer-Encoding");
    if (codings.empty()) return;
    if (codings.size() > 1 || request.minor_version == 0) {
      return refuse(400, "the request has more than one Transfer-Encoding, or has it in HTTP/1.0",
                    ec);
    }
    if (!iequals(codings.front(), "chunked")) {
      return refuse(501, "only the transfer encoding \"chunked\" is known", ec);
    }
  }

  void check_host(ErrorCode& ec) {
    const std::size_t hosts = request.headers.all("Host").size();
    if (hosts > 1 || (hosts == 0 && request.minor_version > 0)) {
      refuse(400, "the request must have one Host header", ec);
    }
  }

  // RFC 9112 section 3.2: origin-form, absolute-form, "*" for OPTIONS, host:port for CONNECT.
  void split_target(ErrorCode& ec) {
    std::string_view rest = request.target;
    if (!rest.starts_with('/')) {
      if (request.method == Method::connect || (rest == "*" && request.method == Method::options)) {
        request.path = rest;
        return;
      }
      const std::size_t scheme = rest.find("://");
      if (scheme == std::string_view::npos) return refuse(400, "the request target is no path", ec);
      rest.remove_prefix(scheme + 3);
      rest.remove_prefix(std::min(rest.find_first_of("/?"), rest.size()));
    }
    const std::size_t question = std::min(rest.find('?'), rest.size());
    auto path = percent_decode(rest.substr(0, question));
    if (!path) return refuse(400, path.error().message, ec);
    request.path = path->empty() ? "/" : std::move(*path);
    if (question == rest.size()) return;
    auto query = Query::parse(rest.substr(question + 1));
    if (!query) return refuse(400, query.error().message, ec);
    request.query = std::move(*query);
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode& /*ec*/) override {
    request.body.reserve(std::min<std::size_t>(length.value_or(0), kReserve));
  }
  std::size_t on_body_impl(string_view body, ErrorCode& /*ec*/) override {
    request.body += std_view(body);
    return body.size();
  }
  std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, string_view body,
                                 ErrorCode& /*ec*/) override {
    request.body += std_view(body);
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t /*size*/, string_view /*extensions*/,
                            ErrorCode& /*ec*/) override {}
  void on_response_impl(int /*code*/, string_view /*reason*/, int /*version*/,
                        ErrorCode& /*ec*/) override {}
  void on_finish_impl(ErrorCode& /*ec*/) override {}

  const Limits& limits_;
  bool header_complete_ = false;
};

class ResponseMessage final : public beast::basic_parser<false> {
 public:
  ResponseMessage(std::size_t max_header_bytes, bool no_body) {
    eager(true);
    skip(no_body);
    header_limit(static_cast<std::uint32_t>(max_header_bytes));
    body_limit(boost::none);
  }
  int code = 0;
  Headers headers;
  std::string body;

 private:
  void on_response_impl(int status, string_view /*reason*/, int /*version*/,
                        ErrorCode& /*ec*/) override {
    code = status;
  }
  void on_field_impl(beast::field /*field*/, string_view name, string_view value,
                     ErrorCode& /*ec*/) override {
    if (!header_complete_) {
      headers.add(std::string(std_view(name)), std::string(std_view(value)));
    }
  }
  void on_header_impl(ErrorCode& ec) override {
    header_complete_ = true;
    const auto codings = headers.all("Transfer-Encoding");
    if (!codings.empty() && (codings.size() > 1 || !iequals(codings.front(), "chunked"))) {
      ec = beast::make_error_code(beast::error::bad_transfer_encoding);
    }
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode& /*ec*/) override {
    body.reserve(std::min<std::size_t>(length.value_or(0), kReserve));
  }
  std::size_t on_body_impl(string_view bytes, ErrorCode& /*ec*/) override {
    body += std_view(bytes);
    return bytes.size();
  }
  std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, string_view bytes,
                                 ErrorCode& /*ec*/) override {
    body += std_view(bytes);
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t /*size*/, string_view /*extensions*/,
                            ErrorCode& /*ec*/) override {}
  void on_request_impl(beast::verb /*verb*/, string_view /*method*/, string_view /*target*/,
                       int /*version*/, ErrorCode& /*ec*/) override {}
  void on_finish_impl(ErrorCode& /*ec*/) override {}

  bool header_complete_ = false;
};

}  // namespace

struct RequestParser::Impl {
  explicit Impl(const Limits& l) : limits(l) { message.emplace(limits); }
  Limits limits;
  std::optional<RequestMessage> message;  // Beast's parsers serve one message each

  ParseStep fail(std::size_t consumed, Refusal refusal) {
    message->refusal = std::move(refusal);
    return {consumed, ParseStatus::failed};
  }
};

RequestParser::RequestParser(const Limits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

ParseStep RequestParser::feed(std::string_view input) {
  RequestMessage& m = *impl_->message;
  if (too_short(m, input)) return {0, ParseStatus::need_more};
  const bool in_header = !m.is_header_done();
  const std::size_t body_before = m.request.body.size();
  ErrorCode ec;
  const std::size_t used = m.put(boost::asio::const_buffer(input.data(), input.size()), ec);
  const std::size_t left = input.size() - used;
  if (ec && ec != beast::error::need_more) {
    return impl_->fail(used, m.refusal.status != 0 ? m.refusal : refusal_of(ec));
  }
  const std::size_t body_grown = m.request.body.size() - body_before;
  if (in_header) m.header_bytes += used - std::min(used, body_grown);
  if (!m.is_header_done()) {
    // Beast's own limit counts only the field it is reading.
    if (m.header_bytes + left > impl_->limits.header_bytes) {
      return impl_->fail(used, {431, "the request header is too large"});
    }
    return {used, ParseStatus::need_more};
  }
  if (!in_header) m.body_section_bytes += used;
  if (m.body_section_bytes > kFramingAllowance + 9 * m.request.body.size() ||
      (ec && left > kMaxChunkHeader)) {
    return impl_->fail(used, {400, "the chunked request body is mostly framing"});
  }
  return {used, m.is_done() ? ParseStatus::complete : ParseStatus::need_more};
}

bool RequestParser::header_done() const noexcept { return impl_->message->is_header_done(); }
bool RequestParser::body_started() const noexcept { return !impl_->message->request.body.empty(); }
bool RequestParser::expects_continue() const noexcept { return impl_->message->expects_continue; }
bool RequestParser::keep_alive() const noexcept { return impl_->message->keep_alive(); }
const Refusal& RequestParser::refusal() const noexcept { return impl_->message->refusal; }

Request RequestParser::take() {
  Request request = std::move(impl_->message->request);
  impl_->message.emplace(impl_->limits);
  return request;
}

struct ResponseParser::Impl {
  Impl(std::size_t max_header, bool no_body)
      : max_header_bytes(max_header), message(max_header, no_body) {}
  std::size_t max_header_bytes;
  std::size_t header_bytes = 0;
  std::string problem;
  ResponseMessage message;
};

ResponseParser::ResponseParser(std::size_t max_header_bytes, bool no_body)
    : impl_(std::make_unique<Impl>(max_header_bytes, no_body)) {}
ResponseParser::~ResponseParser() = default;

ParseStep ResponseParser::feed(std::string_view input) {
  ResponseMessage& m = impl_->message;
  if (too_short(m, input)) return {0, ParseStatus::need_more};
  ErrorCode ec;
  const std::size_t used = m.put(boost::asio::const_buffer(input.data(), input.size()), ec);
  if (ec && ec != beast::error::need_more) {
    impl_->problem = "the answer is not HTTP: " + ec.message();
    return {used, ParseStatus::failed};
  }
  if (!m.is_header_done()) {
    impl_->header_bytes += used;
    if (impl_->header_bytes + (input.size() - used) > impl_->max_header_bytes) {
      impl_->problem = "the answer's header is too large";
      return {used, ParseStatus::failed};
    }
  } else if (ec && input.size() - used > kMaxChunkHeader) {
    impl_->problem = "the answer's chunked body is malformed";
    return {used, ParseStatus::failed};
  }
  return {used, m.is_done() ? ParseStatus::complete : ParseStatus::need_more};
}

ParseStatus ResponseParser::finish() {
  ResponseMessage& m = impl_->message;
  ErrorCode ec;
  if (m.is_done()) return ParseStatus::complete;
  if (m.got_some()) m.put_eof(ec);
  if (!m.got_some() || ec) {
    impl_->problem = m.got_some() ? "the server closed the connection in the middle of its answer"
                                  : "the server closed the connection without an answer";
    return ParseStatus::failed;
  }
  return ParseStatus::complete;
}

bool ResponseParser::header_done() const noexcept { return impl_->message.is_header_done(); }
bool ResponseParser::keep_alive() const noexcept { return impl_->message.keep_alive(); }
int ResponseParser::status() const noexcept { return impl_->message.code; }
const Headers& ResponseParser::headers() const noexcept { return impl_->message.headers; }
Headers ResponseParser::take_headers() { return std::move(impl_->message.headers); }
std::string& ResponseParser::body() noexcept { return impl_->message.body; }
const std::string& ResponseParser::problem() const noexcept { return impl_->problem; }

}  // namespace skiff::http
