#include "request_info.hpp"

namespace skiff::apiserver {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  parts.reserve(8);
  while (!path.empty()) {
    const auto slash = path.find('/');
    if (slash != 0) parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

bool is_true(const http::Query& query, std::string_view name) {
  const std::string* value = query.find(name);
  return value && *value != "false" && *value != "0";
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view verb_of(const http::Request& request, const RequestInfo& info, bool watch_path) {
  const bool named = !info.name.empty();
  switch (request.method) {
    case http::Method::get:
    case http::Method::head:
      if (watch_path || (is_true(request.query, "watch") && info.subresource.empty())) {
        return "watch";
      }
      return named ? "get" : "list";
    case http::Method::post:
      return "create";
    case http::Method::put:
      return "update";
    case http::Method::patch:
      return "patch";
    case http::Method::delete_:
      return named ? "delete" : "deletecollection";
    default:
      return "";
  }
}

}  // namespace

RequestInfo parse_request(const http::Request& request) {
  RequestInfo info;
  info.path = request.path;
  std::vector<std::string_view> parts = split(info.path);
  std::size_t at = 0;
  bool resource = false;
  if (parts.size() >= 3 && parts[0] == "api") {
    info.version = parts[1];
    at = 2;
    resource = true;
  } else if (parts.size() >= 4 && parts[0] == "apis") {
    info.group = parts[1];
    info.version = parts[2];
    at = 3;
    resource = true;
  }
  if (!resource) {
    info.verb = lower(request.method_name);
    return info;
  }
  info.is_resource = true;
  bool watch_path = false;
  if (parts[at] == "watch" && parts.size() > at + 1) {  // the old way to say ?watch=1
    watch_path = true;
    ++at;
  }
  // namespaces/NS/RESOURCE/..., but namespaces/NAME and its own subresources are that resource.
  const bool below = parts.size() > at + 2 && parts[at] == "namespaces" &&
                     parts[at + 2] != "status" && parts[at + 2] != "finalize";
  if (below) {
    info.ns = parts[at + 1];
    at += 2;
  }
  info.resource = parts[at];
  if (parts.size() > at + 1) info.name = parts[at + 1];
  if (parts.size() > at + 2) info.subresource = parts[at + 2];
  for (std::size_t i = at + 3; i < parts.size(); ++i) {
    info.rest += '/';
    info.rest += parts[i];
  }
  info.verb = verb_of(request, info, watch_path);
  return info;
}

}  // namespace skiff::apiserver
