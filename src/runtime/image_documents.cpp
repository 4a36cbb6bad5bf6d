#include "image_documents.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>

#include "image_digest.hpp"
#include "skiff/api/value.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

constexpr std::size_t kMaxLayers = 512;  // overlayfs takes 500 lower directories
constexpr api::ParseLimits kLimits{8U << 20U, 100};

std::vector<std::string> strings(const Value& array) {
  std::vector<std::string> out;
  for (const auto& v : array.items()) out.push_back(v.as_string());
  return out;
}

std::vector<std::string> names(const Value& object) {
  std::vector<std::string> out;
  for (const auto& m : object.members()) out.push_back(m.name);
  return out;
}

Error damaged(std::string why) { return {Code::invalid, "damaged image: " + std::move(why)}; }

Result<Value> object(std::string_view json, std::string_view what) {
  auto v = api::parse_json(json, kLimits);
  if (!v) return damaged(fmt::format("{}: {}", what, v.error().message));
  if (!v->is_object()) return damaged(fmt::format("{} is not an object", what));
  return v;
}

Result<Descriptor> descriptor(const Value& v) {
  Descriptor d;
  d.media_type = v["mediaType"].as_string();
  d.digest = v["digest"].as_string();
  d.size = static_cast<std::uint64_t>(std::max<std::int64_t>(0, v["size"].as_int()));
  const Value& platform = v["platform"];
  d.architecture = platform["architecture"].as_string();
  d.os = platform["os"].as_string();
  d.variant = platform["variant"].as_string();
  const Value& notes = v["annotations"];
  d.name = notes["io.containerd.image.name"].as_string();
  d.ref_name = notes["org.opencontainers.image.ref.name"].as_string();
  if (sha256_of_digest(d.digest).empty()) {
    return damaged(fmt::format("\"{}\" is not a sha256 digest", d.digest));
  }
  return d;
}

}  // namespace

Result<ConfigDocument> parse_config(std::string_view json) {
  SKIFF_TRY(const auto doc, object(json, "its configuration"));
  ConfigDocument out;
  const Value& c = doc["config"];
  out.config.entrypoint = strings(c["Entrypoint"]);
  out.config.cmd = strings(c["Cmd"]);
  out.config.env = strings(c["Env"]);
  out.config.working_dir = c["WorkingDir"].as_string();
  out.config.user = c["User"].as_string();
  out.config.stop_signal = c["StopSignal"].as_string();
  out.config.exposed_ports = names(c["ExposedPorts"]);
  out.config.volumes = names(c["Volumes"]);
  for (const auto& m : c["Labels"].members()) out.config.labels[m.name] = m.value.as_string();
  out.architecture = doc["architecture"].as_string();
  out.os = doc["os"].as_string();
  for (const auto& id : strings(doc["rootfs"]["diff_ids"])) {
    out.diff_ids.push_back(sha256_of_digest(id));
    if (out.diff_ids.back().empty()) {
      return damaged(fmt::format("\"{}\" is not a sha256 digest", id));
    }
  }
  if (out.diff_ids.size() > kMaxLayers) {
    return damaged(
        fmt::format("it has {} layers; {} is the most", out.diff_ids.size(), kMaxLayers));
  }
  return out;
}

Result<ManifestDocument> parse_manifest(std::string_view json) {
  SKIFF_TRY(const auto doc, object(json, "its manifest"));
  ManifestDocument out;
  if (doc["schemaVersion"].as_int() == 1) {
    return Error{Code::invalid,
                 "the registry offers only a schema 1 manifest, which is obsolete: push the image "
                 "again with a current tool"};
  }
  if (doc["manifests"].is_array()) {
    out.index = true;
    for (const auto& m : doc["manifests"].items()) {
      SKIFF_TRY(auto d, descriptor(m));
      out.manifests.push_back(std::move(d));
    }
    return out;
  }
  SKIFF_TRY(out.config, descriptor(doc["config"]));
  for (const auto& l : doc["layers"].items()) {
    SKIFF_TRY(auto d, descriptor(l));
    out.layers.push_back(std::move(d));
  }
  if (out.layers.size() > kMaxLayers) {
    return damaged(fmt::format("it has {} layers; {} is the most", out.layers.size(), kMaxLayers));
  }
  return out;
}

const Descriptor* choose_platform(const std::vector<Descriptor>& manifests,
                                  std::string_view architecture) {
  const Descriptor* unnamed = nullptr;
  for (const auto& d : manifests) {
    // Attestations and the like are listed as platform unknown/unknown.
    if (d.os.empty() && d.architecture.empty() && unnamed == nullptr) unnamed = &d;
    if (d.os == "linux" && d.architecture == architecture) return &d;
  }
  return manifests.size() == 1 ? unnamed : nullptr;
}

std::string machine_architecture() {
  utsname name{};
  ::uname(&name);
  const std::string machine = name.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine.starts_with("arm")) return "arm";
  if (machine == "i686" || machine == "i386") return "386";
  return machine;  // ppc64le, s390x, riscv64 and loong64 go by the same names
}

Result<std::vector<SavedImage>> parse_saved(std::string_view json) {
  auto doc = api::parse_json(json, kLimits);
  if (!doc) return damaged("manifest.json: " + doc.error().message);
  std::vector<SavedImage> images;
  for (const auto& item : doc->items()) {
    SavedImage image{item["Config"].as_string(), strings(item["RepoTags"]),
                     strings(item["Layers"])};
    if (image.config.empty()) return damaged("manifest.json names no configuration");
    images.push_back(std::move(image));
  }
  if (images.empty()) return damaged("manifest.json lists no image");
  return images;
}

}  // namespace skiff::runtime
