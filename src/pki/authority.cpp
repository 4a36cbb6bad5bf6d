// Making certificates and signing requests.
#include <openssl/pem.h>

#include "x509.hpp"

namespace skiff::pki {
namespace {

// A clock that stands before skiff was written is wrong, and what it would make valid would be
// expired once it is set right.
constexpr WallTime kWritten{std::chrono::sys_days{std::chrono::year(2025) / 12 / 1}};
constexpr Duration kBackdate = 1h;
constexpr std::size_t kSerialBytes = 16;

using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using AddressPtr = std::unique_ptr<ASN1_OCTET_STRING, OpensslFree<ASN1_OCTET_STRING_free>>;

struct ExtensionsFree {
  void operator()(STACK_OF(X509_EXTENSION) * stack) const noexcept {
    sk_X509_EXTENSION_pop_free(stack, X509_EXTENSION_free);
  }
};
using ExtensionsPtr = std::unique_ptr<STACK_OF(X509_EXTENSION), ExtensionsFree>;

void add_entry(X509_NAME* name, int nid, std::string_view value) {
  // As plain UTF-8, which has no upper bound: a node's name may be longer than the 64 characters
  // that X.520 once gave to common names.
  must(X509_NAME_add_entry_by_NID(name, nid, V_ASN1_UTF8STRING,
                                  reinterpret_cast<const unsigned char*>(value.data()),
                                  static_cast<int>(value.size()), -1, 0) == 1,
       "name a subject");
}

void fill_name(X509_NAME* name, const Subject& subject) {
  for (const std::string& organization : subject.organizations) {
    add_entry(name, NID_organizationName, organization);
  }
  add_entry(name, NID_commonName, subject.common_name);
}

Result<NamesPtr> alternative_names(const std::vector<std::string>& dns,
                                   const std::vector<std::string>& ips) {
  NamesPtr names(sk_GENERAL_NAME_new_null());
  const auto add = [&](int type, ASN1_STRING* value) {
    GENERAL_NAME* name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, type, value);
    sk_GENERAL_NAME_push(names.get(), name);
  };
  for (const std::string& text : dns) {
    ASN1_IA5STRING* value = ASN1_IA5STRING_new();
    ASN1_STRING_set(value, text.data(), static_cast<int>(text.size()));
    add(GEN_DNS, value);
  }
  for (const std::string& text : ips) {
    AddressPtr value(a2i_IPADDRESS(text.c_str()));
    ERR_clear_error();
    if (!value) return Error{Code::bad_request, "\"" + text + "\" is no IP address"};
    add(GEN_IPADD, value.release());
  }
  return names;
}

void add_extension(X509* x509, int nid, const char* value, X509* issuer = nullptr) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer != nullptr ? issuer : x509, x509, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  must(extension && X509_add_ext(x509, extension.get(), -1) == 1, "add an extension");
}

void set_serial(X509* x509, Random& random) {
  std::array<std::uint8_t, kSerialBytes> bytes{};
  random.fill(bytes);
  bytes[0] = static_cast<std::uint8_t>((bytes[0] & 0x7F) | 0x40);  // positive, of full length
  const BnPtr number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x509)) != nullptr, "number");
}

WallTime believed(WallTime clock) { return std::max(clock, kWritten); }

void set_validity(X509* x509, WallTime clock, Duration lifetime, WallTime at_most) {
  const auto micros = [](Duration d) {
    return std::chrono::duration_cast<std::chrono::microseconds>(d);
  };
  const WallTime start = clock - micros(kBackdate);
  const WallTime end = std::min(believed(clock) + micros(lifetime), at_most);
  ASN1_TIME_set(X509_getm_notBefore(x509), to_time_t(start));
  ASN1_TIME_set(X509_getm_notAfter(x509), to_time_t(end));
}

X509Ptr blank(Random& random) {
  init_openssl();
  X509Ptr x509(X509_new());
  must(x509 && X509_set_version(x509.get(), X509_VERSION_3) == 1, "allocate");
  set_serial(x509.get(), random);
  return x509;
}

void sign_with(X509* x509, const PrivateKey& key) {
  must(X509_sign(x509, key.impl().key.get(), EVP_sha256()) > 0, "sign a certificate");
}

}  // namespace

CertificateAuthority CertificateAuthority::self_signed(const Clock& clock, Random& random,
                                                       PrivateKey key, std::string_view common_name,
                                                       Duration lifetime) {
  X509Ptr x509 = blank(random);
  X509* x = x509.get();
  set_validity(x, clock.wall(), lifetime, WallTime::max());
  fill_name(X509_get_subject_name(x), {std::string(common_name), {}});
  X509_set_issuer_name(x, X509_get_subject_name(x));
  X509_set_pubkey(x, key.impl().key.get());
  add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(x, NID_key_usage, "critical,digitalSignature,keyEncipherment,keyCertSign");
  add_extension(x, NID_subject_key_identifier, "hash");
  sign_with(x, key);
  return {std::move(key), wrap(std::move(x509))};
}

CertificateAuthority CertificateAuthority::create(const Clock& clock, Random& random,
                                                  std::string_view common_name, Duration lifetime) {
  PrivateKey key = PrivateKey::generate(random);
  return self_signed(clock, random, std::move(key), common_name, lifetime);
}

Result<CertificateAuthority> CertificateAuthority::load(const KeyPair& pair) {
  SKIFF_TRY(Certificate certificate, Certificate::from_pem(pair.certificate_pem));
  SKIFF_TRY(PrivateKey key, PrivateKey::from_pem(pair.key_pem));
  if (!certificate.is_authority()) {
    return Error{Code::invalid, "the certificate of \"" + certificate.subject().common_name +
                                    "\" is not that of a certificate authority"};
  }
  if (certificate.public_key().id() != key.public_key().id()) {
    return Error{Code::conflict, "the authority's key does not belong to its certificate"};
  }
  return CertificateAuthority(std::move(key), std::move(certificate));
}

Result<CertificateAuthority> CertificateAuthority::load_or_create(const Clock& clock,
                                                                  Random& random,
                                                                  const std::string& directory,
                                                                  const std::string& name,
                                                                  std::string_view common_name) {
  constexpr Duration kLifetime = std::chrono::hours(24 * 3650);
  const auto pair = load_key_pair(directory, name);
  if (pair) {
    auto loaded = load(*pair);
    if (!loaded) return annotate(loaded.error(), directory + "/" + name + ".crt");
    return loaded;
  }
  const auto lone_key = read_file(directory + "/" + name + ".key");
  const auto lone_certificate = read_file(directory + "/" + name + ".crt");
  const bool only_key =
      lone_key && !lone_certificate && lone_certificate.error().code == Code::not_found;
  if (pair.error().code != Code::not_found && !only_key) return pair.error();
  PrivateKey key = PrivateKey::generate(random);
  if (only_key) {
    auto kept = PrivateKey::from_pem(*lone_key);
    if (!kept) return annotate(kept.error(), directory + "/" + name + ".key");
    key = std::move(*kept);
  }
  CertificateAuthority authority =
      self_signed(clock, random, std::move(key), common_name, kLifetime);
  SKIFF_CHECK(save_key_pair(directory, name, authority.key_pair()));
  return authority;
}

KeyPair CertificateAuthority::key_pair() const { return {certificate_.to_pem(), key_.to_pem()}; }

Result<std::string> CertificateAuthority::sign(const Clock& clock, Random& random,
                                               const PublicKey& key,
                                               const LeafOptions& options) const {
  if (options.subject.common_name.empty()) {
    return Error{Code::bad_request, "a certificate needs a common name"};
  }
  SKIFF_TRY(const NamesPtr names, alternative_names(options.dns_names, options.ip_addresses));
  const X509Ptr x509 = blank(random);
  X509* x = x509.get();
  X509* issuer = certificate_.impl().x509.get();
  set_validity(x, clock.wall(), options.lifetime, certificate_.not_after());
  fill_name(X509_get_subject_name(x), options.subject);
  X509_set_issuer_name(x, X509_get_subject_name(issuer));
  X509_set_pubkey(x, key.impl().key.get());
  add_extension(x, NID_basic_constraints, "critical,CA:FALSE");
  // RSA keys of requests may also carry keys across (TLS 1.2); those of ours only sign.
  add_extension(x, NID_key_usage, "critical,digitalSignature,keyEncipherment");
  if (options.server || options.client) {
    const char* usage = !options.client   ? "serverAuth"
                        : !options.server ? "clientAuth"
                                          : "serverAuth,clientAuth";
    add_extension(x, NID_ext_key_usage, usage);
  }
  add_extension(x, NID_authority_key_identifier, "keyid", issuer);
  if (sk_GENERAL_NAME_num(names.get()) > 0) {
    must(X509_add1_ext_i2d(x, NID_subject_alt_name, names.get(), 0, 0) == 1, "add names");
  }
  sign_with(x, key_);
  const BioPtr bio = memory_bio();
  must(PEM_write_bio_X509(bio.get(), x) == 1, "encode a certificate");
  return text_of(bio.get());
}

Result<KeyPair> CertificateAuthority::issue(const Clock& clock, Random& random,
                                            const LeafOptions& options) const {
  const PrivateKey key = PrivateKey::generate(random);
  SKIFF_TRY(std::string certificate, sign(clock, random, key.public_key(), options));
  return KeyPair{std::move(certificate), key.to_pem()};
}

std::string make_signing_request(const PrivateKey& key, const Subject& subject,
                                 const std::vector<std::string>& dns_names,
                                 const std::vector<std::string>& ip_addresses) {
  const RequestPtr request(X509_REQ_new());
  must(request != nullptr, "allocate");
  fill_name(X509_REQ_get_subject_name(request.get()), subject);
  X509_REQ_set_pubkey(request.get(), key.impl().key.get());
  const auto names = alternative_names(dns_names, ip_addresses);
  SKIFF_ASSERT(names, "a signing request was given an address that is none");
  if (sk_GENERAL_NAME_num(names->get()) > 0) {
    STACK_OF(X509_EXTENSION)* raw = nullptr;
    X509V3_add1_i2d(&raw, NID_subject_alt_name, names->get(), 0, 0);
    const ExtensionsPtr extensions(raw);
    must(X509_REQ_add_extensions(request.get(), extensions.get()) == 1, "add names");
  }
  must(X509_REQ_sign(request.get(), key.impl().key.get(), EVP_sha256()) > 0, "sign a request");
  const BioPtr bio = memory_bio();
  must(PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1, "encode a request");
  return text_of(bio.get());
}

}  // namespace skiff::pki
