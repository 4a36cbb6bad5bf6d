#include "skiff/base/random.hpp"

#include <pthread.h>
#include <sys/random.h>

#include <array>
#include <atomic>
#include <cstring>

#include "skiff/base/result.hpp"

namespace skiff {

std::uint64_t Random::next() {
  std::array<std::uint8_t, 8> bytes{};
  fill(bytes);
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

std::uint64_t Random::below(std::uint64_t bound) {
  SKIFF_ASSERT(bound > 0, "Random::below needs a positive bound");
  // Values at the top that would make the remainder uneven are thrown again.
  const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for (;;) {
    const std::uint64_t value = next();
    if (value < limit) return value % bound;
  }
}

std::string Random::uuid() {
  std::array<std::uint8_t, 16> b{};
  fill(b);
  b[6] = static_cast<std::uint8_t>((b[6] & 0x0F) | 0x40);
  b[8] = static_cast<std::uint8_t>((b[8] & 0x3F) | 0x80);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(36);
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += kHex[b[i] >> 4];
    out += kHex[b[i] & 15];
  }
  return out;
}

std::string Random::name_suffix(std::size_t length) {
  static constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string out(length, ' ');
  for (char& c : out) c = kAlphabet[below(kAlphabet.size())];
  return out;
}

namespace {

void ask_system(std::span<std::uint8_t> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::getrandom(out.data() + done, out.size() - done, 0);
    if (n < 0 && errno == EINTR) continue;
    SKIFF_ASSERT(n > 0, "getrandom failed");
    done += static_cast<std::size_t>(n);
  }
}

// What one call of the system gave and nobody has had yet.
struct Stock {
  std::array<std::uint8_t, 512> bytes;
  std::size_t left;
  unsigned process;  // the child of a fork must not use what its parent has
};
thread_local Stock stock{};
std::atomic<unsigned> process{0};
const int watches_forks = ::pthread_atfork(nullptr, nullptr, [] { ++process; });

}  // namespace

void SystemRandom::fill(std::span<std::uint8_t> out) {
  if (out.size() > kFromStock || watches_forks != 0) return ask_system(out);
  if (stock.left < out.size() || stock.process != process) {
    stock.process = process;
    ask_system(stock.bytes);
    stock.left = stock.bytes.size();
  }
  stock.left -= out.size();
  std::uint8_t* const from = stock.bytes.data() + stock.left;
  std::memcpy(out.data(), from, out.size());
  std::memset(from, 0, out.size());  // so that it is nowhere else
}

void SeededRandom::fill(std::span<std::uint8_t> out) {
  for (std::size_t i = 0; i < out.size(); i += 8) {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    z ^= z >> 31U;
    std::memcpy(out.data() + i, &z, std::min<std::size_t>(8, out.size() - i));
  }
}

}  // namespace skiff
