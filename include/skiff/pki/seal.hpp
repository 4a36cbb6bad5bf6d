// Encryption at rest: values sealed with AES-256-GCM (NIST SP 800-38D) under one of several keys,
// so that a key can be replaced while everything sealed with older ones stays readable.
//
// A sealed value is one envelope, version 1:
//
//   byte 0        the version, 1
//   bytes 1-8     the key's id: the first 8 bytes of SHA-256 over "skiff seal key\0" and the key
//   bytes 9-20    the nonce, random for each seal()
//   then          the ciphertext, as long as the value
//   last 16       the authentication tag
//
// Version, key id and the name under which the value is kept are authenticated with it, so a sealed
// value moved to another name does not open. Random nonces of 96 bits are good for 2^32 values a
// key: rotate before (four thousand million writes of Secrets).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/random.hpp"
#include "skiff/base/result.hpp"

namespace skiff::pki {

// The keys, newest first: the first seals, all of them open. Immutable, so any thread may use it;
// copies share, and the keys are wiped from memory with the last copy.
class SealKeys {
 public:
  // One key a line, 32 bytes in base64 (what `openssl rand -base64 32` prints); blank lines and
  // lines that begin with # count nothing. bad_request, naming the line but never what it holds.
  static Result<SealKeys> parse(std::string_view text);
  // A single new key.
  static SealKeys generate(Random& random);

  // What parse() reads.
  std::string to_text() const;
  // A new key that seals from now on, before these.
  SealKeys with_new_key(Random& random) const;
  // With the keys of `more` beside these: before them (so that their first seals) or after them. A
  // key in both counts once, where `more` stands.
  SealKeys with(const SealKeys& more, bool first) const;
  // The first `count` keys only; at least one stays.
  SealKeys keep(std::size_t count) const;

  std::size_t size() const noexcept;
  // The keys' ids as 16 hexadecimal digits, in order. They say nothing about the keys.
  std::vector<std::string> ids() const;

  // `random` must be safe to use on the calling thread.
  std::string seal(Random& random, std::string_view name, std::string_view value) const;
  // invalid: no envelope, or it was altered, or belongs to another name; not_found: no key here
  // opens it (the message names the one that would).
  Result<std::string> open(std::string_view name, std::string_view sealed) const;

 private:
  struct Impl;
  explicit SealKeys(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// What seal() adds to a value's length.
inline constexpr std::size_t kSealOverhead = 1 + 8 + 12 + 16;

// The id of the key that an envelope names; empty when it is none.
std::optional<std::string> sealed_with(std::string_view sealed);

}  // namespace skiff::pki
