// Bytes to messages (RFC 9112). Beast's grammar behind a small face, with what it leaves open
// closed: total header size, framing overhead, transfer codings, Host, request targets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "skiff/http/message.hpp"
#include "skiff/http/server.hpp"

namespace skiff::http {

enum class ParseStatus : std::uint8_t { need_more, complete, failed };

struct ParseStep {
  std::size_t consumed = 0;  // bytes the caller drops; the rest is shown again with more behind it
  ParseStatus status = ParseStatus::need_more;
};

class RequestParser {
 public:
  explicit RequestParser(const Limits& limits);
  ~RequestParser();

  ParseStep feed(std::string_view input);
  bool header_done() const noexcept;
  bool body_started() const noexcept;
  // After the header: the client waits for "100 Continue" before it sends the body.
  bool expects_continue() const noexcept;
  bool keep_alive() const noexcept;  // what the client wishes
  Request take();                    // once complete; leaves the parser ready for the next request
  const Refusal& refusal() const noexcept;  // once failed

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class ResponseParser {
 public:
  // `no_body`: the answer to HEAD.
  ResponseParser(std::size_t max_header_bytes, bool no_body);
  ~ResponseParser();

  ParseStep feed(std::string_view input);
  // The peer closed: the end of a body without a length, or of a broken message.
  ParseStatus finish();
  bool header_done() const noexcept;
  bool keep_alive() const noexcept;
  int status() const noexcept;
  const Headers& headers() const noexcept;
  Headers take_headers();
  std::string& body() noexcept;                 // what has been parsed and not been taken away yet
  const std::string& problem() const noexcept;  // once failed

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skiff::http
