// Who sends a request: client certificates, static tokens, service account tokens, impersonation.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "skiff/apiserver/apiserver.hpp"

namespace skiff::apiserver {

using registry::UserPtr;

class Authenticator {
 public:
  Authenticator(Env env, registry::Registry& registry, ServiceAccountTokens* tokens,
                std::vector<StaticToken> static_tokens);

  // Null: no credentials at all. unauthorized: credentials that do not count.
  Result<UserPtr> authenticate(const http::Request& request);

  // A token on its own (TokenReview); `audiences` receives those it carries.
  Result<UserPtr> check_token(std::string_view token, std::vector<std::string>& audiences);

  static UserPtr anonymous();

 private:
  struct Known {
    ServiceAccountTokens::Verified verified;
    UserPtr user;
    TimePoint until;
  };
  UserPtr from_certificate(const http::ClientCertificate& certificate);
  Result<UserPtr> from_token(std::string_view token);
  Result<void> still_there(const ServiceAccountTokens::Verified& v) const;

  Env env_;
  registry::Registry& registry_;
  ServiceAccountTokens* tokens_;
  std::vector<std::pair<std::string, UserPtr>> static_tokens_;
  // Checking a signature costs more than the rest of a request; both caches are bounded.
  std::unordered_map<std::string, UserPtr> certificates_;  // by DER
  std::unordered_map<std::string, Known> known_tokens_;
};

}  // namespace skiff::apiserver
