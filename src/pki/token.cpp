// JSON Web Tokens signed with ES256 (RFC 7515, RFC 7518 section 3.4).
#include <openssl/ec.h>

#include "openssl.hpp"

namespace skiff::pki {
namespace {

constexpr std::size_t kHalf = 32;  // of a signature: r, then s, each of fixed length
constexpr std::size_t kMaxToken = 64 * 1024;

using SignaturePtr = std::unique_ptr<ECDSA_SIG, OpensslFree<ECDSA_SIG_free>>;

const unsigned char* octets(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// OpenSSL speaks DER, tokens carry the two numbers side by side.
std::string raw_from_der(const std::string& der) {
  const unsigned char* in = octets(der);
  const SignaturePtr signature(d2i_ECDSA_SIG(nullptr, &in, static_cast<long>(der.size())));
  must(signature != nullptr, "read a signature");
  std::string raw(2 * kHalf, '\0');
  auto* out = reinterpret_cast<unsigned char*>(raw.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), out, static_cast<int>(kHalf));
  BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), out + kHalf, static_cast<int>(kHalf));
  return raw;
}

std::string der_from_raw(std::string_view raw) {
  const SignaturePtr signature(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(octets(raw), static_cast<int>(kHalf), nullptr);
  BIGNUM* s = BN_bin2bn(octets(raw) + kHalf, static_cast<int>(kHalf), nullptr);
  must(ECDSA_SIG_set0(signature.get(), r, s) == 1, "build a signature");
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(signature.get(), &der);
  must(size > 0, "build a signature");
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

bool fits(EVP_PKEY* key, std::string_view message, const std::string& der) {
  const MdCtxPtr context(EVP_MD_CTX_new());
  const bool ok = EVP_PKEY_is_a(key, "EC") == 1 &&
                  EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
                  EVP_DigestVerify(context.get(), octets(der), der.size(), octets(message),
                                   message.size()) == 1;
  ERR_clear_error();
  return ok;
}

}  // namespace

std::string sign_token(const PrivateKey& key, std::string_view claims_json) {
  std::string header = R"({"alg":"ES256","typ":"JWT","kid":")";
  header += key.public_key().id();
  header += R"("})";
  std::string token = base64url_encode(header);
  token += '.';
  token += base64url_encode(claims_json);

  const MdCtxPtr context(EVP_MD_CTX_new());
  std::size_t size = 0;
  must(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.impl().key.get()) ==
               1 &&
           EVP_DigestSign(context.get(), nullptr, &size, octets(token), token.size()) == 1,
       "sign");
  std::string der(size, '\0');
  must(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(der.data()), &size,
                      octets(token), token.size()) == 1,
       "sign");
  der.resize(size);
  token += '.';
  token += base64url_encode(raw_from_der(der));
  return token;
}

Result<VerifiedToken> verify_token(std::string_view token, std::span<const PublicKey> keys) {
  const Error malformed{Code::unauthorized, "the token is not a signed JSON Web Token"};
  const std::size_t first = token.find('.');
  const std::size_t last = token.rfind('.');
  if (token.size() > kMaxToken || first == std::string_view::npos || first == last ||
      token.find('.', first + 1) != last) {
    return malformed;
  }
  const auto header = base64url_decode(token.substr(0, first));
  const auto claims = base64url_decode(token.substr(first + 1, last - first - 1));
  const auto signature = base64url_decode(token.substr(last + 1));
  if (!header || !claims || !signature) return malformed;
  if (signature->size() == 2 * kHalf) {
    const std::string der = der_from_raw(*signature);
    for (const PublicKey& key : keys) {
      if (fits(key.impl().key.get(), token.substr(0, last), der)) {
        return VerifiedToken{*header, *claims, key.id()};
      }
    }
  }
  return Error{Code::unauthorized, "the token is not signed by a key this cluster trusts"};
}

}  // namespace skiff::pki
