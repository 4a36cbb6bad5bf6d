#include "handover.hpp"

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "skiff/base/result.hpp"

namespace skiff::http {
namespace {

int handover_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

Handover* handover_of(const SSL* ssl) {
  return static_cast<Handover*>(SSL_get_ex_data(ssl, handover_index()));
}

void on_key(const SSL* ssl, const char* line) {
  if (Handover* handover = handover_of(ssl)) handover->note_secret(line);
}

void on_message(int sent, int /*version*/, int type, const void* /*bytes*/, std::size_t /*size*/,
                SSL* ssl, void* /*argument*/) {
  if (type != SSL3_RT_HEADER) return;
  if (Handover* handover = handover_of(ssl)) handover->note_record(sent != 0);
}

int source_read(BIO* bio, char* into, int size) {
  auto* handover = static_cast<Handover*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const int n = handover->read(into, size);
  if (n < 0 && handover->would_block()) BIO_set_retry_read(bio);
  return n;
}

long source_control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_EOF) return static_cast<Handover*>(BIO_get_data(bio))->at_end() ? 1 : 0;
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

const BIO_METHOD* source_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "skiff source");
    BIO_meth_set_read(m, source_read);
    BIO_meth_set_ctrl(m, source_control);
    return m;
  }();
  return method;
}

// "0a1b..." of the sizes that secrets have; anything else leaves it unknown.
void read_secret(std::string_view hex, Secret& secret) {
  secret.size = 0;
  if (hex.size() % 2 != 0 || hex.size() > secret.bytes.size() * 2) return;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const char* end = hex.data() + i + 2;
    const auto [stop, error] = std::from_chars(hex.data() + i, end, secret.bytes[i / 2], 16);
    if (error != std::errc() || stop != end) return;
  }
  secret.size = static_cast<std::uint8_t>(hex.size() / 2);
}

std::optional<Suite> suite_of(const SSL* ssl) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  if (cipher == nullptr) return std::nullopt;
  switch (SSL_CIPHER_get_protocol_id(cipher)) {
    case 0x1301:
      return Suite::aes_128_gcm_sha256;
    case 0x1302:
      return Suite::aes_256_gcm_sha384;
    case 0x1303:
      return Suite::chacha20_sha256;
    default:
      return std::nullopt;
  }
}

}  // namespace

void Handover::prepare(SSL_CTX* context) {
  SSL_CTX_set_keylog_callback(context, on_key);
  SSL_CTX_set_msg_callback(context, on_message);
}

Handover::Handover(SSL* session, int socket) : session_(session), socket_(socket) {
  BIO* source = BIO_new(source_method());
  SKIFF_ASSERT(source != nullptr, "OpenSSL cannot make a BIO");
  BIO_set_data(source, this);
  BIO_set_init(source, 1);
  SSL_set0_rbio(session, source);
  SSL_set_ex_data(session, handover_index(), this);
}

int Handover::read(char* into, int size) {
  const bool in_header = body_left_ == 0;
  const std::size_t wanted = std::min(static_cast<std::size_t>(size),
                                      in_header ? TlsRecords::kHeader - header_size_ : body_left_);
  ssize_t n = 0;
  do {
    n = ::recv(socket_, into, wanted, 0);
  } while (n < 0 && errno == EINTR);
  would_block_ = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  at_end_ = n == 0;
  if (n <= 0) return static_cast<int>(n);
  const auto got = static_cast<std::size_t>(n);
  if (!in_header) {
    body_left_ -= got;
    return static_cast<int>(n);
  }
  std::copy_n(into, got, header_.data() + header_size_);
  header_size_ += got;
  if (header_size_ == TlsRecords::kHeader) {
    header_size_ = 0;
    body_left_ = TlsRecords::length({header_.data(), header_.size()}) - TlsRecords::kHeader;
  }
  return static_cast<int>(n);
}

// "LABEL CLIENT_RANDOM SECRET", when OpenSSL begins to use the secret.
void Handover::note_secret(const char* line) {
  const std::string_view text(line);
  const std::string_view hex = text.substr(text.rfind(' ') + 1);
  if (text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) {
    read_secret(hex, client_);
    received_ = 0;
  } else if (text.starts_with("SERVER_TRAFFIC_SECRET_0 ")) {
    read_secret(hex, server_);
    sent_ = 0;
  }
}

std::unique_ptr<TlsRecords> Handover::take(RecordCiphers& ciphers) {
  SSL_set_ex_data(session_, handover_index(), nullptr);
  const std::optional<Suite> suite = suite_of(session_);
  const SSL_SESSION* terms = SSL_get_session(session_);
  const bool own_size = terms != nullptr && SSL_SESSION_get_max_fragment_length(terms) ==
                                                TLSEXT_max_fragment_length_DISABLED;
  const bool between_records =
      header_size_ == 0 && body_left_ == 0 && SSL_has_pending(session_) == 0;
  const std::size_t secret = suite == Suite::aes_256_gcm_sha384 ? 48 : 32;
  if (SSL_version(session_) == TLS1_3_VERSION && suite && own_size && between_records &&
      client_.size == secret && server_.size == secret) {
    return std::make_unique<TlsRecords>(ciphers, *suite, client_, received_, server_, sent_);
  }
  BIO* source = BIO_new_socket(socket_, BIO_NOCLOSE);
  SKIFF_ASSERT(source != nullptr, "OpenSSL cannot make a BIO");
  SSL_set0_rbio(session_, source);
  return nullptr;
}

}  // namespace skiff::http
