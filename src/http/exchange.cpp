// The handler's side of a connection.
#include "connection.hpp"

namespace skiff::http {

class UpgradedStream final : public ByteStream {
 public:
  explicit UpgradedStream(Connection& connection) : connection_(connection) {}

  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    std::string& ahead = connection_.input_;
    if (!ahead.empty()) {
      const std::size_t n = std::min(ahead.size(), into.size());
      std::memcpy(into.data(), ahead.data(), n);
      ahead.erase(0, n);
      co_return n;
    }
    IoResult read = co_await connection_.stream_.read_some(into);
    while (read.status == IoStatus::interrupted && !connection_.expired_) {
      read = co_await connection_.stream_.read_some(into);
    }
    if (read.status == IoStatus::ok || read.status == IoStatus::closed) co_return read.bytes;
    co_return connection_.gone_error();
  }

  Task<Result<void>> write(Buffers data) override {
    Outgoing out;
    out.keep = std::move(data);
    return connection_.send(std::move(out));
  }

  void close() noexcept override {
    connection_.stream_.shutdown_write();
    connection_.stream_.close();
  }

 private:
  Connection& connection_;
};

Error Connection::gone_error() const {
  return expired_ ? Error{Code::canceled, "the client does not read what it asked for"}
                  : Error{Code::canceled, "the client has gone away"};
}

Task<Result<void>> Connection::send(Outgoing out) {
  for (;;) {
    const IoStatus status = stream_.write_now(out);
    if (status == IoStatus::ok) {
      disarm();
      co_return Result<void>{};
    }
    if (status == IoStatus::would_block && !expired_) {
      arm(core_.options.limits.write_stall);
      co_await stream_.writable();
      if (!expired_) continue;
    }
    disarm();
    gone_ = true;
    stream_.close();
    co_return gone_error();
  }
}

void Connection::respond(Response response) {
  SKIFF_ASSERT(form_ == Form::none, "a request was answered twice");
  form_ = Form::whole;
  response_ = std::move(response);
}

Task<Result<void>> Connection::start(Response response) {
  SKIFF_ASSERT(form_ == Form::none, "a request was answered twice");
  form_ = Form::streamed;
  chunked_ = minor_version_ > 0;
  if (!chunked_) keep_alive_ = false;  // HTTP/1.0: the end of the connection ends the body
  Framing framing;
  framing.chunked = chunked_;
  framing.length_known = false;
  framing.connection = connection_header();
  Outgoing out;
  out.head = response_head(response.status, response.headers, framing, core_.date_line());
  const std::size_t size = total_size(response.body);
  if (size > 0 && method_ != Method::head) {
    if (chunked_) {
      out.head += chunk_head(size);
      out.tail = kChunkEnd;
    }
    out.keep = std::move(response.body);
  }
  if (method_ == Method::head) chunked_ = false;  // no chunk follows, not even the last
  parser_.reset();
  tasks_.spawn("http monitor", monitor(exchange_));
  writing_ = true;
  const Result<void> sent = co_await send(std::move(out));
  writing_ = !sent;
  co_return sent;
}

Task<Result<void>> Connection::write(Buffers part) {
  SKIFF_ASSERT(form_ == Form::streamed, "write() needs start() before it");
  if (gone_) co_return gone_error();
  const std::size_t size = total_size(part);
  // An empty chunk would end the body.
  if (size == 0 || method_ == Method::head) co_return Result<void>{};
  Outgoing out;
  if (chunked_) {
    out.head = chunk_head(size);
    out.tail = kChunkEnd;
  }
  out.keep = std::move(part);
  writing_ = true;
  const Result<void> sent = co_await send(std::move(out));
  writing_ = !sent;
  co_return sent;
}

Task<Result<ByteStream*>> Connection::upgrade(Headers headers) {
  SKIFF_ASSERT(form_ == Form::none, "a request was answered twice");
  form_ = Form::upgraded;
  keep_alive_ = false;
  Framing framing;
  framing.length_known = false;
  framing.connection = "Upgrade";
  Outgoing out;
  out.head = response_head(101, headers, framing, core_.date_line());
  const Result<void> sent = co_await send(std::move(out));
  if (!sent) co_return sent.error();
  upgraded_ = std::make_unique<UpgradedStream>(*this);
  co_return upgraded_.get();
}

}  // namespace skiff::http
