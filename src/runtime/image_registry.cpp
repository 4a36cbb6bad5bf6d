#include "image_registry.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cctype>

#include "image_digest.hpp"
#include "skiff/api/value.hpp"

namespace skiff::runtime {
namespace {

constexpr int kMaxRedirects = 5;
constexpr Duration kAnswerLimit = 60s;
constexpr std::string_view kManifestTypes =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string basic(const RegistryAuth& auth) {
  const std::string plain = auth.username + ":" + auth.password;
  std::string out((plain.size() + 2) / 3 * 4 + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(plain.data()),
                                static_cast<int>(plain.size()));
  out.resize(static_cast<std::size_t>(n));
  return "Basic " + out;
}

bool redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// The message of a registry's error document.
std::string server_message(std::string_view body) {
  const auto doc = api::parse_json(body);
  if (!doc) return "";
  const auto& first = (*doc)["errors"][std::size_t{0}];
  const auto& code = first["code"].as_string();
  const auto& text = first["message"].as_string();
  return code.empty() ? text : fmt::format("{}: {}", lower(code), text);
}

}  // namespace

std::string_view Challenge::get(std::string_view name) const {
  for (const auto& [key, value] : parameters) {
    if (key == name) return value;
  }
  return "";
}

std::optional<Challenge> parse_challenge(std::string_view header) {
  const auto space = header.find(' ');
  Challenge c;
  c.scheme = lower(header.substr(0, space));
  if (c.scheme.empty()) return std::nullopt;
  std::size_t i = space == std::string_view::npos ? header.size() : space + 1;
  const auto skip = [&](std::string_view set) {
    while (i < header.size() && set.find(header[i]) != std::string_view::npos) ++i;
  };
  while (skip(" ,\t"), i < header.size()) {
    const auto equals = header.find('=', i);
    if (equals == std::string_view::npos) break;
    const std::string name = lower(header.substr(i, equals - i));
    i = equals + 1;
    std::string value;
    if (i < header.size() && header[i] == '"') {
      for (++i; i < header.size() && header[i] != '"'; ++i) {
        if (header[i] == '\\' && i + 1 < header.size()) ++i;
        value += header[i];
      }
      ++i;
    } else {
      while (i < header.size() && header[i] != ',') value += header[i++];
    }
    c.parameters.emplace_back(name, std::move(value));
  }
  return c;
}

bool loopback_registry(std::string_view registry) {
  std::string_view host = registry;
  if (host.starts_with('[')) {
    host = host.substr(1, host.find(']') - 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
  return host.starts_with("127.") && std::all_of(host.begin(), host.end(), [](char c) {
           return c == '.' || (c >= '0' && c <= '9');
         });
}

Error worded(Error error, std::string_view method, std::string_view url) {
  const std::string text = lower(error.message);
  const auto says = [&](std::string_view what) { return text.find(what) != std::string::npos; };
  std::string why = error.message;
  if (says("refused") && !says("certificate")) {
    why = "dial tcp: connect: connection refused";
  } else if (says("name or service not known") || says("no such host") ||
             says("no address associated")) {
    const auto parsed = http::Url::parse(url);
    const std::string host = parsed ? parsed->host : std::string(url);
    why = fmt::format("dial tcp: lookup {}: no such host", host);
  }
  error.message = fmt::format("failed to do request: {} \"{}\": {}", method, url, why);
  return error;
}

Repository::Repository(http::Client& http, ImageReference ref, std::vector<RegistryAuth> auths,
                       RegistrySettings settings, std::size_t document_bytes)
    : http_(http),
      ref_(std::move(ref)),
      auths_(std::move(auths)),
      settings_(std::move(settings)),
      document_bytes_(document_bytes) {}

Task<Result<Repository::Answer>> Repository::send(std::string url, http::Headers headers) {
  http::ClientRequest request;
  request.url = url;
  request.headers = std::move(headers);
  request.timeout = kAnswerLimit;
  auto stream = co_await http_.stream(std::move(request));
  if (!stream) co_return worded(stream.error(), "Get", url);
  Answer answer{std::move(*stream), std::move(url)};
  co_return std::move(answer);
}

// Loopback registries mostly speak plain HTTP; everyone else has to be told to.
Task<Result<void>> Repository::choose_scheme() {
  const std::string secure = "https://" + ref_.registry, plain = "http://" + ref_.registry;
  if (settings_.plain_http || !loopback_registry(ref_.registry)) {
    base_ = settings_.plain_http ? plain : secure;
    co_return Result<void>{};
  }
  http::Headers none;
  auto answer = co_await send(plain + "/v2/", std::move(none));
  if (!answer) co_return answer.error();
  // A TLS server answers a plain request with 400, if at all.
  base_ = answer->stream->status() == 400 ? secure : plain;
  co_return Result<void>{};
}

Task<Result<Repository::Answer>> Repository::get(std::string path, std::string accept,
                                                 std::uint64_t offset) {
  if (base_.empty()) {
    auto chosen = co_await choose_scheme();
    if (!chosen) co_return chosen.error();
  }
  const std::string url = fmt::format("{}/v2/{}/{}", base_, ref_.repository, path);
  for (;;) {
    http::Headers headers;
    if (!accept.empty()) headers.add("Accept", accept);
    if (!authorization_.empty()) headers.add("Authorization", authorization_);
    if (offset != 0) headers.add("Range", fmt::format("bytes={}-", offset));
    const bool had_authorization = !authorization_.empty();
    auto answer = co_await send(url, std::move(headers));
    if (!answer) co_return answer.error();
    if (answer->stream->status() != 401) {
      accepted_ = accepted_ || had_authorization;
      auto followed = co_await follow(std::move(*answer), offset);
      co_return std::move(followed);
    }
    // The first challenge is for the first credentials; each further one says they were wrong,
    // unless they were good before: then the token has run out.
    const bool expired = std::exchange(accepted_, false);
    if (had_authorization && !expired) ++next_auth_;
    const bool more = !had_authorization || expired || next_auth_ < auths_.size();
    const auto challenge = parse_challenge(answer->stream->headers().get("WWW-Authenticate"));
    if (!more || !challenge) {
      co_return co_await refusal(std::move(*answer), path);
    }
    auto authorized = co_await authorize(*challenge);
    if (!authorized) co_return authorized.error();
  }
}

Task<Result<Repository::Answer>> Repository::follow(Answer answer, std::uint64_t offset) {
  for (int hops = 0; redirect(answer.stream->status()); ++hops) {
    std::string to(answer.stream->headers().get("Location"));
    if (hops == kMaxRedirects || to.empty()) {
      co_return Error{Code::unavailable, fmt::format("{} redirects without end", answer.url)};
    }
    const auto from = http::Url::parse(answer.url);
    if (!from) co_return from.error();
    if (to.starts_with('/')) to = (from->tls ? "https://" : "http://") + from->authority() + to;
    const auto target = http::Url::parse(to);
    if (!target) co_return target.error();
    if (from->tls && !target->tls) {
      co_return Error{Code::unavailable,
                      fmt::format("{} redirects from HTTPS to plain HTTP: refused", answer.url)};
    }
    http::Headers headers;
    // Storage elsewhere must not see the registry's credentials.
    if (target->authority() == from->authority() && !authorization_.empty()) {
      headers.add("Authorization", authorization_);
    }
    if (offset != 0) headers.add("Range", fmt::format("bytes={}-", offset));
    auto next = co_await send(to, std::move(headers));
    if (!next) co_return next.error();
    answer = std::move(*next);
  }
  co_return std::move(answer);
}

Task<Result<void>> Repository::authorize(Challenge challenge) {
  std::optional<RegistryAuth> auth;
  if (next_auth_ < auths_.size()) auth = auths_[next_auth_];
  if (challenge.scheme == "basic") {
    if (!auth) {
      co_return Error{Code::unauthorized,
                      "pull access denied, repository does not exist or may require "
                      "authorization: no basic auth credentials"};
    }
    authorization_ = basic(*auth);
    co_return Result<void>{};
  }
  if (challenge.scheme != "bearer") {
    co_return Error{Code::unauthorized,
                    fmt::format("the registry asks for {} authentication, which is not known",
                                challenge.scheme)};
  }
  auto token = co_await fetch_token(std::move(challenge), std::move(auth));
  if (!token) co_return token.error();
  authorization_ = "Bearer " + *token;
  co_return Result<void>{};
}

Task<Result<std::string>> Repository::fetch_token(Challenge challenge,
                                                  std::optional<RegistryAuth> auth) {
  const std::string realm(challenge.get("realm"));
  const auto url = http::Url::parse(realm);
  if (!url) co_return annotate(url.error(), "failed to authorize");
  if (auth && !url->tls && base_.starts_with("https://")) {
    co_return Error{Code::unauthorized,
                    "failed to authorize: the registry sends credentials to plain HTTP: refused"};
  }
  http::Query query;
  const std::string service(challenge.get("service"));
  std::string scope(challenge.get("scope"));
  if (scope.empty()) scope = fmt::format("repository:{}:pull", ref_.repository);
  http::ClientRequest request;
  request.timeout = kAnswerLimit;
  request.max_body = 1U << 20U;
  if (!service.empty()) query.add("service", service);
  query.add("scope", scope);
  if (auth && !auth->identity_token.empty()) {
    query.add("grant_type", "refresh_token");
    query.add("client_id", "skiff");
    query.add("refresh_token", auth->identity_token);
    request.method = http::Method::post;
    request.url = realm;
    request.headers.add("Content-Type", "application/x-www-form-urlencoded");
    request.body = query.to_string();
  } else {
    const char separator = realm.find('?') == std::string::npos ? '?' : '&';
    request.url = realm + separator + query.to_string();
    if (auth) request.headers.add("Authorization", basic(*auth));
  }
  auto answer = co_await http_.request(std::move(request));
  if (!answer) co_return annotate(worded(answer.error(), "Get", realm), "failed to authorize");
  if (answer->status != 200) {
    co_return Error{
        answer->status == 401 || answer->status == 403 ? Code::unauthorized : Code::unavailable,
        fmt::format("failed to authorize: failed to fetch oauth token: unexpected status from GET "
                    "request to {}: {} {}",
                    realm, answer->status, http::reason_of(answer->status))};
  }
  const auto doc = api::parse_json(answer->body);
  std::string token = doc ? (*doc)["token"].as_string() : "";
  if (doc && token.empty()) token = (*doc)["access_token"].as_string();
  if (token.empty()) {
    co_return Error{Code::unavailable, "failed to authorize: the token server sent no token"};
  }
  co_return token;
}

Task<Error> Repository::refusal(Answer answer, std::string what) {
  const int status = answer.stream->status();
  std::string said;
  auto body = co_await answer.stream->read_all(64U << 10U);
  if (body) said = server_message(*body);
  if (status == 401 || status == 403) {
    co_return Error{Code::unauthorized,
                    fmt::format("pull access denied, repository does not exist or may require "
                                "authorization: {}",
                                said.empty() ? fmt::format("{} {}", status, http::reason_of(status))
                                             : "server message: " + said)};
  }
  if (status == 404)
    co_return Error{Code::not_found, fmt::format("{}: not found", ref_.to_string())};
  co_return Error{status == 429 ? Code::too_many_requests : Code::unavailable,
                  fmt::format("unexpected status code [{}] {} {}{}", what, status,
                              http::reason_of(status), said.empty() ? "" : ": " + said)};
}

Task<Result<Repository::Manifest>> Repository::manifest(std::string tag_or_digest) {
  auto answer = co_await get("manifests/" + tag_or_digest, std::string(kManifestTypes), 0);
  if (!answer) co_return answer.error();
  if (answer->stream->status() != 200) {
    co_return co_await refusal(std::move(*answer), "manifests " + tag_or_digest);
  }
  auto body = co_await answer->stream->read_all(document_bytes_);
  if (!body) co_return annotate(body.error(), "reading the manifest");
  Manifest m{std::move(*body), ""};
  m.digest = "sha256:" + sha256_hex(m.document);
  if (!sha256_of_digest(tag_or_digest).empty() && m.digest != tag_or_digest) {
    co_return Error{Code::invalid, fmt::format("the registry sent a manifest with the digest {} "
                                               "for {}",
                                               m.digest, tag_or_digest)};
  }
  co_return std::move(m);
}

Task<Result<std::string>> Repository::document(std::string digest) {
  auto answer = co_await get("blobs/" + digest, "", 0);
  if (!answer) co_return answer.error();
  if (answer->stream->status() != 200) {
    co_return co_await refusal(std::move(*answer), "blobs " + digest);
  }
  auto body = co_await answer->stream->read_all(document_bytes_);
  if (!body) co_return annotate(body.error(), "reading " + digest);
  if ("sha256:" + sha256_hex(*body) != digest) {
    co_return Error{Code::invalid, fmt::format("what the registry sent for {} does not match "
                                               "that digest",
                                               digest)};
  }
  co_return std::move(*body);
}

Task<Result<std::unique_ptr<http::ResponseStream>>> Repository::blob(std::string digest,
                                                                     std::uint64_t offset) {
  auto answer = co_await get("blobs/" + digest, "", offset);
  if (!answer) co_return answer.error();
  const int status = answer->stream->status();
  // 416: what is there is all there is; the digest will tell.
  if (status != 200 && status != 206 && status != 416) {
    co_return co_await refusal(std::move(*answer), "blobs " + digest);
  }
  co_return std::move(answer->stream);
}

}  // namespace skiff::runtime
