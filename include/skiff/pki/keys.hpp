// Keys, digests and signed tokens. ECDSA over P-256 with SHA-256 throughout (ES256 of RFC 7518).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/random.hpp"
#include "skiff/base/result.hpp"

namespace skiff::pki {

// The public half of a key. Copies share.
class PublicKey {
 public:
  // "-----BEGIN PUBLIC KEY-----" (SubjectPublicKeyInfo), or the key of a certificate.
  static Result<PublicKey> from_pem(std::string_view pem);
  std::string to_pem() const;
  // base64url of SHA-256 over the DER form: what the API server puts into a token's `kid`.
  std::string id() const;
  // The curve point's coordinates, base64url without padding, for a JSON Web Key (RFC 7518
  // section 6.2.1).
  struct Point {
    std::string x;
    std::string y;
  };
  Point point() const;

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }
  explicit PublicKey(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

// A P-256 private key. Copies share.
class PrivateKey {
 public:
  // From `random`: the same seed gives the same key.
  static PrivateKey generate(Random& random);
  // PKCS#8 or SEC 1, unencrypted, P-256.
  static Result<PrivateKey> from_pem(std::string_view pem);
  std::string to_pem() const;  // PKCS#8
  PublicKey public_key() const;

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }
  explicit PrivateKey(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

std::string sha256(std::string_view bytes);      // 32 raw bytes
std::string sha256_hex(std::string_view bytes);  // 64 lower-case digits
std::string to_hex(std::string_view bytes);

// RFC 4648: section 5 without padding, and section 4 with padding.
std::string base64url_encode(std::string_view bytes);
Result<std::string> base64url_decode(std::string_view text);
std::string base64_encode(std::string_view bytes);
Result<std::string> base64_decode(std::string_view text);

// Takes the same time wherever the two differ: for tokens and passwords.
bool constant_time_equal(std::string_view a, std::string_view b) noexcept;

// `bytes` random bytes as lower-case hex: bootstrap and static tokens.
std::string random_token(Random& random, std::size_t bytes = 16);

// A JSON Web Token (RFC 7519) in compact form, signed with ES256; `kid` is the key's id().
// `claims_json` is the payload, a JSON object.
std::string sign_token(const PrivateKey& key, std::string_view claims_json);

struct VerifiedToken {
  std::string header_json;
  std::string claims_json;
  std::string key_id;  // of the key that fits
};
// Checks the signature against each key, always as ES256 whatever the header says. What the claims
// say (issuer, audience, times) is the caller's to check. Code::unauthorized when no key fits.
Result<VerifiedToken> verify_token(std::string_view token, std::span<const PublicKey> keys);

}  // namespace skiff::pki
