// The image store's directories (images.hpp says what is where). Blocking; values in, values out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "image_archive.hpp"
#include "image_layer.hpp"
#include "skiff/base/result.hpp"

namespace skiff::runtime {

struct NewLayer {
  std::string diff_id;
  std::uint64_t size = 0;
};

class ImageDisk {
 public:
  ImageDisk() = default;
  explicit ImageDisk(std::string root) : root_(std::move(root)) {}

  std::string layer_path(const std::string& diff_id) const { return root_ + "/layers/" + diff_id; }
  std::string blob_path(const std::string& hex) const { return root_ + "/blobs/sha256/" + hex; }
  std::string part_path(const std::string& hex) const { return root_ + "/ingest/" + hex + ".part"; }
  std::string builtin_path(const std::string& hex) const { return root_ + "/builtin/" + hex; }

  // Makes the directories and reads index.json; "" when there is none yet.
  Result<std::string> open() const;
  // Replaces index.json, for good.
  Result<void> write_index(const std::string& json) const;
  Result<void> write_blob(const std::string& hex, std::string_view content) const;
  Result<std::string> read_blob(const std::string& hex) const;
  bool has_layer(const std::string& diff_id) const;

  // Unpacks into layers/, by way of ingest/. invalid when it turns out not to be `diff_id` or
  // (when not "") not to have the packed digest.
  Result<NewLayer> unpack(const ByteSource& source, const std::string& diff_id,
                          const std::string& packed, const UnpackLimits& limits) const;
  // The same from a file.
  Result<NewLayer> unpack_file(const std::string& path, const std::string& diff_id,
                               const std::string& packed, const UnpackLimits& limits) const;
  // Everything written so far survives a power loss.
  Result<void> sync() const;

  void remove_layer(const std::string& diff_id) const;
  // Paths under layers/, blobs/ and ingest/ that a crash or an interrupted removal left; of
  // downloads those last written before `oldest` (seconds since 1970).
  std::vector<std::string> strays(const std::vector<std::string>& layers,
                                  const std::vector<std::string>& blobs, std::int64_t oldest) const;

  // A directory with the executable as /skiff; made unless it is there.
  Result<std::string> make_builtin(const std::string& hex, const std::string& executable) const;
  std::vector<std::string> builtins() const;  // hex names

  // A file in ingest/ with everything `fd` has to give, for archives that can not be read twice.
  Result<int> spool(int fd) const;

 private:
  std::string root_;
};

void remove_tree(const std::string& path) noexcept;

}  // namespace skiff::runtime
