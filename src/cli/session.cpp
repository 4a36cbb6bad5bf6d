#include "session.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace skiff::cli {
namespace {

namespace fs = std::filesystem;
using api::Resource;
using api::Value;

Error bad(std::string message) { return {Code::bad_request, std::move(message)}; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Whether `word` ("po", "pods", "Deployment", "deployments.apps", "deployments.v1.apps") means this
// resource.
bool is_meant(const Resource& r, const std::string& word) {
  const std::size_t dot = word.find('.');
  const std::string first = lower(word.substr(0, dot));
  if (dot != std::string::npos) {
    const std::string rest = word.substr(dot + 1);
    const std::string full = std::string(r.version) + "." + std::string(r.group);
    if (rest != r.group && rest != full && rest != r.version) return false;
  }
  const auto& shorts = r.short_names;
  return first == r.plural || first == r.singular || first == lower(r.kind) ||
         std::find(shorts.begin(), shorts.end(), first) != shorts.end();
}

const Resource* find_meant(const std::string& word) {
  const Resource* found = nullptr;
  for (const Resource& r : api::resources()) {
    if (!is_meant(r, word)) continue;
    // One kind may be served under two groups: what it is stored as is what is shown.
    if (found == nullptr || (r.group == r.storage_group && r.version == r.storage_version &&
                             found->group != found->storage_group)) {
      found = &r;
    }
  }
  return found;
}

Result<void> add_resources(const std::string& list, const std::string& name,
                           std::vector<Named>& out) {
  std::stringstream words(list);
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "all") {
      for (const Resource& r : api::resources()) {
        const bool in =
            std::find(r.categories.begin(), r.categories.end(), "all") != r.categories.end();
        if (in && r.group == r.storage_group && r.version == r.storage_version) {
          out.push_back({&r, name});
        }
      }
      continue;
    }
    const Resource* r = find_meant(word);
    if (r == nullptr) {
      return bad("the server doesn't have a resource type \"" + word + "\"");
    }
    out.push_back({r, name});
  }
  return {};
}

Result<void> read_stream(const std::string& name, const std::string& text,
                         std::vector<Value>& out) {
  auto documents = api::parse_yaml_stream(text);
  if (!documents) return annotate(documents.error(), "error parsing " + name);
  for (Value& d : *documents) {
    if (d["kind"].as_string() == "List") {
      for (const Value& item : d["items"].items()) out.push_back(item);
    } else {
      out.push_back(std::move(d));
    }
  }
  return {};
}

Result<void> read_file(const fs::path& path, std::vector<Value>& out) {
  std::ifstream in(path);
  if (!in) return bad("the path \"" + path.string() + "\" does not exist");
  std::stringstream text;
  text << in.rdbuf();
  return read_stream(path.string(), text.str(), out);
}

bool is_manifest(const fs::path& path) {
  const std::string e = path.extension();
  return e == ".yaml" || e == ".yml" || e == ".json";
}

Result<void> read_directory(const fs::path& path, bool recursive, std::vector<Value>& out) {
  std::vector<fs::path> files;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(path, ec)) {
    if (entry.is_directory(ec)) {
      if (recursive) SKIFF_CHECK(read_directory(entry.path(), true, out));
    } else if (is_manifest(entry.path())) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) SKIFF_CHECK(read_file(file, out));
  return {};
}

}  // namespace

std::string find_kubeconfig(const std::string& given) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  if (!given.empty()) return given;
  if (const std::string set = variable("KUBECONFIG"); !set.empty()) return set;
  const std::string home = variable("HOME").empty() ? "." : variable("HOME");
  // Where `skiff server` keeps its data when it is told nothing else.
  const std::string xdg = variable("XDG_DATA_HOME");
  const std::string data = xdg.empty() ? home + "/.local/share" : xdg;
  const std::string own = (::geteuid() == 0 ? std::string("/var/lib") : data) + "/skiff/kubeconfig";
  if (::access(own.c_str(), R_OK) == 0) return own;
  return home + "/.kube/config";
}

Session::Session(Env e, client::ClusterAccess access, Request r)
    : env(e), client(e, access, "kubectl"), request(std::move(r)) {
  ns = request.ns.empty() ? access.ns : request.ns;
  if (ns.empty()) ns = "default";
}

client::Ref Session::ref_of(const Resource& r, std::string name) const {
  client::Ref ref;
  ref.group = std::string(r.group);
  ref.version = std::string(r.version);
  ref.resource = std::string(r.plural);
  if (r.namespaced && !request.all_namespaces) ref.ns = ns;
  ref.name = std::move(name);
  return ref;
}

Task<Result<http::ClientResponse>> Session::get(std::string path, std::string accept) {
  http::ClientRequest get;
  get.url = std::move(path);
  get.headers.add("Accept", std::move(accept));
  co_return co_await client.request(std::move(get));
}

Result<std::vector<Named>> parse_names(const std::vector<std::string>& words) {
  std::vector<Named> out;
  if (words.empty()) return out;
  const bool slashes = words[0].find('/') != std::string::npos;
  if (slashes) {
    for (const std::string& word : words) {
      const std::size_t slash = word.find('/');
      if (slash == std::string::npos || slash + 1 == word.size()) {
        return bad(
            "there is no need to specify a resource type as a separate argument when passing "
            "arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' "
            "instead of 'kubectl get resource resource/<resource_name>'");
      }
      SKIFF_CHECK(add_resources(word.substr(0, slash), word.substr(slash + 1), out));
    }
    return out;
  }
  if (words.size() == 1) {
    SKIFF_CHECK(add_resources(words[0], "", out));
    return out;
  }
  for (std::size_t i = 1; i < words.size(); ++i)
    SKIFF_CHECK(add_resources(words[0], words[i], out));
  return out;
}

std::string display_name(const Resource& r, std::string_view name) {
  std::string out = r.singular.empty() ? lower(r.kind) : std::string(r.singular);
  if (!r.group.empty()) out += "." + std::string(r.group);
  return out + "/" + std::string(name);
}

const Resource* resource_of(const Value& object) {
  const auto gv = api::GroupVersion::parse(object["apiVersion"].as_string());
  return gv ? api::find_kind(gv->group, gv->version, object["kind"].as_string()) : nullptr;
}

Result<std::vector<Value>> read_manifests(const std::vector<std::string>& files, bool recursive) {
  std::vector<Value> out;
  for (const std::string& file : files) {
    std::error_code ec;
    if (file == "-") {
      std::stringstream text;
      text << std::cin.rdbuf();
      SKIFF_CHECK(read_stream("STDIN", text.str(), out));
    } else if (fs::is_directory(file, ec)) {
      SKIFF_CHECK(read_directory(file, recursive, out));
    } else {
      SKIFF_CHECK(read_file(file, out));
    }
  }
  if (out.empty()) return bad("no objects passed to apply");
  for (const Value& object : out) {
    if (object["kind"].as_string().empty())
      return bad("Object 'Kind' is missing in '" + api::to_json(object) + "'");
    if (resource_of(object) == nullptr) {
      return bad("no matches for kind \"" + object["kind"].as_string() + "\" in version \"" +
                 object["apiVersion"].as_string() + "\"");
    }
  }
  return out;
}

Result<Duration> parse_duration(std::string_view text) {
  if (text.empty()) return bad("invalid duration \"\"; use forms like 30s, 5m, 1h");
  Duration total{};
  std::string_view rest = text;
  while (!rest.empty()) {
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const bool ms = rest.substr(0, 2) == "ms";
    if (error != std::errc() || (rest.empty() && n != 0)) {
      return bad("invalid duration \"" + std::string(text) + "\"; use forms like 30s, 5m, 1h");
    }
    if (rest.empty()) break;
    if (ms) {
      total += std::chrono::milliseconds(n);
    } else if (rest[0] == 's') {
      total += std::chrono::seconds(n);
    } else if (rest[0] == 'm') {
      total += std::chrono::minutes(n);
    } else if (rest[0] == 'h') {
      total += std::chrono::hours(n);
    } else {
      return bad("invalid duration \"" + std::string(text) + "\"; use forms like 30s, 5m, 1h");
    }
    rest.remove_prefix(ms ? 2 : 1);
  }
  return total;
}

}  // namespace skiff::cli
