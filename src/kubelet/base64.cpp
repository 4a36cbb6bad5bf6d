#include "base64.hpp"

#include <cstdint>

namespace skiff::kubelet {

std::string decode_base64(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int v = -1;
    if (c >= 'A' && c <= 'Z') v = c - 'A';
    if (c >= 'a' && c <= 'z') v = c - 'a' + 26;
    if (c >= '0' && c <= '9') v = c - '0' + 52;
    if (c == '+' || c == '-') v = 62;
    if (c == '/' || c == '_') v = 63;
    if (v < 0) continue;
    bits = (bits << 6U) | static_cast<std::uint32_t>(v);
    if (++count == 4) {
      out +=
          {static_cast<char>(bits >> 16U), static_cast<char>(bits >> 8U), static_cast<char>(bits)};
      bits = 0;
      count = 0;
    }
  }
  if (count == 2) out += static_cast<char>(bits >> 4U);
  if (count == 3) out += {static_cast<char>(bits >> 10U), static_cast<char>(bits >> 2U)};
  return out;
}

}  // namespace skiff::kubelet
