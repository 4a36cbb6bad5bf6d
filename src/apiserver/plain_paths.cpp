// Paths that are no resources: health, version, metrics, discovery, OpenAPI, OpenID.
#include "service.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

http::Response json(std::string text) {
  http::Buffers body;
  body.emplace_back(std::move(text));
  return http::Response::make(200, "application/json", std::move(body));
}

constexpr std::string_view platform() {
#if defined(__aarch64__)
  return "linux/arm64";
#elif defined(__x86_64__)
  return "linux/amd64";
#elif defined(__riscv)
  return "linux/riscv64";
#elif defined(__arm__)
  return "linux/arm";
#else
  return "linux";
#endif
}

// "v1.35.0+skiff" is major "1", minor "35".
std::pair<std::string, std::string> major_minor(std::string_view version) {
  if (version.starts_with('v')) version.remove_prefix(1);
  const auto first = version.find('.');
  const auto second = first == std::string_view::npos ? first : version.find('.', first + 1);
  if (second == std::string_view::npos) return {std::string(version), "0"};
  return {std::string(version.substr(0, first)),
          std::string(version.substr(first + 1, second - first - 1))};
}

Value root_paths() {
  std::set<std::string> paths{"/.well-known/openid-configuration",
                              "/api",
                              "/api/v1",
                              "/apis",
                              "/apis/",
                              "/healthz",
                              "/livez",
                              "/metrics",
                              "/openapi/v2",
                              "/openapi/v3",
                              "/openid/v1/jwks",
                              "/readyz",
                              "/version"};
  for (const api::Resource& r : api::resources()) {
    if (r.group.empty()) continue;
    const std::string group = "/apis/" + std::string(r.group);
    paths.insert(group);
    paths.insert(group + "/" + std::string(r.version));
  }
  Value list = Value::array();
  for (const std::string& p : paths) list.push_back(p);
  return Value::object({{"paths", std::move(list)}});
}

std::string openid_configuration(const ServiceAccountTokens& tokens) {
  Value doc = Value::object({{"issuer", tokens.issuer()}});
  doc.set("jwks_uri", tokens.issuer() + "/openid/v1/jwks");
  doc.set("response_types_supported", Value::array({"id_token"}));
  doc.set("subject_types_supported", Value::array({"public"}));
  doc.set("id_token_signing_alg_values_supported", Value::array({"ES256"}));
  return api::to_json(doc);
}

}  // namespace

http::Response Service::version(const Context& c) const {
  const auto [major, minor] = major_minor(options_.git_version);
  Value doc = Value::object({{"major", major}, {"minor", minor}});
  doc.set("emulationMajor", major);
  doc.set("emulationMinor", minor);
  doc.set("minCompatibilityMajor", major);
  doc.set("minCompatibilityMinor", minor);
  doc.set("gitVersion", options_.git_version);
  doc.set("gitCommit", options_.git_commit);
  doc.set("gitTreeState", "clean");
  doc.set("buildDate", options_.build_date);
  doc.set("goVersion", "");
  doc.set("compiler", "gcc");
  doc.set("platform", platform());
  const auto form = negotiate(c.request);
  http::Buffers body;
  body.emplace_back(api::to_json(doc));
  const Form wanted = form ? *form : Form{};
  return http::Response::make(200, wanted.content_type(), encode_as(wanted, std::move(body)));
}

http::Response Service::health(const Context& c, std::string_view kind) const {
  const bool live = kind == "livez";
  std::vector<std::pair<std::string, Result<void>>> results;
  results.emplace_back("ping", Result<void>());
  const auto failing = registry_.store().failing();
  results.emplace_back("store", failing ? Result<void>(*failing) : Result<void>());
  if (!live) {
    results.emplace_back(
        "startup", ready_ ? Result<void>()
                          : Result<void>(Error{Code::unavailable, "not started, or stopping"}));
  }
  for (const HealthCheck& check : options_.checks) {
    if (!live || check.live) results.emplace_back(check.name, check.check());
  }
  // One check alone: /readyz/store.
  std::string_view path = c.request.path;
  path.remove_prefix(1);
  if (const auto slash = path.find('/'); slash != std::string_view::npos) {
    const std::string_view wanted = path.substr(slash + 1);
    std::erase_if(results, [&](const auto& r) { return !wanted.empty() && r.first != wanted; });
    if (results.empty()) return http::Response::text(404, "404 page not found\n");
  }
  const auto excluded = c.request.query.all("exclude");
  std::string text;
  bool ok = true;
  for (const auto& [name, result] : results) {
    if (std::find(excluded.begin(), excluded.end(), name) != excluded.end()) {
      text += "[+]" + name + " excluded: ok\n";
    } else if (result) {
      text += "[+]" + name + " ok\n";
    } else {
      text += "[-]" + name + " failed: " + result.error().message + "\n";
      ok = false;
    }
  }
  const std::string verdict = std::string(kind) + " check " + (ok ? "passed" : "failed") + "\n";
  if (!ok) return http::Response::text(500, text + verdict);
  return http::Response::text(200, c.request.query.has("verbose") ? text + verdict : "ok");
}

Result<http::Response> Service::plain_path(Context& c) {
  if (c.request.method != http::Method::get && c.request.method != http::Method::head) {
    return Error{Code::method_not_allowed,
                 "the server does not allow this method on the requested resource"};
  }
  const std::string_view path = c.info.path;
  for (const std::string_view kind : {"healthz", "livez", "readyz"}) {
    if (path.substr(1).starts_with(kind) &&
        (path.size() == kind.size() + 1 || path[kind.size() + 1] == '/')) {
      return health(c, kind);
    }
  }
  if (path == "/version" || path == "/version/") return version(c);
  if (path == "/") return json(api::to_json(root_paths(), 2));
  if (path == "/metrics" && env_.metrics) {
    http::Buffers body;
    body.emplace_back(env_.metrics->render());
    return http::Response::make(200, "text/plain; version=0.0.4; charset=utf-8", std::move(body));
  }
  if (tokens_ && path == "/.well-known/openid-configuration") {
    return json(openid_configuration(*tokens_));
  }
  if (tokens_ && path == "/openid/v1/jwks") return json(tokens_->key_set_json());
  if (auto found = discovery_.answer(c.request)) return std::move(*found);
  if (auto found = openapi_.answer(c.request)) return std::move(*found);
  return not_found_path();
}

}  // namespace skiff::apiserver
