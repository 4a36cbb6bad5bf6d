// OpenSSL's types behind owning pointers. Included by .cpp files only.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "skiff/pki/certificate.hpp"

namespace skiff::pki {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;
using BnPtr = std::unique_ptr<BIGNUM, OpensslFree<BN_clear_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, OpensslFree<EVP_PKEY_CTX_free>>;
using MdCtxPtr = std::unique_ptr<EVP_MD_CTX, OpensslFree<EVP_MD_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, OpensslFree<X509_REQ_free>>;

struct PublicKey::Impl {
  PkeyPtr key;
};
struct PrivateKey::Impl {
  PkeyPtr key;
};
struct Certificate::Impl {
  X509Ptr x509;
};

// Before any other use of OpenSSL: no configuration file of the machine has a say.
void init_openssl();
// Ends the process where OpenSSL fails although nothing that came from outside is in question.
void must(bool ok, const char* what);
BioPtr memory_bio(std::string_view text);  // to read from
BioPtr memory_bio();                       // to write to
std::string text_of(BIO* bio);
// No terminal is asked for a pass phrase.
int no_pass_phrase(char* buffer, int size, int writing, void* arg);

}  // namespace skiff::pki
