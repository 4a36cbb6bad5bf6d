// The node's own HTTPS API: what the API server asks for (logs), and what monitoring reads.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "logs.hpp"
#include "pod_worker.hpp"
#include "skiff/http/server.hpp"

namespace skiff::kubelet {

class NodeApi final : public http::Handler {
 public:
  using FindWorker = std::function<PodWorker*(const std::string& ns, const std::string& name)>;
  using ListPods = std::function<std::vector<ObjectPtr>()>;
  NodeApi(Env env, const Options& options, runtime::Runtime& runtime, runtime::ImageStore& images,
          FindWorker find, ListPods list);

  Task<void> handle(http::Request request, http::Exchange& exchange) override;

 private:
  bool allowed(const http::Request& request) const;
  Task<void> container_log(http::Request request, http::Exchange& exchange);
  Task<http::Response> stats_summary();

  Env env_;
  const Options& options_;
  runtime::Runtime& runtime_;
  runtime::ImageStore& images_;
  FindWorker find_;
  ListPods list_;
};

// The query of /containerLogs. bad_request for values that make no sense.
Result<LogOptions> parse_log_options(const http::Query& query, WallTime now);

}  // namespace skiff::kubelet
