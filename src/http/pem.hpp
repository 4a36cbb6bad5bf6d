// Reading PEM text with OpenSSL. Included by .cpp files only.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string_view>
#include <vector>

#include "skiff/base/clock.hpp"

namespace skiff::http {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
using X509Ptr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;

// Before any other use of OpenSSL: no configuration file of the machine has a say.
void init_openssl();

// At least one; text between the certificates is skipped.
Result<std::vector<X509Ptr>> read_certificates(std::string_view pem);
Result<PkeyPtr> read_private_key(std::string_view pem);

WallTime time_of(const ASN1_TIME* time);
std::time_t to_time_t(WallTime time) noexcept;

}  // namespace skiff::http
