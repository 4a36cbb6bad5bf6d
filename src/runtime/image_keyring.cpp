// Pull secrets: registry credentials as docker's configuration files hold them.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>

#include "image_digest.hpp"
#include "skiff/api/value.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::runtime {
namespace {

Result<std::string> base64_decode(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  while (text.size() % 4 != 0) text += '=';
  std::string out(text.size() / 4 * 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(text.data()),
                                static_cast<int>(text.size()));
  if (n < 0) return Error{Code::invalid, "not base64"};
  auto padding = static_cast<std::size_t>(std::count(
      text.rbegin(), text.rbegin() + std::min<long>(2, static_cast<long>(text.size())), '='));
  out.resize(static_cast<std::size_t>(n) - std::min(padding, static_cast<std::size_t>(n)));
  return out;
}

// Keys are hosts, with or without a scheme, a path, or the old "/v1/" and "/v2/" ends.
std::string registry_key(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  while (key.ends_with('/')) key.remove_suffix(1);
  for (const std::string_view version : {"/v1", "/v2"}) {
    if (key.ends_with(version)) key.remove_suffix(version.size());
  }
  return std::string(key);
}

Result<RegistryAuth> auth_of(const api::Value& entry) {
  RegistryAuth auth{entry["username"].as_string(), entry["password"].as_string(),
                    entry["identitytoken"].as_string()};
  const auto& packed = entry["auth"].as_string();
  if (packed.empty()) return auth;
  auto text = base64_decode(packed);
  if (!text) return text.error();
  const auto colon = text->find(':');
  if (colon == std::string::npos) return Error{Code::invalid, "has no colon"};
  auth.username = text->substr(0, colon);
  auth.password = text->substr(colon + 1);
  return auth;
}

}  // namespace

Result<void> Keyring::add_docker_config_json(std::string_view json) {
  SKIFF_TRY(const auto document, api::parse_json(json));
  return add_docker_cfg(api::to_json(document["auths"]));
}

Result<void> Keyring::add_docker_cfg(std::string_view json) {
  SKIFF_TRY(const auto document, api::parse_json(json));
  if (!document.is_object() && !document.is_null()) {
    return Error{Code::invalid, "the pull secret's credentials must be an object"};
  }
  for (const auto& member : document.members()) {
    auto auth = auth_of(member.value);
    if (!auth) {
      // The secret's text must not reach a log.
      return Error{Code::invalid, fmt::format("the pull secret's \"auth\" for {} {}", member.name,
                                              auth.error().message)};
    }
    add(registry_key(member.name), std::move(*auth));
  }
  return {};
}

void Keyring::add(std::string registry, RegistryAuth auth) {
  entries_.emplace(std::move(registry), std::move(auth));
}

std::vector<RegistryAuth> Keyring::find(const ImageReference& ref) const {
  const std::string name = ref.name();
  std::vector<std::pair<std::size_t, RegistryAuth>> found;
  for (const auto& [key, auth] : entries_) {
    const bool match =
        name.starts_with(key) && (name.size() == key.size() || name[key.size()] == '/');
    if (match) found.emplace_back(key.size(), auth);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<RegistryAuth> auths;
  for (auto& [length, auth] : found) auths.push_back(std::move(auth));
  return auths;
}

std::string Keyring::fingerprint() const {
  Sha256 hash;
  for (const auto& [key, auth] : entries_) {
    for (const std::string* part : {&key, &auth.username, &auth.password, &auth.identity_token}) {
      hash.update(*part);
      hash.update(std::string_view("\0", 1));
    }
  }
  return hash.finish();
}

}  // namespace skiff::runtime
