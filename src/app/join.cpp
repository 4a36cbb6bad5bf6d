#include "join.hpp"

#include <algorithm>

#include "encryption.hpp"
#include "server.hpp"
#include "skiff/client/http_client.hpp"
#include "skiff/pki/certificate.hpp"

namespace skiff::app {
namespace {

constexpr std::string_view kPrefix = "skiff10::";
constexpr std::size_t kIdLength = 6;
constexpr std::size_t kSecretLength = 16;
// Every server's certificate says it, whatever name or address it was reached by.
constexpr const char* kCommonName = "kubernetes";

bool plain(std::string_view text, std::size_t length, std::string_view alphabet) {
  return text.size() == length && text.find_first_not_of(alphabet) == std::string_view::npos;
}
constexpr std::string_view kWord = "abcdefghijklmnopqrstuvwxyz0123456789";

std::string random_word(Random& random, std::size_t length) {
  std::string out;
  while (out.size() < length) out += kWord[random.below(kWord.size())];
  return out;
}

std::string decoded(const api::Value& secret, std::string_view field) {
  auto text = pki::base64_decode(secret["data"][field].as_string());
  return text ? std::move(*text) : std::string();
}

// "1 h 5 min", rounded: for people.
std::string amount(Duration d) {
  const auto minutes = std::chrono::round<std::chrono::minutes>(d).count();
  const std::int64_t hours = minutes / 60;
  std::string out = hours > 0 ? std::to_string(hours) + " h " : "";
  return out + std::to_string(minutes % 60) + " min";
}

Task<Result<api::Value>> ask(http::Client* client, http::ClientRequest request) {
  request.timeout = 60s;
  request.max_body = 1U << 20U;
  const std::string url = request.url;
  auto answer = co_await client->request(std::move(request));
  if (!answer) {
    co_return annotate(answer.error(), "cannot join at " + url.substr(0, url.find("/skiff/")));
  }
  if (answer->status / 100 != 2) {
    Error refused = client::error_from_answer(answer->status, answer->body);
    const bool other = answer->status == 404 && refused.message.find("skiff") == std::string::npos;
    if (other) refused.message = "that is no skiff server that others can join";
    if (refused.message.starts_with("cannot join")) co_return refused;
    co_return annotate(std::move(refused), "cannot join");
  }
  auto document = api::parse_json(answer->body);
  if (!document) {
    co_return Error{Code::unavailable, "cannot join: " + url + " does not answer as skiff does"};
  }
  co_return std::move(*document);
}

// Servers come in one after another: of those that are started together, all but one wait.
Task<Result<api::Value>> ask_in_turn(Env env, http::Client* client, http::ClientRequest request) {
  constexpr Duration kPause = 500ms;
  constexpr Duration kPatience = 60s;
  const TimePoint end = env.clock->now() + kPatience;
  for (;;) {
    http::ClientRequest one = request;
    auto answer = co_await ask(client, std::move(one));
    const bool busy = !answer && answer.error().code == Code::conflict &&
                      answer.error().message.ends_with("another change of servers is under way");
    if (!busy || env.clock->now() >= end) co_return answer;
    co_await env.clock->sleep_for(kPause);
  }
}

// The certificate of the authority, once it is the one the token names.
Task<Result<std::string>> fetch_authority(Env env, ServerOptions options, JoinToken token) {
  http::ClientOptions blind;
  blind.tls.insecure_skip_verify = true;
  http::Client client(env, std::move(blind));
  http::ClientRequest request;
  request.url = options.server + "/skiff/v1/ca";
  SKIFF_CO_TRY(const api::Value answer, co_await ask(&client, std::move(request)));
  const std::string pem = answer["ca"].as_string();
  const auto certificate = pki::Certificate::from_pem(pem);
  if (!certificate || certificate->fingerprint() != token.cluster_id) {
    co_return Error{Code::unauthorized,
                    "cannot join: the server at " + options.server +
                        " is not of the cluster that made this token (its certificate authority "
                        "is another): check --server, or make a token there"};
  }
  // A wrong clock shows as a certificate that is not valid yet, or no longer: said here plainly.
  const auto theirs = parse_time(answer["time"].as_string());
  if (theirs) SKIFF_CO_CHECK(check_clocks(env.clock->wall(), *theirs));
  co_return certificate->to_pem();
}

Result<void> keep_keys(const ServerOptions& options, const api::Value& answer,
                       const JoinToken& token) {
  const std::string directory = options.data_dir + "/pki";
  const pki::KeyPair ca{answer["ca"].as_string(), answer["caKey"].as_string()};
  SKIFF_TRY(const auto authority, pki::CertificateAuthority::load(ca));
  if (authority.certificate().fingerprint() != token.cluster_id) {
    return Error{Code::unauthorized, "cannot join: the server handed over another authority"};
  }
  const std::string account_key = answer["serviceAccountKey"].as_string();
  SKIFF_TRY([[maybe_unused]] const auto key, pki::PrivateKey::from_pem(account_key));
  const std::string encryption = answer["encryptionKeys"].as_string();
  if (!encryption.empty()) SKIFF_CHECK(Encryption::adopt(options, encryption));
  SKIFF_CHECK(pki::write_private_file(directory + "/service-account.key", account_key));
  return pki::save_key_pair(directory, "ca", ca);
}

}  // namespace

Result<JoinToken> JoinToken::parse(std::string_view text) {
  const Error malformed{Code::bad_request,
                        "--token is no join token: want skiff10::HASH::ID.SECRET, as skiff token "
                        "create prints it on a server of the cluster"};
  if (!text.starts_with(kPrefix)) return malformed;
  text.remove_prefix(kPrefix.size());
  const std::size_t colons = text.find("::");
  const std::size_t dot = text.find('.');
  if (colons == std::string_view::npos || dot == std::string_view::npos || dot < colons + 2) {
    return malformed;
  }
  JoinToken token;
  token.cluster_id = text.substr(0, colons);
  token.id = text.substr(colons + 2, dot - colons - 2);
  token.secret = text.substr(dot + 1);
  if (!plain(token.cluster_id, 64, "0123456789abcdef") || !plain(token.id, kIdLength, kWord) ||
      !plain(token.secret, kSecretLength, kWord)) {
    return malformed;
  }
  return token;
}

std::string JoinToken::to_string() const {
  return std::string(kPrefix) + cluster_id + "::" + id + "." + secret;
}

JoinToken make_join_token(Random& random, std::string cluster_id) {
  JoinToken token;
  token.cluster_id = std::move(cluster_id);
  token.id = random_word(random, kIdLength);
  token.secret = random_word(random, kSecretLength);
  return token;
}

api::Value token_secret(const JoinToken& token, WallTime expires, std::string_view description) {
  const auto encoded = [](std::string_view text) { return pki::base64_encode(text); };
  api::Value data = api::Value::object({{"token-id", encoded(token.id)},
                                        {"token-secret", encoded(token.secret)},
                                        {"expiration", encoded(format_time(expires))},
                                        {"description", encoded(description)},
                                        {"usage-skiff-join-server", encoded("true")}});
  api::Value doc = api::Value::object({{"apiVersion", "v1"}, {"kind", "Secret"}});
  doc.set("metadata", api::Value::object(
                          {{"name", "bootstrap-token-" + token.id}, {"namespace", "kube-system"}}));
  doc.set("type", "bootstrap.kubernetes.io/token");
  doc.set("data", std::move(data));
  return doc;
}

Result<void> check_token(const api::Value& document, std::string_view secret, WallTime now) {
  const Error wrong{Code::unauthorized,
                    "the token is not known here: it was removed, or never made; make one with "
                    "skiff token create"};
  if (decoded(document, "usage-skiff-join-server") != "true") return wrong;
  if (!pki::constant_time_equal(decoded(document, "token-secret"), secret)) return wrong;
  const auto expires = parse_time(decoded(document, "expiration"));
  if (!expires || *expires <= now) {
    return Error{Code::unauthorized,
                 "the token has expired: make a new one with skiff token create"};
  }
  return {};
}

Result<void> check_clocks(WallTime mine, WallTime theirs) {
  const Duration ahead = mine - theirs;
  if (std::chrono::abs(ahead) <= kMaxClockSkew) return {};
  return Error{Code::conflict, "cannot join: this machine's clock is " +
                                   amount(std::chrono::abs(ahead)) +
                                   (ahead > Duration::zero() ? " ahead of" : " behind") +
                                   " the server's: set it right (NTP) and try again"};
}

api::Value cluster_settings(const ServerOptions& o) {
  return api::Value::object({{"cluster-cidr", o.cluster_cidr},
                             {"service-cidr", o.service_cidr},
                             {"service-node-port-range", o.node_ports},
                             {"cluster-domain", o.cluster_domain}});
}

Result<void> check_settings(const api::Value& mine, const api::Value& cluster) {
  for (const api::Member& m : cluster.members()) {
    const std::string flag{std::string_view(m.name)};
    const std::string& here = mine[flag].as_string();
    if (here == m.value.as_string()) continue;
    return Error{Code::conflict, "cannot join: this cluster was started with --" + flag + " " +
                                     m.value.as_string() + ", and this server has " + here +
                                     ": start it with the cluster's"};
  }
  return {};
}

Task<Result<void>> join_cluster(Env env, ServerOptions options, std::string id) {
  SKIFF_CO_TRY(const JoinToken token, JoinToken::parse(options.token));
  SKIFF_CO_TRY(const std::string ca, co_await fetch_authority(env, options, token));
  http::ClientOptions trusting;
  trusting.tls.ca_pem = ca;
  trusting.tls.server_name = kCommonName;
  http::Client client(env, std::move(trusting));
  api::Value body = api::Value::object({{"token", token.id + "." + token.secret},
                                        {"name", options.node_name},
                                        {"id", id},
                                        {"address", options.own_url()},
                                        {"time", format_time(env.clock->wall())},
                                        {"version", kubernetes_version()}});
  body.set("settings", cluster_settings(options));
  http::ClientRequest request;
  request.method = http::Method::post;
  request.url = options.server + "/skiff/v1/join";
  request.headers.add("Content-Type", "application/json");
  request.body = api::to_json(body);
  SKIFF_CO_TRY(const api::Value answer, co_await ask_in_turn(env, &client, std::move(request)));
  const auto keep = [&] { return keep_keys(options, answer, token); };
  co_return co_await env.blocking->run(keep);
}

}  // namespace skiff::app
