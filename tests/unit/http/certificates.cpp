// Certificates for tests; the pki room is beside this one and not seen here.
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "fixture.hpp"

namespace skiff::http::test {
namespace {

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<std::size_t>(size));
  BIO_free_all(bio);
  return out;
}

std::string pem_of(X509* x) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, x);
  return text_of(bio);
}

std::string pem_of(EVP_PKEY* key) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_of(bio);
}

void add_extension(X509* x, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, x, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  REQUIRE(extension != nullptr);
  X509_add_ext(x, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* blank(const LeafSpec& spec, EVP_PKEY* key) {
  static long serial = 1;
  X509* x = X509_new();
  X509_set_version(x, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(x), spec.valid_from);
  X509_gmtime_adj(X509_getm_notAfter(x), spec.valid_from + spec.valid_for);
  const auto add = [&](const char* field, const std::string& value) {
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), field, MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1, 0);
  };
  if (!spec.organization.empty()) add("O", spec.organization);
  add("CN", spec.common_name);
  X509_set_pubkey(x, key);
  return x;
}

}  // namespace

Issued make_authority(const std::string& name) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  LeafSpec spec;
  spec.common_name = name;
  X509* x = blank(spec, key);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE");
  X509_sign(x, key, EVP_sha256());
  Issued issued{pem_of(x), pem_of(key)};
  X509_free(x);
  EVP_PKEY_free(key);
  return issued;
}

Issued make_leaf(const Issued& authority, const LeafSpec& spec) {
  BIO* certificate = BIO_new_mem_buf(authority.certificate_pem.data(), -1);
  X509* issuer = PEM_read_bio_X509(certificate, nullptr, nullptr, nullptr);
  BIO_free(certificate);
  BIO* key_text = BIO_new_mem_buf(authority.key_pem.data(), -1);
  EVP_PKEY* issuer_key = PEM_read_bio_PrivateKey(key_text, nullptr, nullptr, nullptr);
  BIO_free(key_text);
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = blank(spec, key);
  X509_set_issuer_name(x, X509_get_subject_name(issuer));
  add_extension(x, issuer, NID_subject_alt_name, spec.alternative_names);
  X509_sign(x, issuer_key, EVP_sha256());
  Issued issued{pem_of(x), pem_of(key)};
  X509_free(x);
  X509_free(issuer);
  EVP_PKEY_free(key);
  EVP_PKEY_free(issuer_key);
  return issued;
}

}  // namespace skiff::http::test
