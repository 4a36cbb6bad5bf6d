#include "discovery.hpp"

#include "media.hpp"
#include "present.hpp"
#include "skiff/api/schema.hpp"
#include "skiff/pki/keys.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

std::string aggregated_type(std::string_view version) {
  return "application/json;g=apidiscovery.k8s.io;v=" + std::string(version) +
         ";as=APIGroupDiscoveryList";
}

// Which group is asked first when a name could mean several (`kubectl get events`).
constexpr std::string_view kGroupOrder[] = {
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
};

struct Group {
  std::string_view name;
  // The preferred version first.
  std::vector<std::pair<std::string_view, std::vector<const api::Resource*>>> versions;
};

std::size_t rank(std::string_view group) {
  const auto* at = std::find(std::begin(kGroupOrder), std::end(kGroupOrder), group);
  return static_cast<std::size_t>(at - std::begin(kGroupOrder));
}

std::vector<Group> groups() {
  std::vector<Group> out;
  for (const api::Resource& r : api::resources()) {
    auto group =
        std::find_if(out.begin(), out.end(), [&](const Group& g) { return g.name == r.group; });
    if (group == out.end()) group = out.insert(out.end(), Group{r.group, {}});
    auto version = std::find_if(group->versions.begin(), group->versions.end(),
                                [&](const auto& v) { return v.first == r.version; });
    if (version == group->versions.end()) {
      version = group->versions.insert(group->versions.end(), {r.version, {}});
    }
    version->second.push_back(&r);
  }
  for (Group& g : out) {
    std::stable_sort(g.versions.begin(), g.versions.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Group& a, const Group& b) { return rank(a.name) < rank(b.name); });
  return out;
}

Value verbs(std::uint16_t mask) {
  // In the order upstream lists them: alphabetical.
  static constexpr std::pair<api::Verb, std::string_view> kNames[] = {
      {api::kCreate, "create"},
      {api::kDelete, "delete"},
      {api::kDeleteCollection, "deletecollection"},
      {api::kGet, "get"},
      {api::kList, "list"},
      {api::kPatch, "patch"},
      {api::kUpdate, "update"},
      {api::kWatch, "watch"}};
  Value out = Value::array();
  for (const auto& [bit, name] : kNames) {
    if ((mask & bit) != 0) out.push_back(name);
  }
  return out;
}

Value names(std::span<const std::string_view> list) {
  Value out = Value::array();
  for (const std::string_view n : list) out.push_back(n);
  return out;
}

std::string group_version(std::string_view group, std::string_view version) {
  return api::GroupVersion{std::string(group), std::string(version)}.to_string();
}

// Tells clients whether two resources share storage.
std::string storage_hash(const api::Resource& r) {
  const std::string text = std::string(r.storage_group.empty() ? r.group : r.storage_group) + "/" +
                           std::string(r.plural);
  return pki::base64_encode(pki::sha256(text).substr(0, 8));
}

Value legacy_resource(const api::Resource& r) {
  Value out = Value::object({{"name", r.plural},
                             {"singularName", r.singular},
                             {"namespaced", r.namespaced},
                             {"kind", r.kind},
                             {"verbs", verbs(r.verbs)}});
  if (!r.short_names.empty()) out.set("shortNames", names(r.short_names));
  if (!r.categories.empty()) out.set("categories", names(r.categories));
  if (r.allows(api::kGet)) out.set("storageVersionHash", storage_hash(r));
  return out;
}

Value legacy_subresource(const api::Resource& r, const api::Subresource& s) {
  const std::string name = std::string(r.plural) + "/" + std::string(s.name);
  Value out = Value::object({{"name", name}, {"singularName", ""}, {"namespaced", r.namespaced}});
  if (!s.version.empty() && (s.group != r.group || s.version != r.version)) {
    if (!s.group.empty()) out.set("group", s.group);
    out.set("version", s.version);
  }
  out.set("kind", s.kind);
  out.set("verbs", verbs(s.verbs));
  return out;
}

Value legacy_list(std::string_view group, std::string_view version,
                  const std::vector<const api::Resource*>& resources) {
  Value list = Value::array();
  for (const api::Resource* r : resources) {
    list.push_back(legacy_resource(*r));
    for (const api::Subresource& s : r->subresources) list.push_back(legacy_subresource(*r, s));
  }
  Value out = Value::object({{"kind", "APIResourceList"}, {"apiVersion", "v1"}});
  out.set("groupVersion", group_version(group, version));
  out.set("resources", std::move(list));
  return out;
}

Value version_entry(std::string_view group, std::string_view version) {
  return Value::object({{"groupVersion", group_version(group, version)}, {"version", version}});
}

Value legacy_group(const Group& g, bool alone) {
  Value versions = Value::array();
  for (const auto& v : g.versions) versions.push_back(version_entry(g.name, v.first));
  Value out = Value::object();
  if (alone) {
    out.set("kind", "APIGroup");
    out.set("apiVersion", "v1");
  }
  out.set("name", g.name);
  out.set("versions", std::move(versions));
  out.set("preferredVersion", version_entry(g.name, g.versions.front().first));
  return out;
}

Value response_kind(std::string_view group, std::string_view version, std::string_view kind) {
  return Value::object({{"group", group}, {"version", version}, {"kind", kind}});
}

Value aggregated_resource(const api::Resource& r) {
  Value out = Value::object({{"resource", r.plural}});
  out.set("responseKind", response_kind(r.group, r.version, r.kind));
  out.set("scope", r.namespaced ? "Namespaced" : "Cluster");
  out.set("singularResource", r.singular);
  out.set("verbs", verbs(r.verbs));
  if (!r.short_names.empty()) out.set("shortNames", names(r.short_names));
  if (!r.categories.empty()) out.set("categories", names(r.categories));
  Value subresources = Value::array();
  for (const api::Subresource& s : r.subresources) {
    Value sub = Value::object({{"subresource", s.name}});
    const bool own = s.version.empty();
    sub.set("responseKind",
            response_kind(own ? r.group : s.group, own ? r.version : s.version, s.kind));
    sub.set("verbs", verbs(s.verbs));
    subresources.push_back(std::move(sub));
  }
  if (!subresources.empty()) out.set("subresources", std::move(subresources));
  return out;
}

Value aggregated_group(const Group& g) {
  Value versions = Value::array();
  for (const auto& [version, resources] : g.versions) {
    Value list = Value::array();
    for (const api::Resource* r : resources) list.push_back(aggregated_resource(*r));
    Value one = Value::object({{"version", version}});
    one.set("resources", std::move(list));
    one.set("freshness", "Current");
    versions.push_back(std::move(one));
  }
  Value metadata = Value::object({{"creationTimestamp", nullptr}});
  if (!g.name.empty()) metadata.set("name", g.name);
  Value out = Value::object({{"metadata", std::move(metadata)}});
  out.set("versions", std::move(versions));
  return out;
}

Value aggregated(const std::vector<Group>& all, bool core, std::string_view version) {
  Value items = Value::array();
  for (const Group& g : all) {
    if (g.name.empty() == core) items.push_back(aggregated_group(g));
  }
  Value out = Value::object({{"kind", "APIGroupDiscoveryList"}});
  out.set("apiVersion", "apidiscovery.k8s.io/" + std::string(version));
  out.set("metadata", Value::object());
  out.set("items", std::move(items));
  return out;
}

// The version of the aggregated document the client wants most, or "" for the legacy one.
std::string wanted_version(const http::Request& request) {
  for (const MediaRange& range : parse_accept(request.headers.get("Accept"))) {
    if (range.type != "application/json") continue;
    const std::string_view version = range.parameter("v");
    const bool discovery = range.parameter("g") == "apidiscovery.k8s.io" &&
                           range.parameter("as") == "APIGroupDiscoveryList";
    if (discovery && (version == "v2" || version == "v2beta1")) return std::string(version);
    if (range.parameter("as").empty()) return {};
  }
  return {};
}

}  // namespace

Discovery::Discovery() {
  const std::vector<Group> all = groups();
  const auto add = [](auto& into, std::string path, const Value& doc) {
    std::string json = api::to_json(doc);
    std::string etag = "\"" + pki::sha256_hex(json) + "\"";
    into.emplace(std::move(path), Document{http::Buffer(std::move(json)), std::move(etag)});
  };
  Value versions = Value::object({{"kind", "APIVersions"}, {"versions", Value::array({"v1"})}});
  versions.set("serverAddressByClientCIDRs", Value::array());
  add(documents_, "/api", versions);
  Value list = Value::array();
  for (const Group& g : all) {
    const bool core = g.name.empty();
    const std::string base = core ? "/api" : "/apis/" + std::string(g.name);
    if (!core) {
      list.push_back(legacy_group(g, false));
      add(documents_, base, legacy_group(g, true));
    }
    for (const auto& [version, resources] : g.versions) {
      add(documents_, base + "/" + std::string(version), legacy_list(g.name, version, resources));
    }
  }
  Value group_list = Value::object({{"kind", "APIGroupList"}, {"apiVersion", "v1"}});
  group_list.set("groups", std::move(list));
  add(documents_, "/apis", group_list);
  for (const std::string_view version : {"v2", "v2beta1"}) {
    add(aggregated_, "/api " + std::string(version), aggregated(all, true, version));
    add(aggregated_, "/apis " + std::string(version), aggregated(all, false, version));
  }
}

std::optional<http::Response> Discovery::answer(const http::Request& request) const {
  std::string_view path = request.path;
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::string version =
      path == "/api" || path == "/apis" ? wanted_version(request) : std::string();
  const bool aggregate = !version.empty();
  const auto& documents = aggregate ? aggregated_ : documents_;
  const auto at = documents.find(aggregate ? std::string(path) + " " + version : std::string(path));
  if (at == documents.end()) return std::nullopt;
  const Document& document = at->second;
  http::Response response;
  if (request.headers.get("If-None-Match") == document.etag) {
    response.status = 304;
  } else {
    Form form;
    if (!aggregate) {
      if (const auto wanted = negotiate(request)) form = *wanted;
    }
    http::Buffers body{document.json};
    const std::string type =
        aggregate ? aggregated_type(version) : std::string(form.content_type());
    response = http::Response::make(200, type, encode_as(form, std::move(body)));
  }
  response.headers.add("ETag", document.etag);
  response.headers.add("Vary", "Accept");
  return response;
}

}  // namespace skiff::apiserver
