// Bytes between servers and on disk: integers (LEB128), strings, checksums. Reading never trusts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skiff::raft {

// Finds damage, not malice.
std::uint64_t checksum64(std::string_view bytes, std::uint64_t seed = 0);

inline void put_fixed32(std::string& out, std::uint32_t v) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(v >> (8 * i)));
}
inline void put_fixed64(std::string& out, std::uint64_t v) {
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(v >> (8 * i)));
}
inline std::uint64_t get_fixed(const char* p, int bytes) {
  std::uint64_t v = 0;
  for (int i = 0; i < bytes; ++i) {
    v |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  }
  return v;
}
inline void put_number(std::string& out, std::uint64_t v) {
  for (; v >= 0x80; v >>= 7U) out.push_back(static_cast<char>(v | 0x80U));
  out.push_back(static_cast<char>(v));
}
// Small negative numbers stay small (zigzag).
inline void put_signed(std::string& out, std::int64_t v) {
  put_number(out, (static_cast<std::uint64_t>(v) << 1U) ^ static_cast<std::uint64_t>(v >> 63));
}
inline void put_bytes(std::string& out, std::string_view bytes) {
  put_number(out, bytes.size());
  out.append(bytes);
}

// After the first thing that is not there, everything reads as nothing and ok() is false.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  std::uint64_t number() {
    std::uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      v |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return v;
    }
    return fail();
  }
  std::int64_t signed_number() {
    const std::uint64_t v = number();
    return static_cast<std::int64_t>(v >> 1U) ^ -static_cast<std::int64_t>(v & 1U);
  }
  std::uint64_t fixed(int bytes) {
    if (rest_.size() < static_cast<std::size_t>(bytes)) return fail();
    const std::uint64_t v = get_fixed(rest_.data(), bytes);
    rest_.remove_prefix(static_cast<std::size_t>(bytes));
    return v;
  }
  std::string_view bytes() {
    const std::uint64_t size = number();
    if (size > rest_.size()) {
      fail();
      return {};
    }
    const std::string_view v = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return v;
  }
  // How many of something that takes at least one byte each.
  std::size_t count() {
    const std::uint64_t n = number();
    return n <= rest_.size() ? static_cast<std::size_t>(n) : static_cast<std::size_t>(fail());
  }
  std::uint64_t fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && rest_.empty(); }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace skiff::raft
