#include "cluster_api.hpp"

#include "join.hpp"
#include "server.hpp"
#include "skiff/api/schema.hpp"
#include "skiff/apiserver/apiserver.hpp"
#include "skiff/pki/certificate.hpp"

namespace skiff::app {
namespace {

constexpr std::string_view kRoot = "/skiff/v1/";

http::Response as_json(int status, const api::Value& document) {
  http::Buffers body;
  body.emplace_back(api::to_json(document) + "\n");
  return http::Response::make(status, "application/json", std::move(body));
}

Error unknown() { return {Code::not_found, "skiff serves nothing there"}; }

}  // namespace

ClusterApi::ClusterApi(Env env, const ServerOptions& options, const Identity& identity,
                       registry::Registry& registry, Encryption& encryption, Cluster* cluster,
                       Siblings* siblings)
    : env_(env),
      options_(options),
      identity_(identity),
      registry_(registry),
      encryption_(encryption),
      cluster_(cluster),
      siblings_(siblings) {}

Task<void> ClusterApi::handle(http::Request request, http::Exchange& exchange) {
  const Answer result = co_await answer(&request);
  exchange.respond(result ? as_json(200, *result) : apiserver::status_response(result.error()));
}

bool ClusterApi::allowed(const http::Request& request) const {
  const auto& certificate = request.connection->client_certificate;
  if (!certificate || certificate->not_after < env_.clock->wall()) return false;
  for (const std::string& organization : certificate->organizations) {
    if (organization == "system:masters" || organization == "skiff:servers") return true;
  }
  return false;
}

Task<ClusterApi::Answer> ClusterApi::answer(const http::Request* request) {
  const std::string path = request->path.substr(std::min(kRoot.size(), request->path.size()));
  const http::Method method = request->method;
  if (path == "ca" && method == http::Method::get) {
    co_return api::Value::object(
        {{"ca", identity_.ca_pem}, {"time", format_time(env_.clock->wall())}});
  }
  if (path == "join" && method == http::Method::post) co_return co_await join(request);
  if (!allowed(*request)) {
    co_return Error{Code::forbidden,
                    "this asks for a client certificate of the cluster's administrator: use the "
                    "kubeconfig in the server's data directory"};
  }
  if (path == "status" && method == http::Method::get) {
    co_return co_await status(request->query.get("local") == "true");
  }
  constexpr std::string_view kServers = "servers/";
  if (path.starts_with(kServers) && method == http::Method::delete_) {
    if (siblings_) {
      co_return Error{Code::conflict,
                      "servers over one etcd come and go: stop it, and it is gone from the list"};
    }
    if (!cluster_) {
      co_return Error{Code::conflict, "this server runs alone: there is none to remove"};
    }
    SKIFF_CO_CHECK(co_await cluster_->remove(path.substr(kServers.size())));
    co_return api::Value::object({{"removed", path.substr(kServers.size())}});
  }
  if (path.starts_with("encryption")) co_return co_await encryption(request, path);
  co_return unknown();
}

Task<ClusterApi::Answer> ClusterApi::join(const http::Request* request) {
  if (!cluster_ && !siblings_) {
    co_return Error{Code::conflict,
                    "that server runs alone: start it again with --cluster-init, which keeps all "
                    "its data, and then join"};
  }
  const auto body = api::parse_json(request->body);
  if (!body) co_return Error{Code::bad_request, "the request is no JSON"};
  const std::string token = (*body)["token"].as_string();
  const std::size_t dot = token.find('.');
  const std::string id = token.substr(0, dot);
  registry::Target target{api::find_resource("", "v1", "secrets"), "kube-system",
                          "bootstrap-token-" + id, ""};
  const auto secret = registry_.get(target);
  const std::string shown = dot == std::string::npos ? "" : token.substr(dot + 1);
  const api::Value none;
  SKIFF_CO_CHECK(
      check_token(secret ? registry::object_of(*secret)->root() : none, shown, env_.clock->wall()));
  const auto theirs = parse_time((*body)["time"].as_string());
  if (!theirs) co_return Error{Code::bad_request, "the request does not say what time it is"};
  SKIFF_CO_CHECK(check_clocks(*theirs, env_.clock->wall()));
  SKIFF_CO_CHECK(check_settings((*body)["settings"], cluster_settings(options_)));
  ServerRecord newcomer;
  newcomer.name = (*body)["name"].as_string();
  newcomer.id = (*body)["id"].as_string();
  newcomer.address = (*body)["address"].as_string();
  newcomer.version = (*body)["version"].as_string();
  const auto url = http::Url::parse(newcomer.address);
  const bool bad_name = newcomer.name.empty() || newcomer.name.find('/') != std::string::npos;
  if (bad_name || !url || !url->tls) {
    co_return Error{Code::bad_request, "the request lacks a name or an https address"};
  }
  if (siblings_) {
    const std::string name = newcomer.name;
    SKIFF_CO_CHECK(co_await siblings_->admit(name));
  } else {
    SKIFF_CO_CHECK(co_await cluster_->admit(newcomer));
  }
  SKIFF_CO_TRY(const auto ca, pki::load_key_pair(options_.data_dir + "/pki", "ca"));
  log::info("app", "a server joins", {{"name", newcomer.name}, {"address", newcomer.address}});
  co_return api::Value::object({{"ca", ca.certificate_pem},
                                {"caKey", ca.key_pem},
                                {"serviceAccountKey", identity_.service_account_key_pem},
                                {"encryptionKeys", encryption_.own_keys()}});
}

api::Value ClusterApi::alone() const {
  api::Value server = api::Value::object({{"name", options_.node_name},
                                          {"address", options_.own_url()},
                                          {"role", "alone"},
                                          {"self", true},
                                          {"healthy", !registry_.store().failing().has_value()},
                                          {"lag", 0},
                                          {"version", kubernetes_version()}});
  if (const auto error = registry_.store().failing()) server.set("trouble", error->message);
  api::Value out = api::Value::object();
  out.set("quorum", true);
  out.set("servers", api::Value::array({std::move(server)}));
  return out;
}

Task<ClusterApi::Answer> ClusterApi::status(bool local) {
  api::Value out;
  if (siblings_) {
    out = co_await siblings_->status();
  } else {
    out = cluster_ ? cluster_->status() : alone();
  }
  out.set("datastore", cluster_ ? "raft" : options_.datastore);
  out.set("revision", registry_.store().revision());
  out.set("compacted", registry_.store().compacted());
  out.set("answeredBy", options_.node_name);
  // How far behind the others are only the leader knows.
  const std::string leader = cluster_ && !local ? cluster_->leader_address() : "";
  if (leader.empty()) co_return out;
  http::ClientOptions o;
  o.tls.ca_pem = identity_.ca_pem;
  o.tls.identity = {identity_.peer.certificate_pem, identity_.peer.key_pem};
  o.tls.server_name = "kubernetes";
  o.connect_timeout = 1s;
  http::Client client(env_, std::move(o));
  http::ClientRequest request;
  request.url = leader + "/skiff/v1/status?local=true";
  request.timeout = 2s;
  const auto answered = co_await client.request(std::move(request));
  if (!answered || answered->status != 200) co_return out;
  auto theirs = api::parse_json(answered->body);
  if (!theirs) co_return out;
  co_return std::move(*theirs);
}

Task<ClusterApi::Answer> ClusterApi::encryption(const http::Request* request, std::string what) {
  const bool post = request->method == http::Method::post;
  if (what == "encryption" && !post) co_return encryption_.status();
  if (what == "encryption/reload" && post) {
    SKIFF_CO_CHECK(co_await encryption_.reload());
    co_return encryption_.status();
  }
  if (what == "encryption/keys" && post) {
    const auto body = api::parse_json(request->body);
    if (!body) co_return Error{Code::bad_request, "the request is no JSON"};
    std::string key = (*body)["key"].as_string();
    const bool seal = (*body)["seal"].as_bool();
    SKIFF_CO_CHECK(co_await encryption_.add_key(std::move(key), seal));
    co_return encryption_.status();
  }
  co_return unknown();
}

}  // namespace skiff::app
