#include "skiff/pki/keys.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "openssl.hpp"

namespace skiff::pki {
namespace {

constexpr char kCurve[] = "P-256";
constexpr std::size_t kScalar = 32;  // bytes of a coordinate, and of a private key

using GroupPtr = std::unique_ptr<EC_GROUP, OpensslFree<EC_GROUP_free>>;
using PointPtr = std::unique_ptr<EC_POINT, OpensslFree<EC_POINT_free>>;
using ParamBuildPtr = std::unique_ptr<OSSL_PARAM_BLD, OpensslFree<OSSL_PARAM_BLD_free>>;
using ParamsPtr = std::unique_ptr<OSSL_PARAM, OpensslFree<OSSL_PARAM_free>>;

bool is_p256(const EVP_PKEY* key) {
  char name[64] = "";
  std::size_t size = 0;
  return EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_group_name(key, name, sizeof name, &size) == 1 &&
         OBJ_sn2nid(name) == NID_X9_62_prime256v1;
}

std::string coordinate(const EVP_PKEY* key, const char* which) {
  BIGNUM* raw = nullptr;
  must(EVP_PKEY_get_bn_param(key, which, &raw) == 1, "read a public key");
  const BnPtr number(raw);
  std::string bytes(kScalar, '\0');
  must(BN_bn2binpad(number.get(), reinterpret_cast<unsigned char*>(bytes.data()),
                    static_cast<int>(kScalar)) > 0,
       "read a public key");
  return bytes;
}

std::string public_der(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  must(size > 0, "encode a public key");
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

}  // namespace

void init_openssl() {
  static const int once = OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  must(once == 1, "start");
}

void must(bool ok, const char* what) {
  if (ok) return;
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  log::error("pki", "OpenSSL failed",
             {{"at", what}, {"reason", reason != nullptr ? reason : "unknown"}});
  SKIFF_ASSERT(false, "OpenSSL failed where it cannot");
}

BioPtr memory_bio(std::string_view text) {
  BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  must(bio != nullptr, "allocate");
  return bio;
}

BioPtr memory_bio() {
  BioPtr bio(BIO_new(BIO_s_mem()));
  must(bio != nullptr, "allocate");
  return bio;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

int no_pass_phrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*arg*/) { return -1; }

PrivateKey PrivateKey::generate(Random& random) {
  init_openssl();
  const GroupPtr group(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1));
  must(group != nullptr, "find the curve");
  const BIGNUM* order = EC_GROUP_get0_order(group.get());
  // A scalar in [1, order): what falls outside is thrown again, so that all are equally likely.
  BnPtr scalar;
  do {
    std::array<std::uint8_t, kScalar> bytes{};
    random.fill(bytes);
    scalar.reset(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), BN_secure_new()));
    OPENSSL_cleanse(bytes.data(), bytes.size());
    must(scalar != nullptr, "allocate");
    BN_set_flags(scalar.get(), BN_FLG_CONSTTIME);
  } while (BN_is_zero(scalar.get()) || BN_cmp(scalar.get(), order) >= 0);

  const PointPtr point(EC_POINT_new(group.get()));
  must(EC_POINT_mul(group.get(), point.get(), scalar.get(), nullptr, nullptr, nullptr) == 1,
       "derive a public key");
  std::array<unsigned char, 2 * kScalar + 1> encoded{};
  must(EC_POINT_point2oct(group.get(), point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded.data(),
                          encoded.size(), nullptr) == encoded.size(),
       "encode a public key");

  const ParamBuildPtr build(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, kCurve, 0);
  OSSL_PARAM_BLD_push_octet_string(build.get(), OSSL_PKEY_PARAM_PUB_KEY, encoded.data(),
                                   encoded.size());
  OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_PRIV_KEY, scalar.get());
  const ParamsPtr params(OSSL_PARAM_BLD_to_param(build.get()));
  const PkeyCtxPtr context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  must(params && EVP_PKEY_fromdata_init(context.get()) == 1 &&
           EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, params.get()) == 1,
       "make a key");
  return PrivateKey(std::make_shared<const Impl>(Impl{PkeyPtr(key)}));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  init_openssl();
  const BioPtr bio = memory_bio(pem);
  PkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_pass_phrase, nullptr));
  ERR_clear_error();
  if (!key) return Error{Code::invalid, "not an unencrypted PEM private key"};
  if (!is_p256(key.get())) return Error{Code::invalid, "the private key is not of curve P-256"};
  return PrivateKey(std::make_shared<const Impl>(Impl{std::move(key)}));
}

std::string PrivateKey::to_pem() const {
  const BioPtr bio = memory_bio();
  must(PEM_write_bio_PKCS8PrivateKey(bio.get(), impl_->key.get(), nullptr, nullptr, 0, nullptr,
                                     nullptr) == 1,
       "encode a key");
  return text_of(bio.get());
}

PublicKey PrivateKey::public_key() const {
  const std::string der = public_der(impl_->key.get());
  const auto* in = reinterpret_cast<const unsigned char*>(der.data());
  PkeyPtr key(d2i_PUBKEY(nullptr, &in, static_cast<long>(der.size())));
  must(key != nullptr, "decode a public key");
  return PublicKey(std::make_shared<const PublicKey::Impl>(PublicKey::Impl{std::move(key)}));
}

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  init_openssl();
  PkeyPtr key;
  if (pem.find("CERTIFICATE-----") != std::string_view::npos) {
    SKIFF_TRY(const Certificate certificate, Certificate::from_pem(pem));
    key.reset(X509_get_pubkey(certificate.impl().x509.get()));
  } else {
    const BioPtr bio = memory_bio(pem);
    key.reset(PEM_read_bio_PUBKEY(bio.get(), nullptr, no_pass_phrase, nullptr));
  }
  ERR_clear_error();
  if (!key) return Error{Code::invalid, "not a PEM public key or certificate"};
  return PublicKey(std::make_shared<const Impl>(Impl{std::move(key)}));
}

std::string PublicKey::to_pem() const {
  const BioPtr bio = memory_bio();
  must(PEM_write_bio_PUBKEY(bio.get(), impl_->key.get()) == 1, "encode a public key");
  return text_of(bio.get());
}

std::string PublicKey::id() const { return base64url_encode(sha256(public_der(impl_->key.get()))); }

PublicKey::Point PublicKey::point() const {
  if (!is_p256(impl_->key.get())) return {};
  return {base64url_encode(coordinate(impl_->key.get(), OSSL_PKEY_PARAM_EC_PUB_X)),
          base64url_encode(coordinate(impl_->key.get(), OSSL_PKEY_PARAM_EC_PUB_Y))};
}

}  // namespace skiff::pki
