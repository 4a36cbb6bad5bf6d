// Image documents: configurations, manifests, indexes. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

// A configuration (OCI image-spec, config.md), which docker's own resembles.
struct ConfigDocument {
  ImageConfig config;
  std::vector<std::string> diff_ids;  // hex, lowest first
  std::string architecture, os;
};
Result<ConfigDocument> parse_config(std::string_view json);

struct Descriptor {
  std::string media_type;
  std::string digest;  // "sha256:..."
  std::uint64_t size = 0;
  // Of an entry of an index:
  std::string architecture, os, variant;
  std::string name, ref_name;  // annotations of a layout's index
};

// A manifest, or an index of manifests.
struct ManifestDocument {
  bool index = false;
  std::vector<Descriptor> manifests;  // of an index
  Descriptor config;
  std::vector<Descriptor> layers;  // lowest first
};
Result<ManifestDocument> parse_manifest(std::string_view json);

// The entry for linux on this architecture; null when there is none.
const Descriptor* choose_platform(const std::vector<Descriptor>& manifests,
                                  std::string_view architecture);
// GOARCH of this machine.
std::string machine_architecture();

// docker save's manifest.json.
struct SavedImage {
  std::string config;  // path in the archive
  std::vector<std::string> tags;
  std::vector<std::string> layers;  // paths, lowest first
};
Result<std::vector<SavedImage>> parse_saved(std::string_view json);

}  // namespace skiff::runtime
