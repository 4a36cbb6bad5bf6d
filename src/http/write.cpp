#include "write.hpp"

#include <zlib.h>

#include "text.hpp"

namespace skiff::http {
namespace {

// The level kube-apiserver uses: the wire gets several times shorter for little time.
constexpr int kGzipLevel = 1;

bool is_framing(std::string_view name) noexcept {
  return iequals(name, "Content-Length") || iequals(name, "Transfer-Encoding") ||
         iequals(name, "Connection");
}

// A line break would let a value start a header field of its own.
void append_safely(std::string& out, std::string_view text) {
  for (const char c : text) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
}

void append_fields(std::string& out, const Headers& headers, const Framing& framing) {
  for (const Headers::Field& f : headers) {
    if (is_framing(f.name)) continue;
    append_safely(out, f.name);
    out += ": ";
    append_safely(out, f.value);
    out += "\r\n";
  }
  if (framing.chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (framing.length_known) {
    out += "Content-Length: ";
    out += std::to_string(framing.length);
    out += "\r\n";
  }
  if (!framing.connection.empty()) {
    out += "Connection: ";
    out += framing.connection;
    out += "\r\n";
  }
  out += "\r\n";
}

}  // namespace

std::string response_head(int status, const Headers& headers, const Framing& framing,
                          std::string_view date_line) {
  std::string out;
  out.reserve(256);
  out += "HTTP/1.1 ";
  out += std::to_string(status);
  out += ' ';
  out += reason_of(status);
  out += "\r\n";
  out += date_line;
  append_fields(out, headers, framing);
  return out;
}

std::string request_head(std::string_view method, std::string_view target, const Headers& headers,
                         const Framing& framing) {
  std::string out;
  out.reserve(256);
  out += method;
  out += ' ';
  out += target;
  out += " HTTP/1.1\r\n";
  append_fields(out, headers, framing);
  return out;
}

std::string chunk_head(std::size_t size) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, size, 16).ptr;
  std::string out(digits, end);
  out += "\r\n";
  return out;
}

std::string http_date(WallTime time) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  char text[64];
  const int n = std::snprintf(
      text, sizeof text, "%s, %02u %s %04d %02d:%02d:%02d GMT",
      kDays[std::chrono::weekday(day).c_encoding()], static_cast<unsigned>(date.day()),
      kMonths[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
      static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
      static_cast<int>(clock.seconds().count()));
  return {text, static_cast<std::size_t>(n)};
}

bool accepts_gzip(const Headers& headers) noexcept {
  for (const Headers::Field& f : headers) {
    if (!iequals(f.name, "Accept-Encoding")) continue;
    std::string_view rest = f.value;
    while (!rest.empty()) {
      std::string_view weight = next_part(rest, ',');
      if (!iequals(trim(next_part(weight, ';')), "gzip")) continue;
      weight = trim(weight);
      // "q=0", "q=0.0" and so on refuse the coding.
      const bool refused = (weight.starts_with("q=0") || weight.starts_with("Q=0")) &&
                           weight.find_first_of("123456789") == std::string_view::npos;
      return !refused;
    }
  }
  return false;
}

std::string gzip(const Buffers& body) {
  z_stream z{};
  constexpr int kGzipWindow = 15 + 16;  // largest window, gzip wrapping
  SKIFF_ASSERT(deflateInit2(&z, kGzipLevel, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) == Z_OK,
               "zlib does not start");
  std::string out(total_size(body) / 4 + 4096, '\0');
  std::size_t used = 0;
  const auto deflate_all = [&](int flush) {
    for (;;) {
      if (used == out.size()) out.resize(out.size() * 2);
      const std::size_t room = std::min<std::size_t>(out.size() - used, UINT32_MAX);
      z.next_out = reinterpret_cast<Bytef*>(out.data() + used);
      z.avail_out = static_cast<uInt>(room);
      const int state = deflate(&z, flush);
      used += room - z.avail_out;
      if (flush == Z_FINISH ? state == Z_STREAM_END : z.avail_in == 0 && z.avail_out > 0) return;
    }
  };
  for (const Buffer& b : body) {
    std::string_view rest = b.bytes();
    while (!rest.empty()) {
      const std::string_view piece = rest.substr(0, UINT32_MAX);
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));  // NOLINT: only read
      z.avail_in = static_cast<uInt>(piece.size());
      deflate_all(Z_NO_FLUSH);
      rest.remove_prefix(piece.size());
    }
  }
  deflate_all(Z_FINISH);
  deflateEnd(&z);
  out.resize(used);
  return out;
}

}  // namespace skiff::http
