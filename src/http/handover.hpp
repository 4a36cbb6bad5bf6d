// Stands between a server's handshake and its socket, so that OpenSSL's session can go once the
// handshake is over: OpenSSL is never given more than one record at a time and so holds nothing
// back, and what it says of its secrets and records is noted.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "tls_records.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace skiff::http {

class Handover {
 public:
  // Makes the sessions of `context` tell their Handover, if they have one.
  static void prepare(ssl_ctx_st* context);

  // `session` reads from the non-blocking `socket` from now on. This outlives the session, unless
  // take() is called.
  Handover(ssl_st* session, int socket);
  Handover(const Handover&) = delete;
  Handover& operator=(const Handover&) = delete;

  // After the handshake: what it takes to go on without the session. Null when the session must
  // stay (TLS 1.2, short records agreed upon): it reads from the socket itself then.
  std::unique_ptr<TlsRecords> take(RecordCiphers& ciphers);

  // For OpenSSL's callbacks.
  int read(char* into, int size);
  bool at_end() const noexcept { return at_end_; }
  bool would_block() const noexcept { return would_block_; }
  void note_secret(const char* line);
  void note_record(bool sent) noexcept { ++(sent ? sent_ : received_); }

 private:
  ssl_st* session_;
  int socket_;
  std::array<char, TlsRecords::kHeader> header_{};
  std::size_t header_size_ = 0;
  std::size_t body_left_ = 0;
  bool at_end_ = false;
  bool would_block_ = false;
  Secret client_;
  Secret server_;
  std::uint64_t sent_ = 0;      // records since server_ is in use
  std::uint64_t received_ = 0;  // records since client_ is
};

}  // namespace skiff::http
