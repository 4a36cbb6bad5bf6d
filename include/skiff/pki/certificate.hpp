// X.509 certificates (RFC 5280): skiff's own authority, what it issues, and how it is kept on disk.
//
// Clocks may be wrong at boot (boards without a battery). So every certificate starts an hour
// before it was made, a clock that stands before skiff itself was written is not believed when
// validity is chosen, and checks may be given a time known to have passed (see plausible_time).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/clock.hpp"
#include "skiff/base/random.hpp"
#include "skiff/pki/keys.hpp"

namespace skiff::pki {

// A certificate and its key, as PEM. The certificate may be followed by its chain.
struct KeyPair {
  std::string certificate_pem;
  std::string key_pem;
};

// Who a certificate speaks for. Kubernetes reads the common name as user and the organizations as
// groups.
struct Subject {
  std::string common_name;
  std::vector<std::string> organizations;
  bool operator==(const Subject&) const = default;
};

// Copies share.
class Certificate {
 public:
  // The first certificate in `pem`.
  static Result<Certificate> from_pem(std::string_view pem);

  std::string to_pem() const;
  std::string der() const;
  Subject subject() const;
  std::string issuer_name() const;  // common name
  std::vector<std::string> dns_names() const;
  std::vector<std::string> ip_addresses() const;  // numeric text
  WallTime not_before() const;
  WallTime not_after() const;
  bool is_authority() const;
  std::string serial() const;       // hex
  std::string fingerprint() const;  // SHA-256 of the DER form, hex
  PublicKey public_key() const;

  // When to replace it: two thirds through its life.
  WallTime renew_at() const;

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }
  explicit Certificate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

// A PKCS#10 certificate signing request (RFC 2986) whose own signature is right.
struct SigningRequest {
  Subject subject;
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;
  std::vector<std::string> email_addresses;
  std::vector<std::string> uris;
  std::string public_key_pem;

  static Result<SigningRequest> from_pem(std::string_view pem);
};
// What a node or user sends to have signed.
std::string make_signing_request(const PrivateKey& key, const Subject& subject,
                                 const std::vector<std::string>& dns_names = {},
                                 const std::vector<std::string>& ip_addresses = {});

struct LeafOptions {
  Subject subject;
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;  // numeric text
  bool server = false;                    // extended key usage serverAuth
  bool client = false;                    // extended key usage clientAuth
  Duration lifetime = std::chrono::hours(24 * 365);
};

// Signs certificates. Copies share the key.
class CertificateAuthority {
 public:
  // A self-signed authority with a new key.
  static CertificateAuthority create(const Clock& clock, Random& random,
                                     std::string_view common_name,
                                     Duration lifetime = std::chrono::hours(24 * 3650));
  // Refuses a certificate that is no authority or does not fit the key.
  static Result<CertificateAuthority> load(const KeyPair& pair);
  // The authority kept as DIR/NAME.crt and .key; made and saved where there is none. A key whose
  // certificate is missing is kept and gets a new certificate, with which all it has issued stays
  // good. Blocking (files).
  static Result<CertificateAuthority> load_or_create(const Clock& clock, Random& random,
                                                     const std::string& directory,
                                                     const std::string& name,
                                                     std::string_view common_name);

  const Certificate& certificate() const noexcept { return certificate_; }
  KeyPair key_pair() const;

  // A certificate with a new key. It never outlives the authority. bad_request: an address that is
  // none.
  Result<KeyPair> issue(const Clock& clock, Random& random, const LeafOptions& options) const;
  // A certificate for somebody else's key.
  Result<std::string> sign(const Clock& clock, Random& random, const PublicKey& key,
                           const LeafOptions& options) const;

 private:
  static CertificateAuthority self_signed(const Clock& clock, Random& random, PrivateKey key,
                                          std::string_view common_name, Duration lifetime);
  CertificateAuthority(PrivateKey key, Certificate certificate)
      : key_(std::move(key)), certificate_(std::move(certificate)) {}
  PrivateKey key_;
  Certificate certificate_;
};

enum class Purpose : std::uint8_t { any, server, client };
// Whether the first certificate in `chain_pem` leads to one of `ca_pem` at `when`.
// Code::unauthorized and the reason if not.
Result<void> verify_chain(std::string_view chain_pem, std::string_view ca_pem, WallTime when,
                          Purpose purpose = Purpose::any);

// The clock, unless it stands before a moment that is known to have passed: the start of a
// certificate of our own (its not_before is an hour early already).
inline WallTime plausible_time(WallTime clock, WallTime known_past) {
  return clock < known_past ? known_past : clock;
}

// Files. Writing is atomic (a new file, fsync, rename), private ones get mode 0600, directories
// that are missing are made with mode 0700. Blocking: from the loop, call these in env.blocking.
Result<void> write_private_file(const std::string& path, std::string_view bytes);
Result<void> write_public_file(const std::string& path, std::string_view bytes);
Result<std::string> read_file(const std::string& path);
// DIR/NAME.crt and DIR/NAME.key.
Result<void> save_key_pair(const std::string& directory, const std::string& name,
                           const KeyPair& pair);
// Code::not_found when neither exists; Code::conflict when they are no pair (one is missing, or a
// renewal was cut short between the two): have both made anew. Any other trouble says which file
// and what to do.
Result<KeyPair> load_key_pair(const std::string& directory, const std::string& name);

}  // namespace skiff::pki
