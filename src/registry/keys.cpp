#include "keys.hpp"

namespace skiff::registry::keys {
namespace {

void append_collection(std::string& out, std::string_view group, std::string_view plural) {
  out += '/';
  out += group.empty() ? std::string_view("core") : group;
  out += '/';
  out += plural;
  out += '/';
}

}  // namespace

const api::Resource& stored(const api::Resource& served) {
  if (served.storage_version.empty() ||
      (served.storage_group == served.group && served.storage_version == served.version)) {
    return served;
  }
  const api::Resource* found =
      api::find_resource(served.storage_group, served.storage_version, served.plural);
  return found ? *found : served;
}

bool converts(const api::Resource& served) { return &stored(served) != &served; }

std::string of(std::string_view group, std::string_view plural, std::string_view ns,
               std::string_view name) {
  std::string key;
  key.reserve(group.size() + plural.size() + ns.size() + name.size() + 8);
  append_collection(key, group, plural);
  if (!ns.empty()) {
    key += ns;
    key += '/';
  }
  key += name;
  return key;
}

std::string of(const api::Resource& resource, std::string_view ns, std::string_view name) {
  const api::Resource& kept = stored(resource);
  return of(kept.group, kept.plural, resource.namespaced ? ns : std::string_view(), name);
}

std::string collection(const api::Resource& resource) {
  const api::Resource& kept = stored(resource);
  std::string key;
  append_collection(key, kept.group, kept.plural);
  return key;
}

store::Range range(const api::Resource& resource, std::string_view ns) {
  std::string prefix = collection(resource);
  if (resource.namespaced && !ns.empty()) {
    prefix += ns;
    prefix += '/';
  }
  return store::Range::prefix(prefix);
}

std::string_view tail(std::string_view key) {
  for (int slashes = 0; slashes < 3; ++slashes) {
    const auto at = key.find('/');
    if (at == std::string_view::npos) return key;
    key.remove_prefix(at + 1);
  }
  return key;
}

std::string_view name_of(std::string_view key) { return key.substr(key.rfind('/') + 1); }

std::string_view namespace_of(std::string_view key) {
  const std::string_view rest = tail(key);
  const auto slash = rest.find('/');
  return slash == std::string_view::npos ? std::string_view() : rest.substr(0, slash);
}

}  // namespace skiff::registry::keys
