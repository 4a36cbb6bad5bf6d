// logs.
#include <cstdio>

#include "session.hpp"

namespace skiff::cli {
namespace {

using api::ObjectPtr;
using api::Value;

// A pod of a workload, or the pod itself.
Task<Result<std::string>> pod_name(Session* s, std::string word) {
  const std::size_t slash = word.find('/');
  if (slash == std::string::npos) co_return word;
  SKIFF_CO_TRY(const auto names, parse_names({word}));
  const Named& n = names.front();
  if (n.resource->plural == "pods") co_return n.name;
  SKIFF_CO_TRY(const ObjectPtr object, co_await s->client.get(s->ref_of(*n.resource, n.name)));
  std::string selector;
  const Value& spec = (*object)["spec"]["selector"];
  const Value& labels = spec.has("matchLabels") ? spec["matchLabels"] : spec;
  for (const auto& [k, v] : labels.members()) {
    selector += (selector.empty() ? "" : ",") + std::string(k) + "=" + v.as_string();
  }
  client::ListOptions options;
  options.label_selector = selector;
  SKIFF_CO_TRY(const auto pods,
               co_await s->client.list(client::resources::kPods.in(s->ns), options));
  if (selector.empty() || pods.items.empty()) {
    co_return Error{Code::not_found, "no pods found for " + word};
  }
  if (pods.items.size() > 1) {
    std::fprintf(stderr, "Found %zu pods, using pod/%s\n", pods.items.size(),
                 pods.items.front()->name().c_str());
  }
  co_return pods.items.front()->name();
}

Result<std::string> query_of(const Request& r) {
  http::Query query;
  if (!r.container.empty()) query.add("container", r.container);
  if (r.follow) query.add("follow", "true");
  if (r.previous) query.add("previous", "true");
  if (r.timestamps) query.add("timestamps", "true");
  if (r.tail >= 0) query.add("tailLines", std::to_string(r.tail));
  if (!r.since.empty()) {
    SKIFF_TRY(const Duration since, parse_duration(r.since));
    query.add("sinceSeconds",
              std::to_string(std::chrono::duration_cast<std::chrono::seconds>(since).count()));
  }
  return query.empty() ? std::string() : "?" + query.to_string();
}

}  // namespace

Task<Result<int>> run_logs(Session* s) {
  const auto& words = s->request.words;
  if (words.empty() || words.size() > 2) {
    co_return Error{Code::bad_request,
                    "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'."};
  }
  if (words.size() == 2) s->request.container = words[1];
  SKIFF_CO_TRY(const std::string pod, co_await pod_name(s, words[0]));
  SKIFF_CO_TRY(const std::string query, query_of(s->request));
  http::ClientRequest get;
  get.url = client::path_of(client::resources::kPods.at(s->ns, pod).sub("log")) + query;
  SKIFF_CO_TRY(auto stream, co_await s->client.stream(std::move(get)));
  if (stream->status() >= 400) {
    SKIFF_CO_TRY(const std::string body, co_await stream->read_all(1U << 20U));
    co_return client::error_from_answer(stream->status(), body);
  }
  for (;;) {
    SKIFF_CO_TRY(const std::string piece, co_await stream->read());
    if (piece.empty()) break;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  }
  co_return 0;
}

}  // namespace skiff::cli
