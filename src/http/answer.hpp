// The client's connections: those that are kept for the next request, and one that is in use.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "parser.hpp"
#include "skiff/http/client.hpp"
#include "sockets.hpp"
#include "stream.hpp"

namespace skiff::http {

struct Pool {
  Pool(Env e, ClientOptions o) : env(std::move(e)), options(std::move(o)) {}

  struct Kept {
    std::unique_ptr<Stream> stream;
    TimePoint since;
  };

  Env env;
  ClientOptions options;
  Scratch scratch;
  std::shared_ptr<const TlsContext> tls;          // null until the first HTTPS request
  std::map<std::string, std::vector<Kept>> kept;  // by origin, the latest used last
  std::uint64_t generation = 0;                   // of the TLS settings

  void use_tls(std::shared_ptr<const TlsContext> made);
  Task<Result<void>> make_tls();
  std::unique_ptr<Stream> take(const std::string& origin);  // null: connect
  void give_back(const std::string& origin, std::unique_ptr<Stream> stream, std::uint64_t made_in);
  Task<Result<std::vector<Endpoint>>> look_up(Url url);
  Task<Result<std::unique_ptr<Stream>>> connect(Url url);
};

class Answer final : public ResponseStream {
 public:
  Answer(std::shared_ptr<Pool> pool, std::string origin, std::unique_ptr<Stream> stream,
         bool no_body);

  // What goes wrong here shows when the answer is read.
  Task<void> send(Outgoing out);
  Task<Result<void>> read_header();
  bool heard() const noexcept { return heard_; }  // any byte at all

  int status() const noexcept override { return parser_->status(); }
  const Headers& headers() const noexcept override { return parser_->headers(); }
  Task<Result<std::string>> read() override;
  Task<Result<std::string>> read_all(std::size_t limit) override;

 private:
  Task<Result<void>> advance();
  ParseStatus feed(std::string_view bytes);
  ParseStatus feed_once(std::string_view bytes);
  void completed();

  std::shared_ptr<Pool> pool_;
  std::string origin_;
  std::unique_ptr<Stream> stream_;  // null once the answer is complete
  std::unique_ptr<ResponseParser> parser_;
  std::string input_;  // read but not parsed
  std::uint64_t generation_;
  bool no_body_;
  bool heard_ = false;
  bool complete_ = false;
};

}  // namespace skiff::http
