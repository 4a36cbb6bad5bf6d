#include "record_codec.hpp"

#include <bit>
#include <cstring>

namespace skiff::store {

void put_varint(std::string& out, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7U) out += static_cast<char>(n | 0x80U);
  out += static_cast<char>(n);
}

bool get_varint(std::string_view& in, std::uint64_t& out) {
  out = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    if (shift == 63 && byte > 1) return false;
    out |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

void put_text(std::string& out, std::string_view text) {
  put_varint(out, text.size());
  out += text;
}

bool get_text(std::string_view& in, std::string_view& out) {
  std::uint64_t n = 0;
  if (!get_varint(in, n) || n > in.size()) return false;
  out = in.substr(0, n);
  in.remove_prefix(n);
  return true;
}

namespace {

// Multiply and fold, eight bytes at a time: every bit of the input reaches every bit of the state.
class Mixer {
 public:
  void word(std::uint64_t w) {
    state_ = (state_ ^ w) * 0x9E3779B97F4A7C15ULL;
    state_ ^= state_ >> 29;
  }
  void text(std::string_view t) {
    word(t.size());
    while (t.size() >= 8) {
      word(load(t.data(), 8));
      t.remove_prefix(8);
    }
    if (!t.empty()) word(load(t.data(), t.size()));
  }
  // Four chains at once, so that the processor need not wait for each multiplication.
  void long_text(std::string_view t) {
    std::uint64_t lane[4] = {1, 2, 3, 4};
    word(t.size());
    for (; t.size() >= 32; t.remove_prefix(32)) {
      for (std::size_t i = 0; i < 4; ++i) {
        lane[i] = (lane[i] ^ load(t.data() + 8 * i, 8)) * 0x9E3779B97F4A7C15ULL;
        lane[i] ^= lane[i] >> 29;
      }
    }
    for (const std::uint64_t l : lane) word(l);
    text(t);
  }
  std::uint64_t result() const { return state_ ^ (state_ >> 32); }

 private:
  // Little-endian, so that a file may move between machines.
  static std::uint64_t load(const char* from, std::size_t n) {
    std::uint64_t w = 0;
    std::memcpy(&w, from, n);
    if constexpr (std::endian::native == std::endian::big) w = __builtin_bswap64(w);
    return w;
  }
  std::uint64_t state_ = 0x736B696666ULL;
};

}  // namespace

std::string encode_attributes(const Attributes& attributes) {
  std::string out;
  for (const auto& [name, value] : attributes) {
    put_text(out, name);
    put_text(out, value);
  }
  return out;
}

bool decode_attributes(std::string_view bytes, Attributes& out) {
  out.clear();
  while (!bytes.empty()) {
    std::string_view name;
    std::string_view value;
    if (!get_text(bytes, name) || !get_text(bytes, value)) return false;
    out.emplace_back(name, value);
  }
  return true;
}

std::uint64_t checksum(const Item& item, Revision previous, unsigned flags) {
  Mixer mixer;
  mixer.word(static_cast<std::uint64_t>(item.modified));
  mixer.word(static_cast<std::uint64_t>(item.created));
  mixer.word(static_cast<std::uint64_t>(previous));
  mixer.word(flags);
  mixer.text(item.key);
  mixer.text(item.value);
  for (const auto& [name, value] : item.attributes) {
    mixer.text(name);
    mixer.text(value);
  }
  return mixer.result();
}

std::uint64_t checksum(const Item& item, std::string_view value, Revision previous, unsigned flags,
                       std::int64_t time, std::string_view author) {
  Mixer mixer;
  mixer.word(static_cast<std::uint64_t>(item.modified));
  mixer.word(static_cast<std::uint64_t>(item.created));
  mixer.word(static_cast<std::uint64_t>(previous));
  mixer.word(flags);
  mixer.word(static_cast<std::uint64_t>(time));
  mixer.text(author);
  mixer.text(item.key);
  mixer.long_text(value);
  for (const auto& [name, content] : item.attributes) {
    mixer.text(name);
    mixer.text(content);
  }
  return mixer.result();
}

std::uint64_t checksum(std::string_view bytes, std::uint64_t seed) {
  Mixer mixer;
  mixer.word(seed);
  mixer.long_text(bytes);
  return mixer.result();
}

}  // namespace skiff::store
