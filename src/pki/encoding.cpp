// Digests and text forms of bytes.
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "openssl.hpp"

namespace skiff::pki {
namespace {

constexpr char kStandard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kUrl[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string encode(std::string_view bytes, const char* alphabet) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : bytes) {
    bits = (bits << 8U) | static_cast<unsigned char>(c);
    held += 8;
    while (held >= 6) {
      held -= 6;
      out += alphabet[(bits >> static_cast<unsigned>(held)) & 63U];
    }
  }
  if (held > 0) out += alphabet[(bits << static_cast<unsigned>(6 - held)) & 63U];
  return out;
}

Result<std::string> decode(std::string_view text, const char* alphabet) {
  const Error refused{Code::bad_request, "not valid base64"};
  const std::string_view symbols(alphabet, 64);
  if (text.size() % 4 == 1) return refused;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::size_t value = symbols.find(c);
    if (value == std::string_view::npos) return refused;
    bits = (bits << 6U) | static_cast<std::uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>((bits >> static_cast<unsigned>(held)) & 255U);
    }
  }
  // Bits left over must be zero: one text for one value, or signed tokens would have twins.
  if ((bits & ((1U << static_cast<unsigned>(held)) - 1U)) != 0) return refused;
  return out;
}

}  // namespace

std::string sha256(std::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string to_hex(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kHex[byte >> 4U];
    out += kHex[byte & 15U];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) { return to_hex(sha256(bytes)); }

std::string base64url_encode(std::string_view bytes) { return encode(bytes, kUrl); }
Result<std::string> base64url_decode(std::string_view text) { return decode(text, kUrl); }

std::string base64_encode(std::string_view bytes) {
  std::string out = encode(bytes, kStandard);
  out.append((4 - out.size() % 4) % 4, '=');
  return out;
}

Result<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return Error{Code::bad_request, "not valid base64"};
  if (text.ends_with("==")) {
    text.remove_suffix(2);
  } else if (text.ends_with('=')) {
    text.remove_suffix(1);
  }
  return decode(text, kStandard);
}

bool constant_time_equal(std::string_view a, std::string_view b) noexcept {
  // The lengths of tokens are no secret.
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_token(Random& random, std::size_t bytes) {
  std::vector<std::uint8_t> raw(bytes);
  random.fill(raw);
  return to_hex({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

}  // namespace skiff::pki
