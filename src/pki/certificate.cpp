// What certificates and signing requests say, and whether a chain holds.
#include "skiff/pki/certificate.hpp"

#include <arpa/inet.h>
#include <openssl/pem.h>

#include "openssl.hpp"
#include "x509.hpp"

namespace skiff::pki {
namespace {

using StorePtr = std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>>;
using StoreCtxPtr = std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX_free>>;

struct StackFree {
  void operator()(STACK_OF(X509) * stack) const noexcept { sk_X509_pop_free(stack, X509_free); }
};
using StackPtr = std::unique_ptr<STACK_OF(X509), StackFree>;

// Every certificate in `pem`, in order; nothing after the last readable one.
std::vector<X509Ptr> read_all(std::string_view pem) {
  init_openssl();
  const BioPtr bio = memory_bio(pem);
  std::vector<X509Ptr> all;
  for (;;) {
    X509Ptr x(PEM_read_bio_X509(bio.get(), nullptr, no_pass_phrase, nullptr));
    if (!x) break;
    all.push_back(std::move(x));
  }
  ERR_clear_error();
  return all;
}

Error no_certificate(std::string_view what) {
  return {Code::invalid, std::string(what) + " holds no PEM certificate"};
}

std::vector<std::string> entries(const X509_NAME* name, int nid) {
  std::vector<std::string> values;
  for (int i = -1; (i = X509_NAME_get_index_by_NID(name, nid, i)) >= 0;) {
    unsigned char* utf8 = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
    if (size < 0) continue;
    values.emplace_back(reinterpret_cast<char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
  }
  ERR_clear_error();
  return values;
}

std::string common_name_of(const X509_NAME* name) {
  auto names = entries(name, NID_commonName);
  return names.empty() ? std::string() : std::move(names.front());
}

Subject subject_of(const X509_NAME* name) {
  return {common_name_of(name), entries(name, NID_organizationName)};
}

std::string string_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

std::string address_of(const ASN1_OCTET_STRING* bytes) {
  const int size = ASN1_STRING_length(bytes);
  if (size != 4 && size != 16) return "";
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(bytes), text, sizeof text);
  return text;
}

std::vector<std::string> names_of(const GENERAL_NAMES* names, int type) {
  std::vector<std::string> values;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != type) continue;
    values.push_back(type == GEN_IPADD ? address_of(name->d.iPAddress) : string_of(name->d.ia5));
  }
  return values;
}

std::vector<std::string> alternative_names(X509* x509, int type) {
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x509, NID_subject_alt_name, nullptr, nullptr)));
  return names ? names_of(names.get(), type) : std::vector<std::string>();
}

int purpose_number(Purpose purpose) {
  switch (purpose) {
    case Purpose::server:
      return X509_PURPOSE_SSL_SERVER;
    case Purpose::client:
      return X509_PURPOSE_SSL_CLIENT;
    case Purpose::any:
      break;
  }
  return X509_PURPOSE_ANY;
}

}  // namespace

WallTime time_of(const ASN1_TIME* time) {
  std::tm tm{};
  ASN1_TIME_to_tm(time, &tm);
  const std::chrono::year_month_day date{std::chrono::year(tm.tm_year + 1900),
                                         std::chrono::month(static_cast<unsigned>(tm.tm_mon + 1)),
                                         std::chrono::day(static_cast<unsigned>(tm.tm_mday))};
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(tm.tm_hour) +
         std::chrono::minutes(tm.tm_min) + std::chrono::seconds(tm.tm_sec);
}

std::time_t to_time_t(WallTime time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

Certificate wrap(X509Ptr x509) {
  return Certificate(std::make_shared<const Certificate::Impl>(Certificate::Impl{std::move(x509)}));
}

Result<Certificate> Certificate::from_pem(std::string_view pem) {
  std::vector<X509Ptr> all = read_all(pem);
  if (all.empty()) return no_certificate("the text");
  return wrap(std::move(all.front()));
}

std::string Certificate::to_pem() const {
  const BioPtr bio = memory_bio();
  must(PEM_write_bio_X509(bio.get(), impl_->x509.get()) == 1, "encode a certificate");
  return text_of(bio.get());
}

std::string Certificate::der() const {
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(impl_->x509.get(), &bytes);
  must(size > 0, "encode a certificate");
  std::string out(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return out;
}

Subject Certificate::subject() const {
  return subject_of(X509_get_subject_name(impl_->x509.get()));
}

std::string Certificate::issuer_name() const {
  return common_name_of(X509_get_issuer_name(impl_->x509.get()));
}

std::vector<std::string> Certificate::dns_names() const {
  return alternative_names(impl_->x509.get(), GEN_DNS);
}

std::vector<std::string> Certificate::ip_addresses() const {
  return alternative_names(impl_->x509.get(), GEN_IPADD);
}

WallTime Certificate::not_before() const { return time_of(X509_get0_notBefore(impl_->x509.get())); }
WallTime Certificate::not_after() const { return time_of(X509_get0_notAfter(impl_->x509.get())); }
bool Certificate::is_authority() const { return X509_check_ca(impl_->x509.get()) == 1; }

std::string Certificate::serial() const {
  const ASN1_INTEGER* number = X509_get0_serialNumber(impl_->x509.get());
  return to_hex(string_of(number));
}

std::string Certificate::fingerprint() const { return sha256_hex(der()); }

PublicKey Certificate::public_key() const {
  PkeyPtr key(X509_get_pubkey(impl_->x509.get()));
  must(key != nullptr, "read a certificate's key");
  return PublicKey(std::make_shared<const PublicKey::Impl>(PublicKey::Impl{std::move(key)}));
}

WallTime Certificate::renew_at() const {
  return not_before() + (not_after() - not_before()) / 3 * 2;
}

Result<SigningRequest> SigningRequest::from_pem(std::string_view pem) {
  init_openssl();
  const BioPtr bio = memory_bio(pem);
  const RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr, no_pass_phrase, nullptr));
  ERR_clear_error();
  if (!request) return Error{Code::invalid, "not a PEM certificate signing request"};
  PkeyPtr key(X509_REQ_get_pubkey(request.get()));
  const bool signed_by_itself = key && X509_REQ_verify(request.get(), key.get()) == 1;
  ERR_clear_error();
  if (!signed_by_itself) {
    return Error{Code::invalid, "the certificate signing request is not signed with its own key"};
  }
  SigningRequest out;
  out.subject = subject_of(X509_REQ_get_subject_name(request.get()));
  const PublicKey public_key(
      std::make_shared<const PublicKey::Impl>(PublicKey::Impl{std::move(key)}));
  out.public_key_pem = public_key.to_pem();
  STACK_OF(X509_EXTENSION)* extensions = X509_REQ_get_extensions(request.get());
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr)));
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  if (names) {
    out.dns_names = names_of(names.get(), GEN_DNS);
    out.ip_addresses = names_of(names.get(), GEN_IPADD);
    out.email_addresses = names_of(names.get(), GEN_EMAIL);
    out.uris = names_of(names.get(), GEN_URI);
  }
  ERR_clear_error();
  return out;
}

Result<void> verify_chain(std::string_view chain_pem, std::string_view ca_pem, WallTime when,
                          Purpose purpose) {
  std::vector<X509Ptr> chain = read_all(chain_pem);
  const std::vector<X509Ptr> roots = read_all(ca_pem);
  if (chain.empty()) return no_certificate("the chain");
  if (roots.empty()) return no_certificate("the authority's file");
  const StorePtr store(X509_STORE_new());
  for (const X509Ptr& root : roots) X509_STORE_add_cert(store.get(), root.get());
  const StackPtr others(sk_X509_new_null());
  for (std::size_t i = 1; i < chain.size(); ++i) {
    sk_X509_push(others.get(), chain[i].release());
  }
  const StoreCtxPtr context(X509_STORE_CTX_new());
  must(X509_STORE_CTX_init(context.get(), store.get(), chain.front().get(), others.get()) == 1,
       "verify a chain");
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(param, to_time_t(when));
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  if (purpose != Purpose::any) X509_VERIFY_PARAM_set_purpose(param, purpose_number(purpose));
  const bool good = X509_verify_cert(context.get()) == 1;
  ERR_clear_error();
  if (good) return {};
  return Error{Code::unauthorized,
               std::string("the certificate does not hold: ") +
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()))};
}

}  // namespace skiff::pki
