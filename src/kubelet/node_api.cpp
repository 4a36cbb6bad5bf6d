#include "node_api.hpp"

#include "image_api.hpp"

namespace skiff::kubelet {
namespace {

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end > 0) parts.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

Result<std::optional<std::int64_t>> number(const http::Query& query, const char* name,
                                           std::int64_t minimum) {
  const std::string* text = query.find(name);
  if (text == nullptr || text->empty()) return std::optional<std::int64_t>();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < minimum) {
    return Error{Code::bad_request, std::string(name) + ": invalid value \"" + *text + "\""};
  }
  return std::optional<std::int64_t>(value);
}

Value usage_of(const runtime::Usage& usage) {
  Value out = Value::object();
  const std::string at = format_time(usage.at);
  out.set("cpu", Value::object(
                     {{"time", Value(at)},
                      {"usageCoreNanoSeconds", static_cast<std::int64_t>(usage.cpu_nanoseconds)}}));
  Value memory = Value::object({{"time", Value(at)}});
  memory.set("usageBytes", static_cast<std::int64_t>(usage.memory_usage));
  memory.set("workingSetBytes", static_cast<std::int64_t>(usage.memory_working_set));
  memory.set("rssBytes", static_cast<std::int64_t>(usage.memory_rss));
  memory.set("pageFaults", static_cast<std::int64_t>(usage.page_faults));
  memory.set("majorPageFaults", static_cast<std::int64_t>(usage.major_page_faults));
  out.set("memory", std::move(memory));
  return out;
}

http::Response json(Value v) {
  http::Buffers body;
  body.emplace_back(api::to_json(v));
  return http::Response::make(200, "application/json", std::move(body));
}

}  // namespace

Result<LogOptions> parse_log_options(const http::Query& query, WallTime now) {
  LogOptions options;
  options.follow = query.get("follow") == "true" || query.get("follow") == "1";
  options.timestamps = query.get("timestamps") == "true" || query.get("timestamps") == "1";
  options.stream = std::string(query.get("stream"));
  SKIFF_TRY(options.tail_lines, number(query, "tailLines", 0));
  SKIFF_TRY(options.limit_bytes, number(query, "limitBytes", 1));
  SKIFF_TRY(const auto seconds, number(query, "sinceSeconds", 1));
  if (seconds) options.since = now - std::chrono::seconds(*seconds);
  if (const std::string* time = query.find("sinceTime"); time != nullptr && !time->empty()) {
    SKIFF_TRY(options.since, parse_time(*time));
  }
  return options;
}

NodeApi::NodeApi(Env env, const Options& options, runtime::Runtime& runtime,
                 runtime::ImageStore& images, FindWorker find, ListPods list)
    : env_(env),
      options_(options),
      runtime_(runtime),
      images_(images),
      find_(std::move(find)),
      list_(std::move(list)) {}

bool NodeApi::allowed(const http::Request& request) const {
  const auto& certificate = request.connection->client_certificate;
  if (!certificate) return false;
  const auto& groups = certificate->organizations;
  const auto& names = options_.api_clients;
  return std::find(groups.begin(), groups.end(), "system:masters") != groups.end() ||
         std::find(names.begin(), names.end(), certificate->common_name) != names.end();
}

Task<void> NodeApi::handle(http::Request request, http::Exchange& exchange) {
  if (request.path == "/healthz") {
    exchange.respond(http::Response::text(200, "ok"));
    co_return;
  }
  if (!allowed(request)) {
    const bool known = request.connection->client_certificate.has_value();
    exchange.respond(known ? http::Response::text(403, "Forbidden\n")
                           : http::Response::text(401, "Unauthorized\n"));
    co_return;
  }
  if (request.path.rfind("/images", 0) == 0) {
    exchange.respond(co_await answer_images(&images_, std::move(request)));
    co_return;
  }
  if (request.method != http::Method::get) {
    exchange.respond(http::Response::text(405, "method not allowed\n"));
  } else if (request.path.rfind("/containerLogs/", 0) == 0) {
    co_await container_log(std::move(request), exchange);
  } else if (request.path == "/pods") {
    Value items = Value::array();
    for (const ObjectPtr& pod : list_()) items.push_back(pod->root());
    Value list = Value::object({{"kind", "PodList"}, {"apiVersion", "v1"}});
    list.set("metadata", Value::object());
    list.set("items", std::move(items));
    exchange.respond(json(std::move(list)));
  } else if (request.path == "/stats/summary") {
    exchange.respond(co_await stats_summary());
  } else if (request.path == "/metrics") {
    http::Buffers body;
    body.emplace_back(env_.metrics->render());
    exchange.respond(http::Response::make(200, "text/plain; version=0.0.4", std::move(body)));
  } else {
    exchange.respond(http::Response::text(404, "404 page not found\n"));
  }
}

Task<void> NodeApi::container_log(http::Request request, http::Exchange& exchange) {
  const std::vector<std::string> parts = split_path(request.path);
  if (parts.size() != 4) {
    exchange.respond(http::Response::text(404, "want /containerLogs/NAMESPACE/POD/CONTAINER\n"));
    co_return;
  }
  const auto options = parse_log_options(request.query, env_.clock->wall());
  if (!options) {
    exchange.respond(http::Response::text(400, options.error().message));
    co_return;
  }
  const std::string& ns = parts[1];
  const std::string& name = parts[2];
  const std::string& container = parts[3];
  PodWorker* worker = find_(ns, name);
  if (worker == nullptr) {
    exchange.respond(
        http::Response::text(404, "pod \"" + name + "\" not found in namespace \"" + ns + "\""));
    co_return;
  }
  const bool previous = request.query.get("previous") == "true";
  const auto status = worker->instance(container, previous);
  if (!status) {
    exchange.respond(
        http::Response::text(400, previous ? "previous terminated container \"" + container +
                                                 "\" in pod \"" + name + "\" not found"
                                           : "container \"" + container + "\" in pod \"" + name +
                                                 "\" is waiting to start: ContainerCreating"));
    co_return;
  }
  http::Response head = http::Response::make(200, "text/plain", {});
  if (!co_await exchange.start(std::move(head))) co_return;
  runtime::Runtime* runtime = &runtime_;
  auto running = [runtime, id = status->id] {
    const auto now = runtime->container_status(id);
    return now && now->state != runtime::ContainerState::exited;
  };
  http::Exchange* out = &exchange;
  auto write = [out](std::string text) -> Task<bool> {
    http::Buffers body;
    body.emplace_back(std::move(text));
    const Result<void> sent = co_await out->write(std::move(body));
    co_return sent.has_value();
  };
  const Result<void> done =
      co_await read_log(env_, status->log_path, *options, std::move(running), write);
  if (!done) {
    log::warn("kubelet", "log not read", {{"pod", name}, {"error", done.error()}});
    exchange.abort();
  }
}

// The Summary API, as far as metrics-server reads it.
Task<http::Response> NodeApi::stats_summary() {
  const auto containers = co_await runtime_.container_stats("");
  Value pods = Value::array();
  for (const runtime::SandboxStatus& sandbox : runtime_.list_sandboxes()) {
    if (sandbox.state != runtime::SandboxState::ready) continue;
    Value pod = Value::object();
    Value ref = Value::object({{"name", Value(sandbox.config.name)}});
    ref.set("namespace", sandbox.config.name_space);
    ref.set("uid", sandbox.config.uid);
    pod.set("podRef", std::move(ref));
    pod.set("startTime", format_time(sandbox.created_at));
    Value list = Value::array();
    if (containers) {
      for (const runtime::ContainerUsage& c : *containers) {
        if (c.sandbox_id != sandbox.id) continue;
        Value entry = usage_of(c.usage);
        entry.set("name", c.name);
        entry.set("startTime", format_time(sandbox.created_at));
        list.push_back(std::move(entry));
      }
    }
    pod.set("containers", std::move(list));
    const std::string id = sandbox.id;
    if (const auto usage = co_await runtime_.sandbox_stats(id)) {
      Value total = usage_of(*usage);
      pod.set("cpu", total["cpu"]);
      pod.set("memory", total["memory"]);
    }
    pods.push_back(std::move(pod));
  }
  Value summary = Value::object();
  summary.member("node").set("nodeName", options_.node_name);
  summary.set("pods", std::move(pods));
  co_return json(std::move(summary));
}

}  // namespace skiff::kubelet
