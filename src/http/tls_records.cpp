#include "tls_records.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>

#include "skiff/base/result.hpp"

namespace skiff::http {
namespace {

constexpr std::size_t kTag = 16;
constexpr std::uint8_t kKeyUpdate = 24;
constexpr std::size_t kKeyUpdateSize = 5;

// Alerts (RFC 8446 section 6).
constexpr std::uint8_t kCloseNotify = 0;
constexpr std::uint8_t kUnexpectedMessage = 10;
constexpr std::uint8_t kBadRecordMac = 20;
constexpr std::uint8_t kRecordOverflow = 22;
constexpr std::uint8_t kIllegalParameter = 47;
constexpr std::uint8_t kDecodeError = 50;
constexpr std::uint8_t kUserCanceled = 90;
constexpr char kWarning = 1;
constexpr char kFatal = 2;

struct Traits {
  const EVP_CIPHER* cipher;
  const EVP_MD* hash;
  std::size_t key_size;
};

// Fetched once: naming a cipher by EVP_aes_128_gcm() looks it up again with every use.
const Traits& traits_of(Suite suite) {
  static const std::array<Traits, kSuites> all = {{
      {EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr), EVP_sha256(), 16},
      {EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr), EVP_sha384(), 32},
      {EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr), EVP_sha256(), 32},
  }};
  return all[static_cast<std::size_t>(suite)];
}

// HKDF-Expand-Label (section 7.1) without a context. No more than the hash's size is ever asked
// for, so that one round of HMAC is all of it.
void expand_label(const EVP_MD* hash, const Secret& secret, std::string_view label,
                  std::span<unsigned char> out) {
  std::array<unsigned char, 32> info{};
  std::size_t n = 0;
  info[n++] = 0;
  info[n++] = static_cast<unsigned char>(out.size());
  info[n++] = static_cast<unsigned char>(6 + label.size());
  for (const char c : std::string_view("tls13 ")) info[n++] = static_cast<unsigned char>(c);
  for (const char c : label) info[n++] = static_cast<unsigned char>(c);
  info[n++] = 0;  // no context
  info[n++] = 1;  // the first round
  std::array<unsigned char, EVP_MAX_MD_SIZE> round{};
  unsigned size = 0;
  const bool made =
      HMAC(hash, secret.bytes.data(), secret.size, info.data(), n, round.data(), &size) != nullptr;
  SKIFF_ASSERT(made && size >= out.size(), "OpenSSL cannot derive a TLS key");
  std::copy_n(round.begin(), out.size(), out.begin());
  OPENSSL_cleanse(round.data(), round.size());
}

unsigned char* bytes_of(char* text) { return reinterpret_cast<unsigned char*>(text); }
const unsigned char* bytes_of(const char* text) {
  return reinterpret_cast<const unsigned char*>(text);
}

}  // namespace

Secret::~Secret() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

TlsRecords::Direction::~Direction() { OPENSSL_cleanse(key.data(), key.size()); }

void RecordCipherFree::operator()(EVP_CIPHER_CTX* context) const noexcept {
  EVP_CIPHER_CTX_free(context);
}

RecordCiphers::Keyed& RecordCiphers::get(Suite suite, bool seals) {
  Keyed& keyed = keyed_[static_cast<std::size_t>(suite) * 2 + (seals ? 1 : 0)];
  if (!keyed.context) {
    keyed.context.reset(EVP_CIPHER_CTX_new());
    SKIFF_ASSERT(keyed.context && EVP_CipherInit_ex(keyed.context.get(), traits_of(suite).cipher,
                                                    nullptr, nullptr, nullptr, seals ? 1 : 0) == 1,
                 "OpenSSL cannot make a cipher context");
  }
  return keyed;
}

TlsRecords::TlsRecords(RecordCiphers& ciphers, Suite suite, const Secret& peer,
                       std::uint64_t opened, const Secret& own, std::uint64_t sealed)
    : ciphers_(ciphers), suite_(suite) {
  peer_.secret = peer;
  own_.secret = own;
  derive(peer_);
  derive(own_);
  peer_.records = opened;
  own_.records = sealed;
}

void TlsRecords::derive(Direction& direction) {
  const Traits& t = traits_of(suite_);
  expand_label(t.hash, direction.secret, "key", std::span(direction.key).first(t.key_size));
  expand_label(t.hash, direction.secret, "iv", direction.iv);
  direction.number = ciphers_.next_key();
  direction.records = 0;
}

void TlsRecords::next_key(Direction& direction) {
  Secret next;
  next.size = direction.secret.size;
  expand_label(traits_of(suite_).hash, direction.secret, "traffic upd",
               std::span(next.bytes).first(next.size));
  direction.secret = next;
  derive(direction);
}

// A context ready for the direction's next record, which the header belongs to.
EVP_CIPHER_CTX* TlsRecords::prepare(Direction& direction, bool seals, const unsigned char* header) {
  RecordCiphers::Keyed& keyed = ciphers_.get(suite_, seals);
  const bool set_up = keyed.key == direction.number;
  std::array<unsigned char, 12> nonce = direction.iv;
  for (std::size_t i = 0; i < 8; ++i) {
    nonce[11 - i] ^= static_cast<unsigned char>(direction.records >> (8 * i));
  }
  // A number is used once, whatever comes of it.
  ++direction.records;
  keyed.key = direction.number;
  EVP_CIPHER_CTX* context = keyed.context.get();
  int ignored = 0;
  const bool ready =
      EVP_CipherInit_ex(context, nullptr, nullptr, set_up ? nullptr : direction.key.data(),
                        nonce.data(), seals ? 1 : 0) == 1 &&
      EVP_CipherUpdate(context, nullptr, &ignored, header, kHeader) == 1;
  SKIFF_ASSERT(ready, "OpenSSL cannot set up a cipher");
  return context;
}

std::size_t TlsRecords::length(std::string_view bytes) noexcept {
  if (bytes.size() < kHeader) return 0;
  const unsigned char* header = bytes_of(bytes.data());
  const std::size_t body = static_cast<std::size_t>(header[3]) << 8U | header[4];
  return std::min(kHeader + body, kLongest + 1);
}

TlsRecords::Opened TlsRecords::broken(std::uint8_t alert) noexcept {
  alert_ = alert;
  return {Got::broken, {}};
}

TlsRecords::Opened TlsRecords::open(std::span<char> record) {
  if (length({record.data(), record.size()}) > kLongest) return broken(kRecordOverflow);
  // Nothing is in the clear any more, and nothing is shorter than a type and its tag.
  if (record[0] != static_cast<char>(Type::data)) return broken(kUnexpectedMessage);
  if (record.size() < kHeader + 1 + kTag) return broken(kBadRecordMac);
  unsigned char* body = bytes_of(record.data()) + kHeader;
  const std::size_t size = record.size() - kHeader - kTag;
  EVP_CIPHER_CTX* context = prepare(peer_, false, bytes_of(record.data()));
  int done = 0;
  int rest = 0;
  const bool genuine =
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTag, body + size) == 1 &&
      EVP_CipherUpdate(context, body, &done, body, static_cast<int>(size)) == 1 &&
      EVP_CipherFinal_ex(context, body + done, &rest) == 1;
  if (!genuine) return broken(kBadRecordMac);
  std::string_view content(record.data() + kHeader, size);
  // Zeros behind the type are padding.
  const std::size_t end = content.find_last_not_of('\0');
  if (end == std::string_view::npos) return broken(kUnexpectedMessage);
  const auto type = static_cast<std::uint8_t>(content[end]);
  content = content.substr(0, end);
  if (content.size() > kPlain) return broken(kRecordOverflow);
  if (type == static_cast<std::uint8_t>(Type::data)) return {Got::data, content};
  if (type == static_cast<std::uint8_t>(Type::alert)) return open_alert(content);
  if (type == static_cast<std::uint8_t>(Type::handshake)) return open_handshake(content);
  return broken(kUnexpectedMessage);
}

TlsRecords::Opened TlsRecords::open_alert(std::string_view content) noexcept {
  if (content.size() != 2) return broken(kDecodeError);
  const auto what = static_cast<std::uint8_t>(content[1]);
  if (what == kCloseNotify) return {Got::closed, {}};
  if (what == kUserCanceled) return {Got::nothing, {}};  // close_notify follows
  silent_ = true;
  return {Got::broken, {}};
}

// Of all that may follow a handshake a client sends KeyUpdate only. It is the last message under
// its key, so that nothing stands behind it; five bytes in two records are nobody's habit.
TlsRecords::Opened TlsRecords::open_handshake(std::string_view content) {
  if (content.empty() || static_cast<std::uint8_t>(content[0]) != kKeyUpdate) {
    return broken(kUnexpectedMessage);
  }
  if (content.size() != kKeyUpdateSize) return broken(kUnexpectedMessage);
  if (content.substr(1, 3) != std::string_view("\0\0\1", 3)) return broken(kDecodeError);
  if (content[4] != 0 && content[4] != 1) return broken(kIllegalParameter);
  if (content[4] == 1) owes_key_ = true;
  next_key(peer_);
  return {Got::nothing, {}};
}

void TlsRecords::seal(std::string_view bytes, std::string& out) {
  if (owes_key_ || own_.records >= kRecordsPerKey) renew_key(out);
  while (!bytes.empty()) {
    seal_as(Type::data, bytes.substr(0, kPlain), out);
    bytes.remove_prefix(std::min(bytes.size(), kPlain));
  }
}

void TlsRecords::renew_key(std::string& out) {
  owes_key_ = false;
  constexpr std::string_view kUpdate("\x18\0\0\1\0", kKeyUpdateSize);  // asks for none in return
  seal_as(Type::handshake, kUpdate, out);
  next_key(own_);
}

void TlsRecords::say_goodbye(std::string& out) {
  if (silent_) return;
  silent_ = true;
  const std::array<char, 2> alert = {alert_ == 0 ? kWarning : kFatal, static_cast<char>(alert_)};
  seal_as(Type::alert, {alert.data(), alert.size()}, out);
}

void TlsRecords::seal_as(Type type, std::string_view bytes, std::string& out) {
  const std::size_t size = bytes.size() + 1;
  const std::size_t body = size + kTag;
  const std::size_t at = out.size();
  out.reserve(at + kHeader + body);
  out += static_cast<char>(Type::data);
  out += "\x03\x03";
  out += static_cast<char>(body >> 8U);
  out += static_cast<char>(body & 0xffU);
  out += bytes;
  out += static_cast<char>(type);
  out.append(kTag, '\0');
  unsigned char* content = bytes_of(out.data()) + at + kHeader;
  EVP_CIPHER_CTX* context = prepare(own_, true, bytes_of(out.data()) + at);
  int done = 0;
  int rest = 0;
  const bool sealed =
      EVP_CipherUpdate(context, content, &done, content, static_cast<int>(size)) == 1 &&
      EVP_CipherFinal_ex(context, content + done, &rest) == 1 &&
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTag, content + size) == 1;
  SKIFF_ASSERT(sealed, "OpenSSL cannot encrypt");
}

}  // namespace skiff::http
