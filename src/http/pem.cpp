#include "pem.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

namespace skiff::http {
namespace {

using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;

BioPtr open(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// No terminal is asked for a pass phrase.
int no_pass_phrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*arg*/) { return -1; }

}  // namespace

void init_openssl() {
  static const int once = OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  SKIFF_ASSERT(once == 1, "OpenSSL does not start");
}

Result<std::vector<X509Ptr>> read_certificates(std::string_view pem) {
  const BioPtr bio = open(pem);
  std::vector<X509Ptr> certificates;
  for (;;) {
    X509Ptr x(PEM_read_bio_X509(bio.get(), nullptr, no_pass_phrase, nullptr));
    if (!x) break;
    certificates.push_back(std::move(x));
  }
  // Text without a further certificate ends the list; anything else is damage.
  const unsigned long error = ERR_peek_last_error();
  const bool ended =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (certificates.empty() || !ended) {
    return Error{Code::invalid,
                 "not a PEM certificate: expected a block that starts with "
                 "-----BEGIN CERTIFICATE-----"};
  }
  return certificates;
}

Result<PkeyPtr> read_private_key(std::string_view pem) {
  const BioPtr bio = open(pem);
  PkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_pass_phrase, nullptr));
  ERR_clear_error();
  if (!key) {
    return Error{Code::invalid,
                 "not an unencrypted PEM private key: expected a block that starts "
                 "with -----BEGIN PRIVATE KEY-----"};
  }
  return key;
}

WallTime time_of(const ASN1_TIME* time) {
  std::tm tm{};
  ASN1_TIME_to_tm(time, &tm);
  const std::chrono::year_month_day date{std::chrono::year(tm.tm_year + 1900),
                                         std::chrono::month(static_cast<unsigned>(tm.tm_mon + 1)),
                                         std::chrono::day(static_cast<unsigned>(tm.tm_mday))};
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(tm.tm_hour) +
         std::chrono::minutes(tm.tm_min) + std::chrono::seconds(tm.tm_sec);
}

std::time_t to_time_t(WallTime time) noexcept {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace skiff::http
