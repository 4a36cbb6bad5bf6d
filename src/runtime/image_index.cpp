#include "image_index.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "image_digest.hpp"
#include "skiff/api/value.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

constexpr std::size_t kMinIdPrefix = 6;
constexpr std::string_view kSha = "sha256:";

template <class Strings>
Value array_of(const Strings& strings) {
  Value v = Value::array();
  for (const auto& s : strings) v.push_back(s);
  return v;
}

template <class Strings>
Strings strings_of(const Value& array) {
  Strings out;
  for (const auto& v : array.items()) out.insert(out.end(), v.as_string());
  return out;
}

Value encode_config(const ImageConfig& c) {
  Value v = Value::object();
  if (!c.entrypoint.empty()) v.set("entrypoint", array_of(c.entrypoint));
  if (!c.cmd.empty()) v.set("cmd", array_of(c.cmd));
  if (!c.env.empty()) v.set("env", array_of(c.env));
  if (!c.working_dir.empty()) v.set("workingDir", c.working_dir);
  if (!c.user.empty()) v.set("user", c.user);
  if (!c.stop_signal.empty()) v.set("stopSignal", c.stop_signal);
  if (!c.exposed_ports.empty()) v.set("exposedPorts", array_of(c.exposed_ports));
  if (!c.volumes.empty()) v.set("volumes", array_of(c.volumes));
  for (const auto& [name, value] : c.labels) v.member("labels").set(name, value);
  return v;
}

ImageConfig decode_config(const Value& v) {
  ImageConfig c;
  c.entrypoint = strings_of<std::vector<std::string>>(v["entrypoint"]);
  c.cmd = strings_of<std::vector<std::string>>(v["cmd"]);
  c.env = strings_of<std::vector<std::string>>(v["env"]);
  c.working_dir = v["workingDir"].as_string();
  c.user = v["user"].as_string();
  c.stop_signal = v["stopSignal"].as_string();
  c.exposed_ports = strings_of<std::vector<std::string>>(v["exposedPorts"]);
  c.volumes = strings_of<std::vector<std::string>>(v["volumes"]);
  for (const auto& m : v["labels"].members()) c.labels[m.name] = m.value.as_string();
  return c;
}

bool hex(std::string_view s) {
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// "busybox" of "HOST/library/busybox" and of "busybox"; "" when there is no short form.
std::string familiar(const ImageReference& ref) {
  constexpr std::string_view kLibrary = "library/";
  const std::string_view repository = ref.repository;
  if (repository.starts_with(kLibrary)) {
    const auto rest = repository.substr(kLibrary.size());
    return rest.find('/') == std::string_view::npos ? std::string(rest) : "";
  }
  return ref.registry.empty() && repository.find('/') == std::string_view::npos
             ? std::string(repository)
             : "";
}

}  // namespace

bool same_name(const ImageReference& wanted, const ImageReference& have,
               const std::string& default_registry) {
  if (wanted.name() == have.name()) return true;
  const bool one_short = wanted.registry.empty() != have.registry.empty();
  if (!one_short) return false;
  const std::string short_name = familiar(wanted);
  if (!short_name.empty() && short_name == familiar(have)) return true;
  const auto& host = wanted.registry.empty() ? have.registry : wanted.registry;
  return host == default_registry && wanted.repository == have.repository;
}

std::string ImageRecord::tag_for(std::string_view text, const std::string& default_registry) const {
  const auto ref = ImageReference::parse(text);
  if (!ref || !ref->digest.empty()) return "";
  std::string alike;
  for (const auto& name : tags) {
    const auto have = ImageReference::parse(name);
    if (!have || have->tag != ref->tag) continue;
    if (have->name() == ref->name()) return name;
    if (alike.empty() && same_name(*ref, *have, default_registry)) alike = name;
  }
  return alike;
}

Result<ImageIndex> ImageIndex::parse(std::string_view json) {
  SKIFF_TRY(const auto doc, api::parse_json(json, {256U << 20U, 32}));
  ImageIndex index;
  if (doc["version"].as_int() != 1) {
    return Error{Code::invalid, "the image index is of a version this skiff does not know"};
  }
  for (const auto& m : doc["layers"].members()) {
    index.layers[m.name] = static_cast<std::uint64_t>(m.value.as_int());
  }
  for (const auto& m : doc["builtinNames"].members()) {
    index.builtin_names[m.name] = m.value.as_string();
  }
  for (const auto& item : doc["images"].items()) {
    ImageRecord r;
    r.id = item["id"].as_string();
    r.tags = strings_of<std::set<std::string>>(item["tags"]);
    r.digests = strings_of<std::set<std::string>>(item["digests"]);
    r.layers = strings_of<std::vector<std::string>>(item["layers"]);
    r.manifest = item["manifest"].as_string();
    r.config = decode_config(item["config"]);
    index.images[r.id] = std::move(r);
  }
  return index;
}

std::string ImageIndex::encode() const {
  Value doc = Value::object({{"version", 1}});
  Value sizes = Value::object();
  for (const auto& [id, size] : layers) sizes.set(id, static_cast<std::int64_t>(size));
  doc.set("layers", std::move(sizes));
  if (!builtin_names.empty()) {
    Value& names = doc.set("builtinNames", Value::object());
    for (const auto& [name, builtin] : builtin_names) names.set(name, builtin);
  }
  Value& list = doc.set("images", Value::array());
  for (const auto& [id, r] : images) {
    Value v = Value::object({{"id", id}});
    v.set("tags", array_of(r.tags));
    v.set("digests", array_of(r.digests));
    v.set("layers", array_of(r.layers));
    if (!r.manifest.empty()) v.set("manifest", r.manifest);
    v.set("config", encode_config(r.config));
    list.push_back(std::move(v));
  }
  return api::to_json(doc);
}

const ImageRecord* ImageIndex::find(std::string_view text,
                                    const std::string& default_registry) const {
  if (const auto it = images.find(std::string(text)); it != images.end()) return &it->second;
  const auto ref = ImageReference::parse(text);
  if (ref) {
    const ImageRecord* alike = nullptr;
    for (const auto& [id, r] : images) {
      // A digest decides alone; the tag beside it is decoration.
      for (const auto& name : ref->digest.empty() ? r.tags : r.digests) {
        const auto have = ImageReference::parse(name);
        if (!have || have->tag != (ref->digest.empty() ? ref->tag : "") ||
            have->digest != ref->digest) {
          continue;
        }
        if (have->name() == ref->name()) return &r;
        if (alike == nullptr && same_name(*ref, *have, default_registry)) alike = &r;
      }
    }
    if (alike != nullptr) return alike;
  }
  std::string_view prefix = text;
  if (prefix.starts_with(kSha)) prefix.remove_prefix(kSha.size());
  if (prefix.size() < kMinIdPrefix || !hex(prefix)) return nullptr;
  const ImageRecord* found = nullptr;
  for (const auto& [id, r] : images) {
    if (!std::string_view(id).substr(kSha.size()).starts_with(prefix)) continue;
    if (found != nullptr) return nullptr;  // ambiguous
    found = &r;
  }
  return found;
}

void ImageIndex::tag(const std::string& id, const std::string& tag) {
  for (auto& [other, r] : images) r.tags.erase(tag);
  builtin_names.erase(tag);
  const auto it = images.find(id);
  if (it != images.end()) it->second.tags.insert(tag);
}

void ImageIndex::add(ImageRecord record) {
  const std::set<std::string> tags = std::exchange(record.tags, {});
  const std::string id = record.id;
  auto [it, fresh] = images.try_emplace(id, record);
  if (!fresh) it->second.digests.insert(record.digests.begin(), record.digests.end());
  for (const auto& t : tags) tag(id, t);
}

std::vector<std::string> ImageIndex::drop_unused_layers(const std::set<std::string>& keep) {
  std::set<std::string> used = keep;
  for (const auto& [id, r] : images) used.insert(r.layers.begin(), r.layers.end());
  std::vector<std::string> dropped;
  for (auto it = layers.begin(); it != layers.end();) {
    if (used.contains(it->first)) {
      ++it;
    } else {
      dropped.push_back(it->first);
      it = layers.erase(it);
    }
  }
  return dropped;
}

}  // namespace skiff::runtime
