#include "connection.hpp"

#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include "sockets.hpp"

namespace skiff::http {
namespace {

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::string_view kPlainOnTls =
    "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    "Client sent an HTTP request to an HTTPS server.\n";
// What is thrown away of a refused request, so that the client comes to read the refusal.
constexpr std::size_t kLingerBytes = 32 * 1024 * 1024;
constexpr Duration kLinger = 2s;
// What a client may send ahead while an answer streams; then its leaving is noticed by writing.
constexpr std::size_t kPipelined = 16 * 1024;

}  // namespace

Connection::Connection(ServerCore& core, int fd)
    : core_(core), tasks_(core.env.executor), stream_(core.env.executor, fd, core.scratch) {
  if (core_.open_connections != nullptr) core_.open_connections->add(1);
}

Connection::~Connection() {
  if (core_.open_connections != nullptr) core_.open_connections->add(-1);
}

void Connection::begin() { tasks_.spawn("http connection", run()); }

void Connection::arm(Duration limit) {
  deadline_ = core_.env.clock->now() + limit;
  if (deadline_ < core_.next_deadline) {
    core_.next_deadline = deadline_;
    core_.earlier_deadline.notify_all();
  }
}

void Connection::expire() {
  disarm();
  expired_ = true;
  stream_.interrupt();
}

void Connection::stop() {
  const bool endless = form_ == Form::streamed || form_ == Form::upgraded;
  const bool between = phase_ != Phase::reading && phase_ != Phase::handling;
  if (endless || between) cancel();
}

Task<void> Connection::run() {
  struct Closer {
    Connection* self;
    ~Closer() {
      ++self->exchange_;  // a monitor still there has nothing to watch any more
      self->disarm();
      self->stream_.shutdown_write();
      self->stream_.close();
      self->core_.ended.push_back(self);
      self->core_.someone_ended.notify_all();
    }
  } const closer{this};
  if (!co_await open()) co_return;
  while (!core_.stopping) {
    const Next next = co_await next_request();
    if (next == Next::refuse) co_await refuse();
    if (next != Next::request) break;
    if (!co_await exchange()) break;
  }
}

Task<bool> Connection::open() {
  auto info = std::make_shared<ConnectionInfo>(addresses_of(stream_.native()));
  if (core_.tls) {
    const auto tls = core_.tls;  // the one of now, should it be replaced meanwhile
    stream_.serve_tls(tls->server_session(core_.env.clock->wall()));
    arm(core_.options.limits.handshake);
    const Result<void> shaken = co_await stream_.handshake();
    disarm();
    if (!shaken) {
      if (shaken.error().code == Code::bad_request) stream_.send_plain(kPlainOnTls);
      log::debug("http", "TLS handshake failed",
                 {{"peer", info->peer_address}, {"error", shaken.error()}});
      co_return false;
    }
    tls->describe(*stream_.tls(), core_.env.clock->wall(), *info);
    stream_.let_session_go();
  }
  info_ = std::move(info);
  co_return true;
}

ParseStatus Connection::feed(std::string_view bytes) {
  const bool held = !input_.empty();
  if (held) input_ += bytes;
  const ParseStep step = parser_->feed(held ? std::string_view(input_) : bytes);
  if (held) {
    input_.erase(0, step.consumed);
    if (input_.empty()) input_ = std::string();  // an idle connection holds no buffer
  } else {
    input_ = bytes.substr(step.consumed);
  }
  return step.status;
}

void Connection::tell_to_continue() {
  if (continue_sent_ || !parser_->expects_continue() || parser_->body_started()) return;
  continue_sent_ = true;
  Outgoing out;
  out.head = kContinue;
  stream_.write_now(out);  // the socket's buffer is empty at this point: it fits, or all is lost
}

Connection::Next Connection::after_failed_read(IoStatus status, bool begun) {
  if (status != IoStatus::interrupted || !begun) return Next::close;
  refusal_ = {408, parser_->header_done() ? "the request's body did not arrive in time"
                                          : "the request's header did not arrive in time"};
  return Next::refuse;
}

Task<Connection::Next> Connection::next_request() {
  const Limits& limits = core_.options.limits;
  continue_sent_ = false;
  expired_ = false;
  bool begun = !input_.empty();
  phase_ = begun ? Phase::reading : Phase::idle;
  if (!parser_) parser_ = std::make_unique<RequestParser>(limits);
  std::string pipelined = std::move(input_);
  input_ = std::string();
  ParseStatus status = begun ? feed(pipelined) : ParseStatus::need_more;
  pipelined = std::string();
  if (status == ParseStatus::need_more) arm(begun ? limits.header_read : limits.idle);
  while (status == ParseStatus::need_more) {
    if (parser_->header_done()) {
      tell_to_continue();
      arm(limits.body_stall);
    }
    const IoResult read = co_await stream_.read_some(core_.scratch.input);
    if (read.status == IoStatus::interrupted && !expired_) continue;
    if (read.status != IoStatus::ok) co_return after_failed_read(read.status, begun);
    if (!begun) arm(limits.header_read);
    begun = true;
    phase_ = Phase::reading;
    status = feed(std::string_view(core_.scratch.input.data(), read.bytes));
  }
  disarm();
  if (status == ParseStatus::complete) co_return Next::request;
  refusal_ = parser_->refusal();
  co_return Next::refuse;
}

// No coroutine itself: an idle watch should not hold a second request in its frame.
Task<void> Connection::start_handler() {
  phase_ = Phase::handling;
  ++exchange_;
  form_ = Form::none;
  keep_alive_ = parser_->keep_alive();
  chunked_ = aborted_ = writing_ = expired_ = false;
  Request request = parser_->take();
  request.connection = info_;
  method_ = request.method;
  minor_version_ = request.minor_version;
  accepts_gzip_ = accepts_gzip(request.headers);
  if (core_.requests != nullptr) core_.requests->add();
  return core_.handler.handle(std::move(request), *this);
}

void Connection::handler_failed(const char* what) {
  log::error("http", "a handler failed", {{"error", what}});
  aborted_ = true;
}

Task<bool> Connection::exchange() {
  try {
    co_await start_handler();
  } catch (const boost::system::system_error& e) {
    if (e.code() != asio::error::operation_aborted) handler_failed(e.what());
  } catch (const std::exception& e) {
    handler_failed(e.what());
  }
  const auto state = co_await asio::this_coro::cancellation_state;
  // Once cancelled, a task can await nothing more.
  const bool canceled = state.cancelled() != asio::cancellation_type::none;
  bool go_on = false;
  if (canceled) {
    finish_canceled();
  } else {
    go_on = co_await finish();
  }
  form_ = Form::none;
  upgraded_.reset();
  ++exchange_;
  co_return go_on;
}

Task<bool> Connection::finish() {
  if (form_ == Form::upgraded || gone_) co_return false;
  if (form_ == Form::streamed) co_return co_await finish_stream();
  if (form_ == Form::none || aborted_) {
    keep_alive_ = keep_alive_ && !aborted_;
    response_ = core_.refusal({500, "the request was left without an answer"});
    form_ = Form::whole;
  }
  co_return co_await finish_whole();
}

// The server stops, or the client has left: what the kernel takes at once is what the client gets.
void Connection::finish_canceled() {
  if (gone_ || aborted_ || writing_) {
    stream_.close();
    return;
  }
  Outgoing out;
  if (form_ == Form::streamed && chunked_) out.head = kLastChunk;
  if (form_ == Form::whole) out = whole_answer(std::move(response_));
  stream_.write_now(out);
}

Task<bool> Connection::finish_stream() {
  if (aborted_ || writing_) {
    // The missing last chunk tells the client that this is not all.
    stream_.close();
    co_return false;
  }
  // Wakes this exchange's monitor, so that it ends before the next one needs the socket.
  ++exchange_;
  stream_.interrupt();
  Outgoing out;
  if (chunked_) out.head = kLastChunk;
  if (stream_.write_now(out) != IoStatus::ok) {
    const Result<void> sent = co_await send(std::move(out));
    if (!sent) co_return false;
  }
  co_return keep_alive_&& chunked_;
}

Task<bool> Connection::finish_whole() {
  constexpr std::size_t kWorthCompressing = 128 * 1024;  // as kube-apiserver
  if (accepts_gzip_ && response_.compressible && method_ != Method::head &&
      total_size(response_.body) > kWorthCompressing &&
      !response_.headers.has("Content-Encoding")) {
    co_await compress();
  }
  Outgoing out = whole_answer(std::move(response_));
  response_ = Response();
  if (stream_.write_now(out) != IoStatus::ok) {
    const Result<void> sent = co_await send(std::move(out));
    if (!sent) co_return false;
  }
  co_return keep_alive_ && !core_.stopping;
}

Task<void> Connection::compress() {
  Buffers body = std::move(response_.body);
  auto work = [body = std::move(body)] { return gzip(body); };
  std::string packed = co_await core_.env.blocking->run(std::move(work));
  response_.body.clear();
  response_.body.emplace_back(std::move(packed));
  response_.headers.set("Content-Encoding", "gzip");
  response_.headers.add("Vary", "Accept-Encoding");
}

std::string_view Connection::connection_header() const noexcept {
  if (!keep_alive_ || core_.stopping) return "close";
  return minor_version_ == 0 ? "keep-alive" : "";
}

Outgoing Connection::whole_answer(Response response) {
  const bool bodiless = response.status == 204 || response.status == 304;
  Framing framing;
  framing.length = total_size(response.body);
  framing.length_known = !bodiless;
  framing.connection = connection_header();
  Outgoing out;
  out.head = response_head(response.status, response.headers, framing, core_.date_line());
  if (!bodiless && method_ != Method::head) out.keep = std::move(response.body);
  return out;
}

Task<void> Connection::refuse() {
  if (core_.refusals != nullptr) core_.refusals->add();
  phase_ = Phase::closing;
  keep_alive_ = false;
  method_ = Method::get;
  expired_ = false;
  Outgoing out = whole_answer(core_.refusal(refusal_));
  const Result<void> sent = co_await send(std::move(out));
  if (sent) co_await linger();
}

// Closing with unread data would reset the connection, and the client might never see the answer.
Task<void> Connection::linger() {
  stream_.shutdown_write();
  arm(kLinger);
  std::size_t dropped = 0;
  while (dropped < kLingerBytes && !expired_) {
    const IoResult read = co_await stream_.read_some(core_.scratch.input);
    if (read.status != IoStatus::ok) break;
    dropped += read.bytes;
  }
  disarm();
}

Task<void> Connection::monitor(std::uint64_t exchange) {
  while (exchange == exchange_ && input_.size() < kPipelined) {
    if (!stream_.has_buffered()) co_await stream_.readable();
    if (exchange != exchange_) co_return;
    IoResult read{};
    while (read.status == IoStatus::ok && input_.size() < kPipelined) {
      read = stream_.read_now(core_.scratch.input);
      input_.append(core_.scratch.input.data(), read.bytes);
    }
    if (read.status == IoStatus::closed || read.status == IoStatus::failed) {
      gone_ = true;
      cancel();
      co_return;
    }
  }
}

}  // namespace skiff::http
