#include "openapi.hpp"

#include "media.hpp"
#include "openapi_schema.hpp"
#include "skiff/pki/keys.hpp"
#include "status.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;
using openapi::Dialect;

constexpr std::string_view kProtobufV2 = "application/com.github.proto-openapi.spec.v2";

std::vector<const api::Resource*> resources_below(std::string_view path) {
  std::vector<const api::Resource*> out;
  for (const api::Resource& r : api::resources()) {
    const std::string own =
        (r.group.empty() ? "api/" : "apis/" + std::string(r.group) + "/") + std::string(r.version);
    if (path.empty() || own == path) out.push_back(&r);
  }
  return out;
}

Value info(const std::string& version) {
  return Value::object({{"title", "Kubernetes"}, {"version", version}});
}

bool takes_json(const http::Request& request) {
  const std::string_view accept = request.headers.get("Accept");
  if (accept.empty()) return true;
  for (const MediaRange& range : parse_accept(accept)) {
    if (range.type == "application/json" || range.type == "*/*" || range.type == "application/*") {
      return true;
    }
  }
  return false;
}

http::Response json(std::string text) {
  http::Buffers body;
  body.emplace_back(std::move(text));
  return http::Response::make(200, "application/json", std::move(body));
}

}  // namespace

const std::string& OpenApi::digest() {
  if (!digest_.empty()) return digest_;
  std::string all = version_;
  for (const api::Type* type : api::types()) {
    all += type->name;
    all += type->description;
    for (const api::Field& f : type->fields) {
      all += f.name;
      all += std::to_string(static_cast<int>(f.kind)) + std::to_string(int(f.required));
      all += f.default_json;
      all += f.merge_key;
      all += f.description;
    }
  }
  for (const api::Resource& r : api::resources()) {
    all += r.plural;
    all += std::to_string(r.verbs);
    for (const api::Subresource& s : r.subresources) all += s.name;
  }
  digest_ = pki::sha256_hex(all);
  return digest_;
}

http::Response OpenApi::index() {
  Value paths = Value::object();
  for (const api::Resource& r : api::resources()) {
    const std::string path =
        (r.group.empty() ? "api/" : "apis/" + std::string(r.group) + "/") + std::string(r.version);
    if (paths.has(path)) continue;
    paths.set(path,
              Value::object({{"serverRelativeURL", "/openapi/v3/" + path + "?hash=" + digest()}}));
  }
  return json(api::to_json(Value::object({{"paths", std::move(paths)}})));
}

std::optional<http::Response> OpenApi::group_document(const http::Request& request) {
  const std::string_view path = std::string_view(request.path).substr(sizeof("/openapi/v3/") - 1);
  const auto resources = resources_below(path);
  if (resources.empty()) return std::nullopt;
  Value doc = Value::object({{"openapi", "3.0.0"}, {"info", info(version_)}});
  doc.set("paths", openapi::paths(Dialect::v3, resources));
  Value schemas = openapi::definitions(Dialect::v3, openapi::types_of(resources));
  doc.set("components", Value::object({{"schemas", std::move(schemas)}}));
  http::Response response = json(api::to_json(doc));
  response.headers.add("ETag", "\"" + digest() + "\"");
  if (request.query.get("hash") == digest()) {
    response.headers.add("Cache-Control", "public, immutable");
  }
  return response;
}

http::Response OpenApi::whole_document(const http::Request& request) {
  const std::string etag = "\"" + digest() + "\"";
  if (request.headers.get("If-None-Match") == etag) {
    http::Response unchanged;
    unchanged.status = 304;
    unchanged.headers.add("ETag", etag);
    return unchanged;
  }
  if (!takes_json(request)) {
    return status_response({Code::not_acceptable,
                            "/openapi/v2 is served as application/json only, not as " +
                                std::string(kProtobufV2) + "; /openapi/v3 has the same schemas"});
  }
  const auto resources = resources_below("");
  Value doc = Value::object({{"swagger", "2.0"}, {"info", info(version_)}});
  doc.set("paths", openapi::paths(Dialect::v2, resources));
  doc.set("definitions", openapi::definitions(Dialect::v2, openapi::types_of(resources)));
  Value bearer = Value::object({{"description", "Bearer Token authentication"},
                                {"type", "apiKey"},
                                {"name", "authorization"},
                                {"in", "header"}});
  doc.set("securityDefinitions", Value::object({{"BearerToken", std::move(bearer)}}));
  http::Response response = json(api::to_json(doc));
  response.headers.add("ETag", etag);
  return response;
}

std::optional<http::Response> OpenApi::answer(const http::Request& request) {
  const std::string_view path = request.path;
  if (path == "/openapi/v2") return whole_document(request);
  if (path == "/openapi/v3" || path == "/openapi/v3/") return index();
  if (path.starts_with("/openapi/v3/")) return group_document(request);
  return std::nullopt;
}

}  // namespace skiff::apiserver
