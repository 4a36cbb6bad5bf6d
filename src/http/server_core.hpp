// What the connections of one server share.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "skiff/http/server.hpp"
#include "stream.hpp"

namespace skiff::http {

class Connection;

struct ServerCore {
  ServerCore(Env e, Handler& h, ServerOptions o)
      : env(std::move(e)),
        handler(h),
        options(std::move(o)),
        tasks(env.executor),
        someone_ended(env.executor),
        earlier_deadline(env.executor),
        slot_free(env.executor) {}

  Env env;
  Handler& handler;
  ServerOptions options;
  std::shared_ptr<const TlsContext> tls;  // null: plain text
  Scratch scratch;
  bool stopping = false;
  TaskGroup tasks;
  std::map<Connection*, std::unique_ptr<Connection>> connections;
  // Those whose coroutine is ending; one task joins and frees them.
  std::vector<Connection*> ended;
  Signal someone_ended;

  // The earliest deadline of any connection, as far as the sweeper knows. One task watches over all
  // of them: a timer per connection would be set and reset with every request.
  TimePoint next_deadline = TimePoint::max();
  Signal earlier_deadline;
  Signal slot_free;

  metrics::Gauge* open_connections = nullptr;  // null without a registry
  metrics::Counter* requests = nullptr;
  metrics::Counter* refusals = nullptr;

  // "Date: ...\r\n", made once a second.
  const std::string& date_line();
  Response refusal(const Refusal& refusal) const;

 private:
  std::int64_t date_second_ = -1;
  std::string date_line_;
};

}  // namespace skiff::http
