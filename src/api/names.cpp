// Interned member names: a table made at compile time, so that it needs no lock and no start.
#include <array>
#include <cstring>

#include "name_list.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kSlots = 4096;
constexpr std::size_t kPoolSize = sizeof(kNamePool) - 1;

constexpr std::uint64_t load(const char* p, std::size_t n) {
  std::uint64_t word = 0;
  if (std::is_constant_evaluated()) {
    for (std::size_t i = 0; i < n; ++i) {
      word |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
    }
  } else {
    std::memcpy(&word, p, n);
  }
  return word;
}

constexpr std::size_t slot_of(std::string_view s) {
  const std::size_t n = s.size();
  const char* p = s.data();
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  if (n >= 8) {
    a = load(p, 8);
    b = load(p + n - 8, 8);
  } else if (n >= 4) {
    a = load(p, 4);
    b = load(p + n - 4, 4);
  } else {
    a = load(p, 1);
    b = load(p + n / 2, 1) << 8U | load(p + n - 1, 1) << 16U;
  }
  std::uint64_t h = (a + n) * 0x9E3779B97F4A7C15ULL;
  h = (h ^ (h >> 32U) ^ b) * 0xC2B2AE3D27D4EB4FULL;
  return static_cast<std::size_t>(h >> 52U);
}

struct Slot {
  std::uint16_t offset = 0;
  std::uint16_t size = 0;  // 0: free
};

consteval std::array<Slot, kSlots> make_table() {
  std::array<Slot, kSlots> table{};
  std::size_t begin = 0;
  for (std::size_t i = 0; i < kPoolSize; ++i) {
    if (kNamePool[i] != ' ') continue;
    const std::string_view name(kNamePool + begin, i - begin);
    std::size_t slot = slot_of(name);
    while (table[slot].size != 0) slot = (slot + 1) % kSlots;
    table[slot] = {static_cast<std::uint16_t>(begin), static_cast<std::uint16_t>(name.size())};
    begin = i + 1;
  }
  return table;
}

static_assert(kPoolSize < UINT16_MAX);
constexpr std::array<Slot, kSlots> kTable = make_table();

const char* find_interned(std::string_view text) noexcept {
  for (std::size_t slot = slot_of(text); kTable[slot].size != 0; slot = (slot + 1) % kSlots) {
    const Slot& s = kTable[slot];
    if (s.size == text.size() && std::memcmp(kNamePool + s.offset, text.data(), text.size()) == 0) {
      return kNamePool + s.offset;
    }
  }
  return nullptr;
}

}  // namespace

Name::Name(std::string_view text) {
  if (text.empty()) return;
  const char* at = find_interned(text);
  if (at == nullptr) {
    char* own = new char[text.size()];
    std::memcpy(own, text.data(), text.size());
    at = own;
  }
  static_cast<std::string_view&>(*this) = std::string_view(at, text.size());
}

const char* const Name::pool_begin_ = kNamePool;
const char* const Name::pool_end_ = kNamePool + kPoolSize;

}  // namespace skiff::api
