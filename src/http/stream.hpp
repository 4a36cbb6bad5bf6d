// A non-blocking socket with or without TLS on it. Between calls it holds no buffers but what the
// peer would not take yet: reads go where the caller says, ciphertext passes through Scratch.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "handover.hpp"
#include "skiff/base/env.hpp"
#include "skiff/http/message.hpp"
#include "tls_context.hpp"

namespace skiff::http {

// Working memory shared by all streams of one server or client; they live on one loop, and nothing
// in here outlives the function that filled it.
struct Scratch {
  std::vector<char> input = std::vector<char>(32 * 1024);
  std::string plain;          // small pieces joined into one TLS record
  std::string cipher;         // TLS records on their way to the socket
  std::vector<char> records;  // on their way from it; made when needed
  RecordCiphers ciphers;
};

enum class IoStatus : std::uint8_t {
  ok,
  would_block,
  interrupted,  // interrupt() was called
  closed,       // the peer ended its side
  failed,       // the connection broke
};

struct IoResult {
  IoStatus status = IoStatus::ok;
  std::size_t bytes = 0;
};

// What is being written: pieces and how far it got. `keep` owns what the pieces show.
struct Outgoing {
  std::string head;
  Buffers keep;
  std::string tail;

  bool done() const noexcept { return done_; }
  // The rest of the piece in turn; empty when done.
  std::string_view front() noexcept;
  std::string_view piece(std::size_t ahead) const noexcept;  // ahead = 0: as front()
  std::size_t pieces_left() const noexcept { return keep.size() + 2 - at_; }
  void consume(std::size_t bytes) noexcept;

 private:
  std::string_view whole(std::size_t index) const noexcept;
  std::size_t at_ = 0;
  std::size_t offset_ = 0;
  bool done_ = false;
};

class Stream {
 public:
  // Takes over `fd`, which is a connected, non-blocking stream socket.
  Stream(const Executor& executor, int fd, Scratch& scratch);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  void set_tls(SslPtr ssl);
  // The same on the server's side: let_session_go() may follow the handshake.
  void serve_tls(SslPtr ssl);
  const ssl_st* tls() const noexcept { return ssl_.get(); }
  // After the handshake, when tls() has told all it knows: frees OpenSSL's session where the stream
  // can do without it.
  void let_session_go();
  // Code::bad_request: the peer speaks plain HTTP; Code::unauthorized: a certificate was refused;
  // Code::timeout: interrupted; Code::unavailable: the connection broke.
  Task<Result<void>> handshake();

  // Whether read_now may give something although the socket has nothing.
  bool has_buffered() const noexcept;
  IoResult read_now(std::span<char> into);
  // At least one byte, or interrupted, closed or failed.
  Task<IoResult> read_some(std::span<char> into);

  // Moves on in `out` as far as the kernel takes it: ok when all of it is gone.
  IoStatus write_now(Outgoing& out);

  // These return when the socket may be ready, and after interrupt().
  Task<void> readable() { return wait(asio::posix::descriptor_base::wait_read); }
  Task<void> writable() { return wait(asio::posix::descriptor_base::wait_write); }
  void interrupt();

  // Past TLS: for answers to clients that do not speak it.
  void send_plain(std::string_view text) noexcept;
  // "I have said all": close_notify and FIN.
  void shutdown_write() noexcept;
  // Lets go of the socket; waits end, everything fails from now on.
  void close() noexcept;
  bool is_open() const noexcept { return socket_.is_open(); }
  int native() noexcept { return socket_.native_handle(); }
  // After closed: the peer said so inside TLS, it was not cut off.
  bool ended_properly() const noexcept { return ended_properly_; }
  // After failed: the peer does not take this side's certificate, or misses one (under TLS 1.3 it
  // says so only after the handshake).
  bool certificate_refused() const noexcept { return certificate_refused_; }

 private:
  Task<void> wait(asio::posix::descriptor_base::wait_type what);
  IoResult read_plain(std::span<char> into);
  IoResult read_session(std::span<char> into);
  IoResult read_records(std::span<char> into);
  // Opens the records that `cipher` begins with, as long as `into` has room; takes them off it.
  IoResult open_records(std::span<char>& cipher, std::span<char> into);
  IoResult end_records(IoStatus status);
  bool is_secure() const noexcept { return ssl_ || records_; }
  IoStatus write_plain(Outgoing& out);
  IoStatus write_tls(Outgoing& out);
  // Encrypts at most one batch into scratch_.cipher.
  bool encrypt(Outgoing& out);
  bool encrypt_piece(std::string_view bytes);
  // Hands scratch_.cipher and what waited before it to the kernel.
  IoStatus flush();
  // Sends from the front of `bytes`; returns how much is gone, or -1.
  std::ptrdiff_t send(std::string_view bytes) noexcept;

  asio::posix::stream_descriptor socket_;
  Scratch& scratch_;
  std::unique_ptr<Handover> handover_;  // of a server's handshake
  SslPtr ssl_;
  std::unique_ptr<TlsRecords> records_;  // in place of ssl_, from let_session_go() on
  std::string unopened_;                 // ciphertext read ahead: whole records, a part of one
  std::string opened_;                   // plain bytes there was no room for
  std::string unsent_;                   // ciphertext the kernel did not take
  std::uint32_t interrupts_ = 0;
  bool ended_properly_ = true;
  bool certificate_refused_ = false;
  bool reading_over_ = false;  // records_ will open no more
};

}  // namespace skiff::http
