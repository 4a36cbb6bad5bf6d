// What images.hpp's index.json says: the images that exist and the layers they are made of. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

struct ImageRecord {
  std::string id;                   // "sha256:<hex>" of the configuration
  std::set<std::string> tags;       // "localhost:5000/web:1", "busybox:latest"
  std::set<std::string> digests;    // "localhost:5000/web@sha256:..."
  std::vector<std::string> layers;  // diff ids, hex, lowest first
  std::string manifest;             // hex digest of its document; "" for docker archives
  ImageConfig config;               // kept here too, so that one read tells all

  // The tag by which `text` means this image; "" when it does so by digest or id.
  std::string tag_for(std::string_view text, const std::string& default_registry) const;
};

struct ImageIndex {
  std::map<std::string, ImageRecord> images;    // by id
  std::map<std::string, std::uint64_t> layers;  // bytes, by diff id
  // Further names of built-in images, which are not in `images`: full tag -> the built-in's tag.
  std::map<std::string, std::string> builtin_names;

  static Result<ImageIndex> parse(std::string_view json);
  std::string encode() const;

  // The image a reference means here; null when there is none. `default_registry` as in
  // ImageOptions.
  const ImageRecord* find(std::string_view text, const std::string& default_registry) const;
  // Gives `tag` to the image, and takes it from whoever has it.
  void tag(const std::string& id, const std::string& tag);
  // Adds the image, or what is new about one that is there.
  void add(ImageRecord record);
  // Layers no image has; taken off the list.
  std::vector<std::string> drop_unused_layers(const std::set<std::string>& keep);
};

// How a reference and a tag in the index compare: equal, or equal but for the registry of a short
// name ("busybox" and "HOST/library/busybox").
bool same_name(const ImageReference& wanted, const ImageReference& have,
               const std::string& default_registry);

}  // namespace skiff::runtime
