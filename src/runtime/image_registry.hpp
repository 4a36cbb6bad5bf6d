// One repository of one registry, over the OCI distribution protocol (distribution-spec v1.1) with
// the token and basic authentication registries use.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/http/client.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

// What a WWW-Authenticate header asks for (RFC 9110 section 11.6.1). Pure.
struct Challenge {
  std::string scheme;  // lower case: "bearer", "basic"
  std::vector<std::pair<std::string, std::string>> parameters;
  std::string_view get(std::string_view name) const;
};
std::optional<Challenge> parse_challenge(std::string_view header);

// Whether a registry host ("localhost:5000") is this machine: plain HTTP is tried there. Pure.
bool loopback_registry(std::string_view registry);

// Words a failure to reach a registry as upstream's runtimes do ("connection refused", "no such
// host"). Pure.
Error worded(Error error, std::string_view method, std::string_view url);

// Belongs to the loop; one request at a time, or several once manifest() has been answered.
class Repository {
 public:
  struct Manifest {
    std::string document;
    std::string digest;  // "sha256:..."
  };

  // `ref.registry` is set. `auths` are tried in order; without any, anonymously.
  Repository(http::Client& http, ImageReference ref, std::vector<RegistryAuth> auths,
             RegistrySettings settings, std::size_t document_bytes);

  // By tag or digest; a digest is checked. Errors: not_found, unauthorized, unavailable.
  Task<Result<Manifest>> manifest(std::string tag_or_digest);
  // A small blob, checked.
  Task<Result<std::string>> document(std::string digest);
  // A blob from `offset` on; status 200 means from the start all the same.
  Task<Result<std::unique_ptr<http::ResponseStream>>> blob(std::string digest,
                                                           std::uint64_t offset);

 private:
  struct Answer {
    std::unique_ptr<http::ResponseStream> stream;
    std::string url;
  };
  // Sends with what authorization is known, learns from a challenge, follows redirects.
  Task<Result<Answer>> get(std::string path, std::string accept, std::uint64_t offset);
  Task<Result<Answer>> follow(Answer answer, std::uint64_t offset);
  Task<Result<Answer>> send(std::string url, http::Headers headers);
  Task<Result<void>> choose_scheme();
  Task<Result<void>> authorize(Challenge challenge);
  Task<Result<std::string>> fetch_token(Challenge challenge, std::optional<RegistryAuth> auth);
  Task<Error> refusal(Answer answer, std::string what);

  http::Client& http_;
  ImageReference ref_;
  std::vector<RegistryAuth> auths_;
  std::size_t next_auth_ = 0;
  RegistrySettings settings_;
  std::size_t document_bytes_;
  std::string base_;           // "https://host"; "" until chosen
  std::string authorization_;  // header value; "" while none is known
  bool accepted_ = false;      // the registry took it at least once
};

}  // namespace skiff::runtime
