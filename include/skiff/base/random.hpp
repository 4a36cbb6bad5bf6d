// Randomness is passed in, so that a seed replays a whole run.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace skiff {

class Random {
 public:
  virtual ~Random() = default;
  virtual void fill(std::span<std::uint8_t> out) = 0;

  std::uint64_t next();
  // Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound);
  // RFC 4122 version 4, lower case.
  std::string uuid();
  // `length` characters of the alphabet Kubernetes uses for generated names: no vowels, so no
  // words.
  std::string name_suffix(std::size_t length);
};

// getrandom(2). Any thread. Up to kFromStock bytes (an identifier) come out of a stock that each
// thread has, since every request takes some and a call costs; keys come from the system directly.
class SystemRandom final : public Random {
 public:
  static constexpr std::size_t kFromStock = 16;  // bytes
  void fill(std::span<std::uint8_t> out) override;
};

// SplitMix64: reproducible, not for keys.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  void fill(std::span<std::uint8_t> out) override;

 private:
  std::uint64_t state_;
};

}  // namespace skiff
