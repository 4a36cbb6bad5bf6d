// What HTTP carries (RFC 9110): methods, headers, requests, responses. Plain values, no I/O.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/base/clock.hpp"
#include "skiff/base/result.hpp"

namespace skiff::http {

enum class Method : std::uint8_t { get, head, post, put, patch, delete_, options, connect, other };

// "GET"; "OTHER" for Method::other.
std::string_view name_of(Method method) noexcept;
// Method::other for anything not listed above; methods are case-sensitive.
Method parse_method(std::string_view text) noexcept;
// "Not Found" for 404; "" when unknown.
std::string_view reason_of(int status) noexcept;

// Header fields in the order they came. Names compare without regard to case.
class Headers {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  // The first value, or "" when absent.
  std::string_view get(std::string_view name) const noexcept;
  const std::string* find(std::string_view name) const noexcept;  // null when absent
  bool has(std::string_view name) const noexcept { return find(name) != nullptr; }
  std::vector<std::string_view> all(std::string_view name) const;
  // Whether `token` stands in the comma-separated lists of all fields called `name`.
  bool has_token(std::string_view name, std::string_view token) const noexcept;

  void reserve(std::size_t fields) { fields_.reserve(fields); }
  void add(std::string name, std::string value) {
    fields_.push_back({std::move(name), std::move(value)});
  }
  void set(std::string_view name, std::string value);  // replaces every earlier one
  void erase(std::string_view name);

  auto begin() const noexcept { return fields_.begin(); }
  auto end() const noexcept { return fields_.end(); }
  std::size_t size() const noexcept { return fields_.size(); }
  bool empty() const noexcept { return fields_.empty(); }

 private:
  std::vector<Field> fields_;
};

// Bytes and whoever keeps them alive. Copies share.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::string text)  // NOLINT: a string is a buffer
      : Buffer(std::make_shared<const std::string>(std::move(text))) {}
  Buffer(std::shared_ptr<const std::string> text)  // NOLINT
      : owner_(text), bytes_(*text) {}
  Buffer(std::shared_ptr<const void> owner, std::string_view bytes) noexcept
      : owner_(std::move(owner)), bytes_(bytes) {}
  // Bytes that live as long as the program.
  static Buffer literal(std::string_view bytes) noexcept { return {nullptr, bytes}; }

  std::string_view bytes() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return bytes_.size(); }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view bytes_;
};

// Pieces of one body: a list of objects is the concatenation of their buffers, sent without a copy.
using Buffers = std::vector<Buffer>;
std::size_t total_size(const Buffers& buffers) noexcept;
std::string join(const Buffers& buffers);

// The query component, decoded, in order, repeated keys kept. "a" means "a=".
class Query {
 public:
  static Result<Query> parse(std::string_view text);  // without the '?'

  std::string_view get(std::string_view key) const noexcept;  // first value or ""
  const std::string* find(std::string_view key) const noexcept;
  bool has(std::string_view key) const noexcept { return find(key) != nullptr; }
  std::vector<std::string_view> all(std::string_view key) const;
  void add(std::string key, std::string value) {
    pairs_.emplace_back(std::move(key), std::move(value));
  }
  std::string to_string() const;  // percent-encoded, without the '?'

  auto begin() const noexcept { return pairs_.begin(); }
  auto end() const noexcept { return pairs_.end(); }
  bool empty() const noexcept { return pairs_.empty(); }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

// %XX to bytes (RFC 3986 section 2.1); `plus_is_space` for queries. Bad escapes are refused.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
// Everything but unreserved characters and those in `also_keep` becomes %XX.
std::string percent_encode(std::string_view text, std::string_view also_keep = "");

// A client certificate whose chain leads to the server's client CA and which was valid at the time
// of the handshake. Long-lived connections: compare `not_after` with the clock.
struct ClientCertificate {
  std::string common_name;
  std::vector<std::string> organizations;
  std::string der;
  WallTime not_after{};
};

// What all requests of one connection share.
struct ConnectionInfo {
  std::string peer_address;  // numeric
  std::uint16_t peer_port = 0;
  std::string local_address;
  std::uint16_t local_port = 0;
  std::string tls_version;  // "TLSv1.3"; "" for plain text
  std::string tls_cipher;
  std::optional<ClientCertificate> client_certificate;
  // Why a certificate that was offered is not in client_certificate; such clients may still
  // authenticate otherwise.
  std::string client_certificate_error;
};

struct Request {
  Method method = Method::get;
  std::string method_name;  // as sent
  std::string target;       // as sent: "/api/v1/pods?watch=1"
  std::string path;         // percent-decoded, without the query
  Query query;
  Headers headers;
  std::string body;
  int minor_version = 1;  // of HTTP/1
  std::shared_ptr<const ConnectionInfo> connection;
};

struct Response {
  int status = 200;
  // Content-Length, Transfer-Encoding, Connection and Date are the server's business.
  Headers headers;
  Buffers body;
  // Bodies over 128 KiB are compressed when the client accepts gzip; false for what is already
  // compressed.
  bool compressible = true;

  static Response make(int status, std::string_view content_type, Buffers body) {
    Response r;
    r.status = status;
    r.headers.reserve(4);
    r.headers.add("Content-Type", std::string(content_type));
    r.body = std::move(body);
    return r;
  }
  static Response text(int status, std::string body) {
    Buffers buffers;
    buffers.emplace_back(std::move(body));
    return make(status, "text/plain; charset=utf-8", std::move(buffers));
  }
};

// An absolute "http" or "https" URL taken apart.
struct Url {
  bool tls = false;
  std::string host;  // without the brackets of IPv6
  std::uint16_t port = 0;
  std::string target = "/";  // path and query, as they go on the wire

  static Result<Url> parse(std::string_view text);
  std::string authority() const;  // for Host: the port only where it is not the scheme's own
};

}  // namespace skiff::http
