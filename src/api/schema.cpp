#include "skiff/api/schema.hpp"

#include <algorithm>
#include <unordered_map>

#include "schema_tables.hpp"

namespace skiff::api {
namespace {

template <class Match>
const Resource* first_resource(Match match) {
  auto all = resources();
  auto it = std::find_if(all.begin(), all.end(), match);
  return it == all.end() ? nullptr : &*it;
}

}  // namespace

const Field* Type::field(std::string_view wanted) const noexcept {
  for (const Field& f : fields)
    if (f.name == wanted) return &f;
  return nullptr;
}

const Subresource* Resource::subresource(std::string_view wanted) const noexcept {
  for (const Subresource& s : subresources)
    if (s.name == wanted) return &s;
  return nullptr;
}

std::span<const Resource> resources() { return tables::resources; }

const Resource* find_resource(std::string_view group, std::string_view version,
                              std::string_view plural) {
  return first_resource([&](const Resource& r) {
    return r.plural == plural && r.group == group && r.version == version;
  });
}

const Resource* find_kind(std::string_view group, std::string_view version, std::string_view kind) {
  return first_resource([&](const Resource& r) {
    return r.kind == kind && r.group == group && r.version == version;
  });
}

const Resource* storage_resource(std::string_view group, std::string_view plural) {
  const Resource* any =
      first_resource([&](const Resource& r) { return r.plural == plural && r.group == group; });
  return any ? find_resource(any->storage_group, any->storage_version, plural) : nullptr;
}

std::span<const Type* const> types() { return tables::types; }

const Type* find_type(std::string_view definition_name) {
  static const auto index = [] {
    std::unordered_map<std::string_view, const Type*> map;
    for (const Type* t : types()) map.emplace(t->name, t);
    return map;
  }();
  auto it = index.find(definition_name);
  return it == index.end() ? nullptr : it->second;
}

const Type* list_type(const Resource& resource) {
  return find_type(std::string(resource.type->name) + "List");
}

}  // namespace skiff::api
