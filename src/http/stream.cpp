#include "stream.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>

namespace skiff::http {
namespace {

constexpr std::size_t kBatch = 128 * 1024;     // plain bytes encrypted before they are sent
constexpr std::size_t kRecord = 16 * 1024;     // the most one TLS record holds
constexpr std::size_t kWorthACopy = 4 * 1024;  // shorter pieces are joined into a record
constexpr std::size_t kPieces = 64;            // of one sendmsg
constexpr std::size_t kReadAhead = 36 * 1024;  // of ciphertext: two records

// OpenSSL writes its records here; flush() sends them together.
int sink_write(BIO* bio, const char* data, int size) {
  static_cast<Scratch*>(BIO_get_data(bio))->cipher.append(data, static_cast<std::size_t>(size));
  return size;
}

long sink_control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

const BIO_METHOD* sink_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "skiff sink");
    BIO_meth_set_write(m, sink_write);
    BIO_meth_set_ctrl(m, sink_control);
    return m;
  }();
  return method;
}

bool is_certificate_error(int reason) {
  return reason == SSL_R_CERTIFICATE_VERIFY_FAILED || reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA ||
         reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE ||
         reason == SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN ||
         reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED ||
         reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED;
}

Error handshake_error(SSL* ssl, int ssl_error) {
  const unsigned long code = ERR_peek_last_error();
  const int reason = ERR_GET_REASON(code);
  if (code == 0 || ssl_error == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    return {Code::unavailable, "the connection closed during the TLS handshake"};
  }
  if (reason == SSL_R_HTTP_REQUEST || reason == SSL_R_WRONG_VERSION_NUMBER) {
    const bool http = reason == SSL_R_HTTP_REQUEST;
    ERR_clear_error();
    return {http ? Code::bad_request : Code::unavailable,
            http ? "the client speaks plain HTTP to an HTTPS port" : "the peer does not speak TLS"};
  }
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    const long verdict = SSL_get_verify_result(ssl);
    ERR_clear_error();
    return {Code::unauthorized, std::string("the server's certificate is not trusted: ") +
                                    X509_verify_cert_error_string(verdict)};
  }
  const Code kind = is_certificate_error(reason) ? Code::unauthorized : Code::unavailable;
  return {kind, "TLS handshake: " + tls_error_text()};
}

}  // namespace

std::string_view Outgoing::whole(std::size_t index) const noexcept {
  if (index == 0) return head;
  if (index <= keep.size()) return keep[index - 1].bytes();
  return tail;
}

std::string_view Outgoing::front() noexcept {
  const std::size_t count = keep.size() + 2;
  while (at_ < count && offset_ == whole(at_).size()) {
    ++at_;
    offset_ = 0;
  }
  done_ = at_ == count;
  return done_ ? std::string_view{} : whole(at_).substr(offset_);
}

std::string_view Outgoing::piece(std::size_t ahead) const noexcept {
  return whole(at_ + ahead).substr(ahead == 0 ? offset_ : 0);
}

void Outgoing::consume(std::size_t bytes) noexcept {
  while (bytes > 0) {
    const std::size_t step = std::min(bytes, front().size());
    offset_ += step;
    bytes -= step;
  }
  front();
}

Stream::Stream(const Executor& executor, int fd, Scratch& scratch)
    : socket_(executor, fd), scratch_(scratch) {
  socket_.native_non_blocking(true);
}

Stream::~Stream() { close(); }

void Stream::set_tls(SslPtr ssl) {
  BIO* source = BIO_new_socket(native(), BIO_NOCLOSE);
  BIO* sink = BIO_new(sink_method());
  SKIFF_ASSERT(source != nullptr && sink != nullptr, "OpenSSL cannot make a BIO");
  BIO_set_data(sink, &scratch_);
  BIO_set_init(sink, 1);
  SSL_set_bio(ssl.get(), source, sink);
  ssl_ = std::move(ssl);
}

void Stream::serve_tls(SslPtr ssl) {
  set_tls(std::move(ssl));
  handover_ = std::make_unique<Handover>(ssl_.get(), native());
}

void Stream::let_session_go() {
  if (!handover_) return;
  records_ = handover_->take(scratch_.ciphers);
  handover_.reset();
  if (!records_) return;
  ssl_.reset();
  scratch_.records.resize(kReadAhead);
}

Task<void> Stream::wait(asio::posix::descriptor_base::wait_type what) {
  boost::system::error_code ec;
  co_await socket_.async_wait(what, asio::redirect_error(asio::use_awaitable, ec));
  if (!ec) co_return;
  // Ended by interrupt() or close(), or because the task is to stop: tell them apart.
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    throw boost::system::system_error(asio::error::operation_aborted);
  }
}

void Stream::interrupt() {
  ++interrupts_;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

Task<Result<void>> Stream::handshake() {
  const std::uint32_t interrupts = interrupts_;
  while (is_open()) {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    const int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    Error refused;
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {
      refused = handshake_error(ssl_.get(), error);
    }
    IoStatus flushed = flush();  // an alert, if nothing else
    if (!refused.message.empty()) co_return refused;
    while (flushed == IoStatus::would_block && interrupts == interrupts_) {
      co_await writable();
      flushed = flush();
    }
    if (flushed == IoStatus::failed) break;
    if (done == 1) co_return Result<void>{};
    if (interrupts == interrupts_) co_await readable();
    if (interrupts != interrupts_) {
      co_return Error{Code::timeout, "the TLS handshake took too long"};
    }
  }
  co_return Error{Code::unavailable, "the connection closed during the TLS handshake"};
}

bool Stream::has_buffered() const noexcept {
  if (ssl_) return SSL_has_pending(ssl_.get()) == 1;
  const std::size_t next = TlsRecords::length(unopened_);
  return reading_over_ || !opened_.empty() || (next != 0 && next <= unopened_.size());
}

IoResult Stream::read_plain(std::span<char> into) {
  for (;;) {
    const ssize_t n = ::recv(native(), into.data(), into.size(), 0);
    if (n > 0) return {IoStatus::ok, static_cast<std::size_t>(n)};
    if (n == 0) return {IoStatus::closed, 0};
    if (errno == EINTR) continue;
    const bool later = errno == EAGAIN || errno == EWOULDBLOCK;
    return {later ? IoStatus::would_block : IoStatus::failed, 0};
  }
}

IoResult Stream::read_session(std::span<char> into) {
  ERR_clear_error();
  std::size_t bytes = 0;
  const int ok = SSL_read_ex(ssl_.get(), into.data(), into.size(), &bytes);
  const int error = ok == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), ok);
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  const bool cut = reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  if (!scratch_.cipher.empty()) flush();  // key updates and alerts; what does not fit goes later
  if (ok == 1) return {IoStatus::ok, bytes};
  if (error == SSL_ERROR_WANT_READ) return {IoStatus::would_block, 0};
  if (error == SSL_ERROR_ZERO_RETURN) return {IoStatus::closed, 0};
  if (error == SSL_ERROR_SSL && cut) {
    ended_properly_ = false;
    return {IoStatus::closed, 0};
  }
  certificate_refused_ = is_certificate_error(reason);
  ERR_clear_error();
  return {IoStatus::failed, 0};
}

// The peer's bytes end here, properly or not.
IoResult Stream::end_records(IoStatus status) {
  reading_over_ = true;
  if (status == IoStatus::failed) {
    records_->say_goodbye(scratch_.cipher);
    flush();
  }
  return {status, 0};
}

IoResult Stream::open_records(std::span<char>& cipher, std::span<char> into) {
  std::size_t filled = 0;
  for (;;) {
    const std::size_t size = TlsRecords::length({cipher.data(), cipher.size()});
    // A header alone is enough to refuse what is too long.
    const bool too_long = size > TlsRecords::kLongest;
    if (size == 0 || (size > cipher.size() && !too_long)) break;
    if (filled > 0 && size > into.size() - filled) break;
    const TlsRecords::Opened record = records_->open(too_long ? cipher : cipher.first(size));
    if (record.got == TlsRecords::Got::broken) return end_records(IoStatus::failed);
    if (record.got == TlsRecords::Got::closed) {
      const IoResult end = end_records(IoStatus::closed);
      return filled > 0 ? IoResult{IoStatus::ok, filled} : end;
    }
    cipher = cipher.subspan(size);
    const std::size_t taken = std::min(into.size() - filled, record.bytes.size());
    std::copy_n(record.bytes.begin(), taken, into.begin() + static_cast<std::ptrdiff_t>(filled));
    opened_ = record.bytes.substr(taken);
    filled += taken;
  }
  return {filled > 0 ? IoStatus::ok : IoStatus::would_block, filled};
}

IoResult Stream::read_records(std::span<char> into) {
  if (!opened_.empty()) {
    const std::size_t taken = std::min(into.size(), opened_.size());
    std::copy_n(opened_.begin(), taken, into.begin());
    opened_.erase(0, taken);
    if (opened_.empty()) opened_ = std::string();  // gives the memory back
    return {IoStatus::ok, taken};
  }
  if (reading_over_) return {IoStatus::closed, 0};
  std::vector<char>& space = scratch_.records;
  std::copy(unopened_.begin(), unopened_.end(), space.begin());
  std::span<char> cipher(space.data(), unopened_.size());
  IoResult result = open_records(cipher, into);
  if (result.status == IoStatus::would_block) {
    // What is left is a part of one record at most, so that there is room.
    std::copy(cipher.begin(), cipher.end(), space.begin());
    const std::size_t held = cipher.size();
    result = read_plain(std::span(space).subspan(held));
    cipher = std::span(space).first(held + result.bytes);
    if (result.status == IoStatus::ok) {
      result = open_records(cipher, into);
    } else if (result.status == IoStatus::closed) {
      ended_properly_ = false;
      reading_over_ = true;
    }
  }
  unopened_ = cipher.empty() ? std::string() : std::string(cipher.data(), cipher.size());
  if (records_->owes_key() && unsent_.empty()) {
    records_->renew_key(scratch_.cipher);
    flush();
  }
  return result;
}

IoResult Stream::read_now(std::span<char> into) {
  if (!is_open()) return {IoStatus::failed, 0};
  if (records_) return read_records(into);
  return ssl_ ? read_session(into) : read_plain(into);
}

Task<IoResult> Stream::read_some(std::span<char> into) {
  const std::uint32_t interrupts = interrupts_;
  IoResult result{IoStatus::would_block, 0};
  if (has_buffered()) result = read_now(into);
  while (result.status == IoStatus::would_block) {
    co_await readable();
    if (interrupts != interrupts_) co_return IoResult{IoStatus::interrupted, 0};
    result = read_now(into);
  }
  co_return result;
}

std::ptrdiff_t Stream::send(std::string_view bytes) noexcept {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::send(native(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return static_cast<std::ptrdiff_t>(sent);
}

IoStatus Stream::flush() {
  if (!is_open()) {
    scratch_.cipher.clear();
    return IoStatus::failed;
  }
  if (!unsent_.empty()) {
    unsent_ += scratch_.cipher;
    scratch_.cipher.clear();
    const std::ptrdiff_t sent = send(unsent_);
    if (sent < 0) return IoStatus::failed;
    if (static_cast<std::size_t>(sent) < unsent_.size()) {
      unsent_.erase(0, static_cast<std::size_t>(sent));
      return IoStatus::would_block;
    }
    unsent_ = std::string();  // gives the memory back
    return IoStatus::ok;
  }
  const std::ptrdiff_t sent = send(scratch_.cipher);
  if (sent >= 0) unsent_ = scratch_.cipher.substr(static_cast<std::size_t>(sent));
  scratch_.cipher.clear();
  if (sent < 0) return IoStatus::failed;
  return unsent_.empty() ? IoStatus::ok : IoStatus::would_block;
}

bool Stream::encrypt(Outgoing& out) {
  std::size_t batch = 0;
  while (batch < kBatch) {
    std::string_view bytes = out.front();
    if (out.done()) break;
    if (bytes.size() < kWorthACopy && out.pieces_left() > 1) {
      std::string& plain = scratch_.plain;
      plain.clear();
      while (!out.done() && plain.size() < kRecord) {
        const std::string_view piece = out.front().substr(0, kRecord - plain.size());
        plain += piece;
        out.consume(piece.size());
      }
      bytes = plain;
    } else {
      bytes = bytes.substr(0, kRecord);
      out.consume(bytes.size());  // pieces stay where they are while `out` lives
    }
    batch += bytes.size();
    if (!encrypt_piece(bytes)) return false;
  }
  return true;
}

bool Stream::encrypt_piece(std::string_view bytes) {
  if (records_) {
    records_->seal(bytes, scratch_.cipher);
    return true;
  }
  while (!bytes.empty()) {
    std::size_t taken = 0;
    ERR_clear_error();
    if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &taken) != 1) {
      ERR_clear_error();
      return false;
    }
    bytes.remove_prefix(taken);
  }
  return true;
}

IoStatus Stream::write_tls(Outgoing& out) {
  for (;;) {
    if (!unsent_.empty()) {
      if (const IoStatus s = flush(); s != IoStatus::ok) return s;
    }
    out.front();
    if (out.done()) return IoStatus::ok;
    const bool encrypted = encrypt(out);
    const IoStatus s = flush();
    if (!encrypted) return IoStatus::failed;
    if (s != IoStatus::ok) return s;
  }
}

IoStatus Stream::write_plain(Outgoing& out) {
  for (out.front(); !out.done(); out.front()) {
    std::array<iovec, kPieces> vector;  // NOLINT: filled below
    const std::size_t count = std::min(out.pieces_left(), kPieces);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string_view piece = out.piece(i);
      vector[i] = {const_cast<char*>(piece.data()), piece.size()};  // NOLINT: sendmsg only reads
    }
    msghdr message{};
    message.msg_iov = vector.data();
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(native(), &message, MSG_NOSIGNAL);
    if (n >= 0) {
      out.consume(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return IoStatus::would_block;
    } else if (errno != EINTR) {
      return IoStatus::failed;
    }
  }
  return IoStatus::ok;
}

IoStatus Stream::write_now(Outgoing& out) {
  if (!is_open()) return IoStatus::failed;
  return is_secure() ? write_tls(out) : write_plain(out);
}

void Stream::send_plain(std::string_view text) noexcept {
  if (!is_open()) return;
  // Bytes left unread would make the kernel reset the connection, and the text might be lost.
  read_plain(scratch_.input);
  send(text);
}

void Stream::shutdown_write() noexcept {
  if (!is_open()) return;
  if (ssl_) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    flush();
  }
  if (records_) {
    records_->say_goodbye(scratch_.cipher);
    flush();
  }
  ::shutdown(native(), SHUT_WR);
}

void Stream::close() noexcept {
  if (!is_open()) return;
  boost::system::error_code ignored;
  socket_.close(ignored);
  unsent_ = std::string();
}

}  // namespace skiff::http
