// pods/log: found here, read by the pod's node, passed through.
#include "service.hpp"
#include "skiff/api/codec.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

constexpr int kKubeletPort = 10250;
constexpr std::string_view kParameters[] = {"follow",    "previous",   "timestamps",
                                            "tailLines", "limitBytes", "sinceSeconds",
                                            "sinceTime", "stream",     "pretty"};

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& n : names) {
    if (!out.empty()) out += ' ';
    out += n;
  }
  return out;
}

std::vector<std::string> container_names(const Value& spec, std::string_view list) {
  std::vector<std::string> out;
  for (const Value& c : spec[list].items()) out.push_back(c["name"].as_string());
  return out;
}

// The container whose log is meant.
Result<std::string> choose_container(const Value& pod, std::string_view asked) {
  const std::string& name = pod["metadata"]["name"].as_string();
  const auto containers = container_names(pod["spec"], "containers");
  const auto inits = container_names(pod["spec"], "initContainers");
  if (asked.empty()) {
    if (containers.size() == 1) return containers.front();
    std::string message = "a container name must be specified for pod " + name +
                          ", choose one of: [" + join(containers) + "]";
    if (!inits.empty()) message += " or one of the init containers: [" + join(inits) + "]";
    return Error{Code::bad_request, std::move(message)};
  }
  for (const std::string_view list : {"containers", "initContainers", "ephemeralContainers"}) {
    for (const std::string& c : container_names(pod["spec"], list)) {
      if (c == asked) return c;
    }
  }
  return Error{Code::bad_request,
               "container " + std::string(asked) + " is not valid for pod " + name};
}

// https://ADDRESS:PORT of the kubelet of `node`.
Result<std::string> kubelet_url(const Value& node) {
  std::string address;
  for (const std::string_view type : {"InternalIP", "ExternalIP", "Hostname"}) {
    for (const Value& a : node["status"]["addresses"].items()) {
      if (address.empty() && a["type"].as_string() == type) address = a["address"].as_string();
    }
  }
  if (address.empty()) {
    return Error{Code::unavailable,
                 "node " + node["metadata"]["name"].as_string() + " has no address yet"};
  }
  if (address.find(':') != std::string::npos) address = "[" + address + "]";
  const Value& endpoint = node["status"]["daemonEndpoints"]["kubeletEndpoint"];
  return "https://" + address + ":" + std::to_string(endpoint["Port"].as_int(kKubeletPort));
}

Result<void> check_parameters(const http::Query& q) {
  api::FieldErrors problems;
  if (q.has("sinceSeconds") && q.has("sinceTime")) {
    problems.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified");
  }
  for (const auto& [name, least] :
       {std::pair("tailLines", 0), std::pair("limitBytes", 1), std::pair("sinceSeconds", 1)}) {
    const std::string* text = q.find(name);
    if (!text) continue;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size()) {
      return Error{Code::bad_request,
                   "strconv.ParseInt: parsing \"" + *text + "\": invalid syntax (" + name + ")"};
    }
    if (value < least) {
      problems.invalid(
          name, value,
          least == 0 ? "must be greater than or equal to 0" : "must be greater than 0");
    }
  }
  if (problems.empty()) return {};
  return problems.to_error("", "PodLogOptions", "");
}

}  // namespace

Task<Result<void>> Service::pod_log(Context* c, http::Exchange* exchange) {
  const http::Query& q = c->request.query;
  SKIFF_CO_TRY(const registry::ItemPtr item,
               registry_.get({c->resource, c->info.ns, c->info.name, ""}));
  const registry::ObjectPtr pod = registry::object_of(item);
  SKIFF_CO_TRY(const std::string container, choose_container(pod->root(), q.get("container")));
  SKIFF_CO_CHECK(check_parameters(q));
  const std::string& node_name = (*pod)["spec"]["nodeName"].as_string();
  if (node_name.empty()) {
    co_return Error{Code::bad_request, "pod " + c->info.name + " does not have a host assigned"};
  }
  if (!options_.nodes) {
    co_return Error{Code::unavailable, "this server cannot reach the nodes to read logs"};
  }
  SKIFF_CO_TRY(const registry::ItemPtr node,
               registry_.get({api::find_resource("", "v1", "nodes"), "", node_name, ""}));
  SKIFF_CO_TRY(std::string base, kubelet_url(registry::object_of(node)->root()));
  http::Query passed;
  for (const std::string_view name : kParameters) {
    if (const std::string* value = q.find(name)) passed.add(std::string(name), *value);
  }
  http::ClientRequest request;
  request.url = base + "/containerLogs/" + c->info.ns + "/" + c->info.name + "/" + container;
  if (!passed.empty()) request.url += "?" + passed.to_string();
  auto stream = co_await options_.nodes->stream(std::move(request));
  if (!stream) {
    co_return Error{Code::internal, "Get \"" + base + "\": " + stream.error().message};
  }
  http::ResponseStream& log = **stream;
  if (log.status() != 200) {
    auto text = co_await log.read_all(64 * 1024);
    std::string message = text ? std::move(*text) : text.error().message;
    while (!message.empty() && message.back() == '\n') message.pop_back();
    const Code code = log.status() == 404   ? Code::not_found
                      : log.status() == 400 ? Code::bad_request
                                            : Code::internal;
    co_return Error{code, std::move(message)};
  }
  http::Response head = http::Response::make(200, "text/plain", {});
  head.compressible = false;
  finish(*c, head);
  SKIFF_CO_CHECK(co_await exchange->start(std::move(head)));
  while (true) {
    Result<std::string> part = co_await log.read();
    if (!part) {
      exchange->abort();
      co_return part.error();
    }
    if (part->empty()) co_return Result<void>();
    http::Buffers bytes;
    bytes.emplace_back(std::move(*part));
    SKIFF_CO_CHECK(co_await exchange->write(std::move(bytes)));
  }
}

}  // namespace skiff::apiserver
