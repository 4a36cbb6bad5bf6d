// One client of the server: reads requests one after the other, has each answered, writes the
// answers. Its coroutine is the only reader, but for the monitor that waits for a client to leave a
// streamed answer.
#pragma once

#include <memory>
#include <string>

#include "parser.hpp"
#include "server_core.hpp"
#include "write.hpp"

namespace skiff::http {

class Connection final : public Exchange {
 public:
  Connection(ServerCore& core, int fd);
  ~Connection() override;

  // Starts to serve; when that is over the connection stands in core.ended.
  void begin();
  Task<void> join() { return tasks_.join(); }

  // The server is stopping: ends at once what has no natural end.
  void stop();
  void cancel() { tasks_.cancel(); }
  TimePoint deadline() const noexcept { return deadline_; }
  void expire();

  void respond(Response response) override;
  Task<Result<void>> start(Response response) override;
  Task<Result<void>> write(Buffers part) override;
  void abort() noexcept override { aborted_ = true; }
  Task<Result<ByteStream*>> upgrade(Headers headers) override;
  bool answered() const noexcept override { return form_ != Form::none; }

 private:
  friend class UpgradedStream;
  enum class Phase : std::uint8_t { opening, idle, reading, handling, closing };
  enum class Form : std::uint8_t { none, whole, streamed, upgraded };
  enum class Next : std::uint8_t { request, refuse, close };

  Task<void> run();
  Task<bool> open();
  Task<Next> next_request();
  Next after_failed_read(IoStatus status, bool begun);
  ParseStatus feed(std::string_view bytes);
  void tell_to_continue();
  Task<bool> exchange();
  Task<void> start_handler();
  void handler_failed(const char* what);
  Task<bool> finish();
  Task<bool> finish_whole();
  Task<bool> finish_stream();
  void finish_canceled();
  Task<void> compress();
  Task<void> refuse();
  Task<void> linger();
  Task<void> monitor(std::uint64_t exchange);

  Outgoing whole_answer(Response response);
  std::string_view connection_header() const noexcept;
  Task<Result<void>> send(Outgoing out);
  Error gone_error() const;
  void arm(Duration limit);
  void disarm() noexcept { deadline_ = TimePoint::max(); }

  ServerCore& core_;
  TaskGroup tasks_;
  Stream stream_;
  std::shared_ptr<const ConnectionInfo> info_;
  std::unique_ptr<RequestParser> parser_;  // null while an answer streams: it may do so for days
  std::string input_;  // read but not parsed: the start of a request, pipelined ones
  Refusal refusal_;
  TimePoint deadline_ = TimePoint::max();
  Phase phase_ = Phase::opening;
  bool expired_ = false;  // a deadline passed

  // Of the exchange under way.
  std::uint64_t exchange_ = 0;  // counts them
  Form form_ = Form::none;
  Method method_ = Method::get;
  int minor_version_ = 1;
  bool keep_alive_ = true;
  bool accepts_gzip_ = false;
  bool continue_sent_ = false;
  bool chunked_ = false;
  bool aborted_ = false;
  bool writing_ = false;  // an unfinished write: what is on the wire is no whole chunk
  bool gone_ = false;     // the client is
  Response response_;
  std::unique_ptr<ByteStream> upgraded_;
};

}  // namespace skiff::http
