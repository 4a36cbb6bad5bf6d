// Messages to bytes (RFC 9112).
#pragma once

#include <string>
#include <string_view>

#include "skiff/http/message.hpp"

namespace skiff::http {

// How the body's end is told, and what becomes of the connection.
struct Framing {
  bool chunked = false;
  bool length_known = true;
  std::size_t length = 0;
  std::string_view connection;  // "", "close", "keep-alive" or "Upgrade"
};

// Status line and fields, with the empty line. `date_line` is whole or empty. Framing fields in
// `headers` are left out; line breaks in values become spaces.
std::string response_head(int status, const Headers& headers, const Framing& framing,
                          std::string_view date_line);
std::string request_head(std::string_view method, std::string_view target, const Headers& headers,
                         const Framing& framing);

// "1f4\r\n"
std::string chunk_head(std::size_t size);
constexpr std::string_view kChunkEnd = "\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7).
std::string http_date(WallTime time);

// Whether Accept-Encoding allows gzip (RFC 9110 section 12.5.3).
bool accepts_gzip(const Headers& headers) noexcept;
std::string gzip(const Buffers& body);

}  // namespace skiff::http
