#include "authenticate.hpp"

#include "skiff/registry/scan.hpp"

namespace skiff::apiserver {
namespace {

constexpr std::size_t kMaxCached = 4096;
constexpr Duration kTokenCache = 10s;
constexpr std::string_view kAuthenticated = "system:authenticated";

Error unauthorized() { return {Code::unauthorized, "Unauthorized"}; }

bool is_bearer(std::string_view header) {
  if (header.size() < 7) return false;
  std::string scheme(header.substr(0, 7));
  for (char& c : scheme) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return scheme == "bearer ";
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

Authenticator::Authenticator(Env env, registry::Registry& registry, ServiceAccountTokens* tokens,
                             std::vector<StaticToken> static_tokens)
    : env_(env), registry_(registry), tokens_(tokens) {
  for (StaticToken& s : static_tokens) {
    if (s.token.empty()) continue;
    s.user.groups.emplace_back(kAuthenticated);
    static_tokens_.emplace_back(std::move(s.token),
                                std::make_shared<const User>(std::move(s.user)));
  }
}

UserPtr Authenticator::anonymous() {
  static const UserPtr user = [] {
    auto u = std::make_shared<User>();
    u->name = "system:anonymous";
    u->groups = {"system:unauthenticated"};
    return u;
  }();
  return user;
}

UserPtr Authenticator::from_certificate(const http::ClientCertificate& certificate) {
  if (const auto at = certificates_.find(certificate.der); at != certificates_.end()) {
    return at->second;
  }
  auto user = std::make_shared<User>();
  user->name = certificate.common_name;
  user->groups = certificate.organizations;
  user->groups.emplace_back(kAuthenticated);
  user->extra.emplace_back(
      "authentication.kubernetes.io/credential-id",
      std::vector<std::string>{"X509SHA256=" + pki::sha256_hex(certificate.der)});
  if (certificates_.size() >= kMaxCached) certificates_.clear();
  certificates_.emplace(certificate.der, user);
  return user;
}

// A token dies with its account and with what it is bound to.
Result<void> Authenticator::still_there(const ServiceAccountTokens::Verified& v) const {
  const auto uid_of = [&](std::string_view plural, const std::string& ns,
                          const std::string& name) -> std::string {
    const auto item = registry_.get({api::find_resource("", "v1", plural), ns, name, ""});
    if (!item) return {};
    return registry::scan::text(registry::scan::find((*item)->value, {"metadata", "uid"}));
  };
  if (uid_of("serviceaccounts", v.ns, v.name) != v.uid) return unauthorized();
  if (v.bound_kind == "Pod" && uid_of("pods", v.ns, v.bound_name) != v.bound_uid) {
    return unauthorized();
  }
  if (v.bound_kind == "Secret" && uid_of("secrets", v.ns, v.bound_name) != v.bound_uid) {
    return unauthorized();
  }
  if (v.bound_kind == "Node" && uid_of("nodes", "", v.bound_name) != v.bound_uid) {
    return unauthorized();
  }
  return {};
}

Result<UserPtr> Authenticator::from_token(std::string_view token) {
  for (const auto& [secret, user] : static_tokens_) {
    if (pki::constant_time_equal(secret, token)) return user;
  }
  if (!tokens_) return unauthorized();
  std::string key(token);
  const auto known = known_tokens_.find(key);
  if (known != known_tokens_.end() && known->second.until > env_.clock->now()) {
    SKIFF_CHECK(still_there(known->second.verified));
    return known->second.user;
  }
  auto verified = tokens_->verify(token, {});
  if (!verified) return unauthorized();
  SKIFF_CHECK(still_there(*verified));
  auto user = std::make_shared<const User>(verified->user);
  if (known_tokens_.size() >= kMaxCached) known_tokens_.clear();
  known_tokens_.insert_or_assign(
      std::move(key), Known{std::move(*verified), user, env_.clock->now() + kTokenCache});
  return UserPtr(std::move(user));
}

Result<UserPtr> Authenticator::check_token(std::string_view token,
                                           std::vector<std::string>& audiences) {
  if (audiences.empty()) return from_token(token);
  if (!tokens_) return unauthorized();
  SKIFF_TRY(ServiceAccountTokens::Verified verified, tokens_->verify(token, audiences));
  SKIFF_CHECK(still_there(verified));
  audiences = verified.audiences;
  return UserPtr(std::make_shared<const User>(std::move(verified.user)));
}

Result<UserPtr> Authenticator::authenticate(const http::Request& request) {
  const http::ConnectionInfo* connection = request.connection.get();
  if (connection && connection->client_certificate) {
    // The connection may have outlived its certificate.
    if (connection->client_certificate->not_after < env_.clock->wall()) return unauthorized();
    return from_certificate(*connection->client_certificate);
  }
  const std::string_view header = request.headers.get("Authorization");
  if (is_bearer(header)) return from_token(trim(header.substr(7)));
  if (!header.empty()) return unauthorized();
  if (connection && !connection->client_certificate_error.empty()) return unauthorized();
  return UserPtr();
}

}  // namespace skiff::apiserver
