#include "answer.hpp"

namespace skiff::http {

Answer::Answer(std::shared_ptr<Pool> pool, std::string origin, std::unique_ptr<Stream> stream,
               bool no_body)
    : pool_(std::move(pool)),
      origin_(std::move(origin)),
      stream_(std::move(stream)),
      parser_(std::make_unique<ResponseParser>(pool_->options.max_header_bytes, no_body)),
      generation_(pool_->generation),
      no_body_(no_body) {}

Task<void> Answer::send(Outgoing out) {
  while (stream_->write_now(out) == IoStatus::would_block) co_await stream_->writable();
}

ParseStatus Answer::feed_once(std::string_view bytes) {
  const bool held = !input_.empty();
  if (held) input_ += bytes;
  const ParseStep step = parser_->feed(held ? std::string_view(input_) : bytes);
  if (held) {
    input_.erase(0, step.consumed);
  } else {
    input_ = bytes.substr(step.consumed);
  }
  return step.status;
}

ParseStatus Answer::feed(std::string_view bytes) {
  ParseStatus status = feed_once(bytes);
  // Interim answers (100 Continue and the like) come before the one that counts.
  while (status == ParseStatus::complete && parser_->status() < 200) {
    if (parser_->status() == 101) break;
    parser_ = std::make_unique<ResponseParser>(pool_->options.max_header_bytes, no_body_);
    if (input_.empty()) return ParseStatus::need_more;
    const std::string rest = std::move(input_);
    input_ = std::string();
    status = feed_once(rest);
  }
  return status;
}

void Answer::completed() {
  complete_ = true;
  if (parser_->keep_alive() && input_.empty() && parser_->status() != 101) {
    pool_->give_back(origin_, std::move(stream_), generation_);
  }
  stream_.reset();
}

// Reads once more and parses what came.
Task<Result<void>> Answer::advance() {
  const IoResult read = co_await stream_->read_some(pool_->scratch.input);
  ParseStatus status = ParseStatus::failed;
  if (read.status == IoStatus::ok) {
    heard_ = true;
    status = feed(std::string_view(pool_->scratch.input.data(), read.bytes));
  } else if (read.status == IoStatus::closed && stream_->ended_properly()) {
    status = parser_->finish();
  }
  if (status == ParseStatus::need_more) co_return Result<void>{};
  if (status == ParseStatus::complete) {
    completed();
    co_return Result<void>{};
  }
  const bool refused = stream_->certificate_refused();
  stream_->close();
  if (refused) {
    co_return Error{Code::unauthorized,
                    "the server wants a client certificate that it trusts, and got none such"};
  }
  const std::string& problem = parser_->problem();
  co_return Error{Code::unavailable, problem.empty() ? "the connection broke" : problem};
}

Task<Result<void>> Answer::read_header() {
  while (!parser_->header_done() && !complete_) {
    const Result<void> moved = co_await advance();
    if (!moved) co_return moved.error();
  }
  co_return Result<void>{};
}

Task<Result<std::string>> Answer::read() {
  while (parser_->body().empty() && !complete_) {
    const Result<void> moved = co_await advance();
    if (!moved) co_return moved.error();
  }
  std::string part = std::move(parser_->body());
  parser_->body() = std::string();
  co_return part;
}

Task<Result<std::string>> Answer::read_all(std::size_t limit) {
  std::string whole;
  for (;;) {
    auto part = co_await read();
    if (!part) co_return part.error();
    if (part->empty()) co_return whole;
    if (whole.size() + part->size() > limit) {
      co_return Error{Code::too_large,
                      "the answer is longer than " + std::to_string(limit) + " bytes"};
    }
    if (whole.empty()) {
      whole = std::move(*part);
    } else {
      whole += *part;
    }
  }
}

}  // namespace skiff::http
