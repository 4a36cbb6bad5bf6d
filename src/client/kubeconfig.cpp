#include <filesystem>
#include <fstream>
#include <sstream>

#include "skiff/client/http_client.hpp"

namespace skiff::client {
namespace {

Result<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return errno_error(errno, "cannot read " + path.string());
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) return errno_error(errno, "cannot read " + path.string());
  return std::move(text).str();
}

Result<std::string> decode_base64(std::string_view text, std::string_view field) {
  std::string out;
  std::uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    int v = -1;
    if (c >= 'A' && c <= 'Z') v = c - 'A';
    if (c >= 'a' && c <= 'z') v = c - 'a' + 26;
    if (c >= '0' && c <= '9') v = c - '0' + 52;
    if (c == '+') v = 62;
    if (c == '/') v = 63;
    if (c == '=' || c == '\n' || c == '\r' || c == ' ') continue;
    if (v < 0) return Error{Code::bad_request, std::string(field) + " is not base64"};
    bits = bits << 6U | static_cast<std::uint32_t>(v);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out += static_cast<char>(bits >> static_cast<unsigned>(have) & 0xFFU);
    }
  }
  return out;
}

// The entry called `name` of a list like clusters, users, contexts; null when absent.
const Value& named(const Value& list, std::string_view name, const char* member) {
  static const Value kNone;
  for (const Value& item : list.items()) {
    if (item["name"].as_string() == name) return item[member];
  }
  return kNone;
}

// `field-data` in base64, else the file named by `field`, else "".
Result<std::string> data_or_file(const Value& from, const std::string& field,
                                 const std::filesystem::path& dir) {
  const std::string& inline_data = from[field + "-data"].as_string();
  if (!inline_data.empty()) return decode_base64(inline_data, field + "-data");
  const std::string& file = from[field].as_string();
  if (file.empty()) return std::string();
  return read_file(dir / file);
}

Result<void> read_user(const Value& user, const std::filesystem::path& dir, ClusterAccess& out) {
  for (const char* plugin : {"exec", "auth-provider", "username"}) {
    if (!user[plugin].is_null()) {
      return Error{Code::bad_request, "the kubeconfig's user relies on \"" + std::string(plugin) +
                                          "\", which skiff does not support: use a client "
                                          "certificate or a token"};
    }
  }
  SKIFF_TRY(out.tls.identity.certificate_pem, data_or_file(user, "client-certificate", dir));
  SKIFF_TRY(out.tls.identity.key_pem, data_or_file(user, "client-key", dir));
  out.token = user["token"].as_string();
  const std::string& token_file = user["tokenFile"].as_string();
  if (out.token.empty() && !token_file.empty()) {
    SKIFF_TRY(out.token, read_file(dir / token_file));
    while (!out.token.empty() && (out.token.back() == '\n' || out.token.back() == '\r')) {
      out.token.pop_back();
    }
  }
  return {};
}

Result<ClusterAccess> read_config(const std::string& path, const std::string& wanted) {
  SKIFF_TRY(const std::string text, read_file(path));
  auto parsed = api::parse_yaml(text);
  if (!parsed) return annotate(parsed.error(), path);
  const Value& config = *parsed;
  const std::filesystem::path dir = std::filesystem::path(path).parent_path();
  ClusterAccess out;
  out.context = wanted.empty() ? config["current-context"].as_string() : wanted;
  const Value& context = named(config["contexts"], out.context, "context");
  if (context.is_null()) {
    return Error{Code::not_found, path + ": there is no context \"" + out.context + "\""};
  }
  const std::string& cluster_name = context["cluster"].as_string();
  const Value& cluster = named(config["clusters"], cluster_name, "cluster");
  if (cluster.is_null()) {
    return Error{Code::not_found, path + ": there is no cluster \"" + cluster_name + "\""};
  }
  out.server = cluster["server"].as_string();
  while (!out.server.empty() && out.server.back() == '/') out.server.pop_back();
  if (out.server.empty()) {
    return Error{Code::bad_request, path + ": cluster \"" + cluster_name + "\" names no server"};
  }
  out.tls.insecure_skip_verify = cluster["insecure-skip-tls-verify"].as_bool();
  out.tls.server_name = cluster["tls-server-name"].as_string();
  SKIFF_TRY(out.tls.ca_pem, data_or_file(cluster, "certificate-authority", dir));
  SKIFF_CHECK(read_user(named(config["users"], context["user"].as_string(), "user"), dir, out));
  const std::string& ns = context["namespace"].as_string();
  if (!ns.empty()) out.ns = ns;
  return out;
}

}  // namespace

Task<Result<ClusterAccess>> load_kubeconfig(Env env, std::string path, std::string context) {
  auto read = [path, context] { return read_config(path, context); };
  co_return co_await env.blocking->run(std::move(read));
}

}  // namespace skiff::client
