// Service account tokens: JSON Web Tokens with the claims kube-apiserver writes (KEP-1205).
#include "skiff/apiserver/apiserver.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

constexpr std::string_view kSubject = "system:serviceaccount:";
// Tokens of a clock a little ahead of ours still count.
constexpr std::int64_t kLeeway = 10;
// Tokens asked for by kubelets (3607 s) outlive their kubelet's renewal by a year, so that old
// clients that never read the file again go on; that is upstream's extended expiration.
constexpr std::int64_t kBoundSeconds = 3607;
constexpr std::int64_t kExtendedSeconds = 365 * 24 * 3600;

std::int64_t seconds(WallTime t) {
  return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
}

Error refused(std::string why) { return {Code::unauthorized, std::move(why)}; }

std::vector<std::string> audiences_of(const Value& aud) {
  std::vector<std::string> out;
  if (aud.is_string()) out.push_back(aud.as_string());
  for (const Value& a : aud.items()) out.push_back(a.as_string());
  return out;
}

Value reference(const std::string& name, const std::string& uid) {
  return Value::object({{"name", name}, {"uid", uid}});
}

// The payload of a token, unverified.
Result<Value> payload(std::string_view token) {
  const auto first = token.find('.');
  const auto second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos) return refused("the token is not a JSON Web Token");
  SKIFF_TRY(const std::string json,
            pki::base64url_decode(token.substr(first + 1, second - first - 1)));
  return api::parse_json(json);
}

void add_extra(User& user, std::string_view key, const std::string& value) {
  if (value.empty()) return;
  user.extra.emplace_back("authentication.kubernetes.io/" + std::string(key),
                          std::vector<std::string>{value});
}

}  // namespace

struct ServiceAccountTokens::State {
  Env env;
  TokenOptions options;
  std::vector<pki::PublicKey> keys;
};

ServiceAccountTokens::ServiceAccountTokens(Env env, TokenOptions options) {
  if (options.audiences.empty()) options.audiences.push_back(options.issuer);
  std::vector<pki::PublicKey> keys{options.signing_key.public_key()};
  keys.insert(keys.end(), options.older_keys.begin(), options.older_keys.end());
  state_ = std::make_unique<State>(State{env, std::move(options), std::move(keys)});
}

ServiceAccountTokens::~ServiceAccountTokens() = default;

const std::string& ServiceAccountTokens::issuer() const noexcept { return state_->options.issuer; }

Result<registry::IssuedToken> ServiceAccountTokens::issue(
    const registry::ServiceAccountClaims& claims) {
  const WallTime now = state_->env.clock->wall();
  registry::IssuedToken out;
  out.audiences = claims.audiences.empty() ? state_->options.audiences : claims.audiences;
  out.expires = now + std::chrono::seconds(claims.expiration_seconds);
  std::int64_t lifetime = claims.expiration_seconds;
  const bool extend = claims.bound_kind == "Pod" && lifetime == kBoundSeconds &&
                      out.audiences == state_->options.audiences;
  if (extend) lifetime = kExtendedSeconds;

  Value bound = Value::object({{"namespace", claims.ns}});
  if (!claims.node_name.empty()) {
    bound.set("node", reference(claims.node_name, claims.node_uid));
  }
  if (claims.bound_kind == "Pod") bound.set("pod", reference(claims.bound_name, claims.bound_uid));
  if (claims.bound_kind == "Secret") {
    bound.set("secret", reference(claims.bound_name, claims.bound_uid));
  }
  if (claims.bound_kind == "Node") {
    bound.set("node", reference(claims.bound_name, claims.bound_uid));
  }
  bound.set("serviceaccount", reference(claims.name, claims.uid));
  if (extend) bound.set("warnafter", seconds(out.expires));

  Value aud = Value::array();
  for (const std::string& a : out.audiences) aud.push_back(a);
  Value payload = Value::object({{"aud", std::move(aud)},
                                 {"exp", seconds(now) + lifetime},
                                 {"iat", seconds(now)},
                                 {"iss", state_->options.issuer},
                                 {"jti", state_->env.random->uuid()}});
  payload.set("kubernetes.io", std::move(bound));
  payload.set("nbf", seconds(now));
  payload.set("sub", std::string(kSubject) + claims.ns + ":" + claims.name);
  out.token = pki::sign_token(state_->options.signing_key, api::to_json(payload));
  return out;
}

bool ServiceAccountTokens::concerns(std::string_view token) const {
  const auto claims = payload(token);
  return claims && (*claims)["iss"].as_string() == state_->options.issuer;
}

Result<ServiceAccountTokens::Verified> ServiceAccountTokens::verify(
    std::string_view token, const std::vector<std::string>& audiences) const {
  SKIFF_TRY(const pki::VerifiedToken verified, pki::verify_token(token, state_->keys));
  SKIFF_TRY(const Value claims, api::parse_json(verified.claims_json));
  if (claims["iss"].as_string() != state_->options.issuer) {
    return refused("the token was issued by somebody else");
  }
  const std::int64_t now = seconds(state_->env.clock->wall());
  if (claims["exp"].as_int() <= now - kLeeway) return refused("service account token has expired");
  if (claims["nbf"].as_int() > now + kLeeway) {
    return refused("service account token is not valid yet");
  }
  Verified out;
  const auto& wanted = audiences.empty() ? state_->options.audiences : audiences;
  for (const std::string& a : audiences_of(claims["aud"])) {
    if (std::find(wanted.begin(), wanted.end(), a) != wanted.end()) out.audiences.push_back(a);
  }
  if (out.audiences.empty()) return refused("token audiences do not fit this server");
  const Value& bound = claims["kubernetes.io"];
  out.ns = bound["namespace"].as_string();
  out.name = bound["serviceaccount"]["name"].as_string();
  out.uid = bound["serviceaccount"]["uid"].as_string();
  if (out.ns.empty() || out.name.empty() ||
      claims["sub"].as_string() != std::string(kSubject) + out.ns + ":" + out.name) {
    return refused("the token speaks for no service account");
  }
  for (const auto& [kind, member] :
       {std::pair("Pod", "pod"), std::pair("Secret", "secret"), std::pair("Node", "node")}) {
    if (!out.bound_kind.empty() || !bound.has(member)) continue;
    out.bound_kind = kind;
    out.bound_name = bound[member]["name"].as_string();
    out.bound_uid = bound[member]["uid"].as_string();
  }
  out.user.name = claims["sub"].as_string();
  out.user.uid = out.uid;
  out.user.groups = {"system:serviceaccounts", "system:serviceaccounts:" + out.ns,
                     "system:authenticated"};
  add_extra(out.user, "credential-id",
            claims["jti"].is_string() ? "JTI=" + claims["jti"].as_string() : "");
  add_extra(out.user, "node-name", bound["node"]["name"].as_string());
  add_extra(out.user, "node-uid", bound["node"]["uid"].as_string());
  add_extra(out.user, "pod-name", bound["pod"]["name"].as_string());
  add_extra(out.user, "pod-uid", bound["pod"]["uid"].as_string());
  return out;
}

std::string ServiceAccountTokens::key_set_json() const {
  Value keys = Value::array();
  for (const pki::PublicKey& key : state_->keys) {
    const auto point = key.point();
    Value one = Value::object({{"use", "sig"}, {"kty", "EC"}, {"kid", key.id()}});
    one.set("crv", "P-256");
    one.set("alg", "ES256");
    one.set("x", point.x);
    one.set("y", point.y);
    keys.push_back(std::move(one));
  }
  return api::to_json(Value::object({{"keys", std::move(keys)}}));
}

}  // namespace skiff::apiserver
