#include "encode.hpp"

#include "skiff/api/value.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::registry {
namespace {

using api::Value;

constexpr std::string_view kRevision = "resourceVersion";
// What selectors and merges look at comes before what may be long.
constexpr std::array<std::string_view, 4> kRootOrder{"kind", "apiVersion", "metadata", "spec"};
constexpr std::array<std::string_view, 8> kMetadataOrder{
    "name",    "generateName", "namespace",         "uid",
    kRevision, "generation",   "creationTimestamp", "labels"};

void append_name(std::string& out, std::string_view name) {
  if (out.back() != '{') out += ',';
  out += '"';
  out += name;
  out += "\":";
}

void append_metadata(Encoded& out, const Value& metadata) {
  out.json += '{';
  for (const std::string_view name : kMetadataOrder) {
    if (name == kRevision) {
      append_name(out.json, name);
      out.json += '"';
      out.slot = static_cast<std::uint32_t>(out.json.size());
      out.json += '"';
    } else if (const Value* value = metadata.find(name)) {
      append_name(out.json, name);
      api::append_json(out.json, *value);
    }
  }
  for (const api::Member& m : metadata.members()) {
    if (std::find(kMetadataOrder.begin(), kMetadataOrder.end(), m.name) != kMetadataOrder.end()) {
      continue;
    }
    append_name(out.json, m.name);
    api::append_json(out.json, m.value);
  }
  out.json += '}';
}

// Where the text of metadata.resourceVersion stands in `json`.
std::pair<std::size_t, std::size_t> revision_at(std::string_view json) {
  const std::string_view raw = scan::find(json, {"metadata", kRevision});
  if (raw.size() < 2) return {0, 0};
  return {static_cast<std::size_t>(raw.data() - json.data()) + 1, raw.size() - 2};
}

}  // namespace

Encoded encode(const Value& root) {
  Encoded out;
  out.json.reserve(512);
  out.json += '{';
  for (const std::string_view name : kRootOrder) {
    const Value* value = root.find(name);
    if (name == "metadata") {
      append_name(out.json, name);
      append_metadata(out, value ? *value : root["metadata"]);
    } else if (value) {
      append_name(out.json, name);
      api::append_json(out.json, *value);
    }
  }
  for (const api::Member& m : root.members()) {
    if (std::find(kRootOrder.begin(), kRootOrder.end(), m.name) != kRootOrder.end()) continue;
    append_name(out.json, m.name);
    api::append_json(out.json, m.value);
  }
  out.json += '}';
  return out;
}

Encoded reopen(std::string_view json) {
  Encoded out;
  const auto [at, length] = revision_at(json);
  out.json.reserve(json.size() - length);
  out.json += json.substr(0, at);
  out.json += json.substr(at + length);
  if (at != 0) out.slot = static_cast<std::uint32_t>(at);
  return out;
}

std::string with_revision(std::string_view json, store::Revision revision) {
  const auto [at, length] = revision_at(json);
  std::string out;
  if (at == 0) return std::string(json);
  out.reserve(json.size() + 8);
  out += json.substr(0, at);
  out += std::to_string(revision);
  out += json.substr(at + length);
  return out;
}

store::ItemPtr make_item(std::string key, std::string value, store::Revision created,
                         store::Revision modified) {
  auto item = std::make_shared<store::Item>();
  item->key = std::move(key);
  item->value = std::move(value);
  item->created = created;
  item->modified = modified;
  return item;
}

}  // namespace skiff::registry
