// Characters as JSON sees them: shared by the reader and the writer.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace skiff::api {

// The first byte at or after `p` that is not plain in a string: a quote, a backslash, a control
// character or (to be checked as UTF-8) one above 127. Eight bytes at a time.
inline const char* skip_plain(const char* p, const char* end) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101ULL;
  constexpr std::uint64_t kHigh = 0x8080808080808080ULL;
  static_assert(std::endian::native == std::endian::little);
  while (end - p >= 8) {
    std::uint64_t w = 0;
    std::memcpy(&w, p, 8);
    const std::uint64_t quote = w ^ (kOnes * '"');
    const std::uint64_t slash = w ^ (kOnes * '\\');
    // Exact up to the first match, which is all that is asked.
    const std::uint64_t hit =
        (((w - kOnes * 0x20) & ~w) | w | ((quote - kOnes) & ~quote) | ((slash - kOnes) & ~slash)) &
        kHigh;
    if (hit != 0) return p + std::countr_zero(hit) / 8;
    p += 8;
  }
  while (p != end) {
    const auto c = static_cast<unsigned char>(*p);
    if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') break;
    ++p;
  }
  return p;
}

// Bytes of the well-formed UTF-8 sequence at `p` (RFC 3629), or 0.
inline std::size_t utf8_length(const char* p, const char* end) noexcept {
  const auto at = [p](int i) { return static_cast<unsigned char>(p[i]); };
  const auto tail = [&at](int i) { return (at(i) & 0xC0U) == 0x80; };
  const auto room = end - p;
  if (room <= 0) return 0;
  const unsigned c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c < 0xE0) return room >= 2 && tail(1) ? 2 : 0;
  if (c >= 0xE0 && c < 0xF0) {
    if (room < 3 || !tail(1) || !tail(2)) return 0;
    if ((c == 0xE0 && at(1) < 0xA0) || (c == 0xED && at(1) >= 0xA0)) return 0;
    return 3;
  }
  if (c >= 0xF0 && c < 0xF5) {
    if (room < 4 || !tail(1) || !tail(2) || !tail(3)) return 0;
    if ((c == 0xF0 && at(1) < 0x90) || (c == 0xF4 && at(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

inline void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0U | c >> 6U);
    out += static_cast<char>(0x80U | (c & 0x3FU));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0U | c >> 12U);
    out += static_cast<char>(0x80U | (c >> 6U & 0x3FU));
    out += static_cast<char>(0x80U | (c & 0x3FU));
  } else {
    out += static_cast<char>(0xF0U | c >> 18U);
    out += static_cast<char>(0x80U | (c >> 12U & 0x3FU));
    out += static_cast<char>(0x80U | (c >> 6U & 0x3FU));
    out += static_cast<char>(0x80U | (c & 0x3FU));
  }
}

// A byte in single quotes as Go's errors show it: 'x', '\n', '\x00', '\''.
std::string quote_byte(char byte);

// A double as Go's encoding/json writes it: the shortest text that reads back the same, exponents
// only below 1e-6 and from 1e21. NaN and infinities have no JSON: `null`. At most 32 characters.
char* write_double(char* out, double v) noexcept;

}  // namespace skiff::api
