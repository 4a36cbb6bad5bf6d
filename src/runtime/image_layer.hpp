// Unpacking one layer into a directory that can be an overlayfs lowerdir.
//
// A layer comes from strangers: names can not leave the directory (parents are resolved beneath it,
// links in them too), device nodes are not made (a container's /dev is the runtime's business),
// extended attributes are limited to user.* and file capabilities, sizes and counts are bounded.
// Whiteouts (OCI image-spec, layer.md) take the form overlayfs knows: a 0/0 character device for
// a removed name, the xattr overlay.opaque for a replaced directory.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

// Packed bytes, as they come; empty at the end. The data stays valid until the next call.
using ByteSource = std::function<Result<std::span<const char>>()>;

struct UnpackedLayer {
  std::string packed;      // sha256 hex of what was read
  std::string diff_id;     // sha256 hex of the tar inside
  std::uint64_t size = 0;  // bytes of file content
};

// `directory` exists and is empty. Plain tar, gzip, zstd, xz or bzip2. Blocking.
Result<UnpackedLayer> unpack_layer(const ByteSource& source, const std::string& directory,
                                   const UnpackLimits& limits);

}  // namespace skiff::runtime
