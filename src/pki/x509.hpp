// Shared by reading and issuing certificates. Included by .cpp files only.
#pragma once

#include "openssl.hpp"

namespace skiff::pki {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;

WallTime time_of(const ASN1_TIME* time);
std::time_t to_time_t(WallTime time);
Certificate wrap(X509Ptr x509);

}  // namespace skiff::pki
