// Requests to whichever endpoint answers, with authentication and repetition.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "skiff/etcd/etcd.hpp"
#include "skiff/http/client.hpp"
#include "wire.hpp"

namespace skiff::etcd {

// What of the options is wrong: a sentence for the user.
Result<void> check_options(const EtcdOptions& options);

// Messages of a streamed answer, one a line.
class LineReader {
 public:
  // `received` counts bytes and outlives this.
  LineReader(Clock& clock, std::unique_ptr<http::ResponseStream> stream, metrics::Counter& received)
      : clock_(clock), stream_(std::move(stream)), received_(received) {}
  // The next line without its end. Code::timeout when nothing came for `idle`: reading may go on.
  // Code::unavailable at the end of the stream.
  Task<Result<std::string>> next(Duration idle);

 private:
  Task<Result<void>> fill();
  std::optional<std::string> take_line();

  Clock& clock_;
  std::unique_ptr<http::ResponseStream> stream_;
  metrics::Counter& received_;
  std::string buffer_;
  std::size_t searched_ = 0;  // of buffer_: holds no line end up to here
  std::optional<Error> ended_;
};

// What /metrics tells of etcd. Everything that talks to etcd counts in the same families.
class GatewayMetrics {
 public:
  explicit GatewayMetrics(metrics::Registry& registry);
  // Of one kind of request: "txn", "range", "watch".
  struct Kind {
    metrics::Counter& requests;
    metrics::Counter& failures;
    metrics::Histogram& seconds;
  };
  Kind& of(std::string_view path);  // "/v3/kv/txn"

  metrics::Counter& sent;
  metrics::Counter& received;

 private:
  metrics::Registry& registry_;
  std::map<std::string, Kind, std::less<>> kinds_;
};

class Gateway {
 public:
  Gateway(Env env, const EtcdOptions& options);

  // POSTs `body` to `path` ("/v3/kv/txn"). Goes on to other endpoints when one cannot be reached,
  // and repeats what etcd could not do for the moment, within the request timeout: so `body` must
  // bear being done twice. `maybe_done` tells whether an earlier attempt may have been carried out.
  Task<Result<api::Value>> call(std::string path, std::string body, bool* maybe_done = nullptr) {
    return call_within(options_.request_timeout, std::move(path), std::move(body), maybe_done);
  }
  // An answer that goes on: at the endpoint in use, without repetition.
  Task<Result<std::unique_ptr<LineReader>>> open(std::string path, std::string body);

  Task<Result<RangeAnswer>> range(RangeRequest request) {
    return range_within(options_.request_timeout, std::move(request));
  }
  // Half as patient: whether etcd answers at all.
  Task<Result<RangeAnswer>> probe(RangeRequest request) {
    return range_within(options_.request_timeout / 2, std::move(request));
  }

  // The endpoint in use failed: the next requests go to another.
  void move_on() { at_ = (at_ + 1) % options_.endpoints.size(); }
  const std::string& endpoint() const { return options_.endpoints[at_]; }

 private:
  struct Attempt {
    std::optional<api::Value> answer;
    Refusal refusal;
    bool transport = false;  // nothing was heard of etcd itself
  };
  Task<Result<api::Value>> call_within(Duration limit, std::string path, std::string body,
                                       bool* maybe_done);
  Task<Result<RangeAnswer>> range_within(Duration limit, RangeRequest request);
  Task<Attempt> attempt(std::string path, std::string body, Duration limit);
  Task<Attempt> attempt_once(std::string path, std::string body, Duration limit);
  Task<Result<void>> authenticate();
  http::ClientRequest request_to(const std::string& path, std::string body) const;

  Env env_;
  const EtcdOptions& options_;
  metrics::Registry own_metrics_;  // where nobody asks
  GatewayMetrics metrics_;
  http::Client client_;
  std::size_t at_ = 0;
  std::string token_;
  bool no_authentication_ = false;  // etcd has it switched off
  bool authenticating_ = false;
  Signal authenticated_;
};

}  // namespace skiff::etcd
