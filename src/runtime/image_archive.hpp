// Reading archives with libarchive: what layers and whole images have in common. Blocking.
#pragma once

#include <clocale>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "image_documents.hpp"
#include "image_layer.hpp"
#include "skiff/base/result.hpp"
#include "skiff/runtime/images.hpp"

struct archive;
struct archive_entry;

namespace skiff::runtime {

struct ArchiveDeleter {
  void operator()(archive* a) const noexcept;
};
using ArchiveReader = std::unique_ptr<archive, ArchiveDeleter>;

// gzip, zstd, xz, bzip2; not those libarchive would start other programs for.
void add_filters(archive* a);
Error archive_error(archive* a, std::string_view what);
// As stored, whatever the encoding.
std::string entry_name(archive_entry* entry);
const char* entry_hard_link(archive_entry* entry);  // null when it is none
std::string entry_symlink(archive_entry* entry);

// libarchive turns names through the thread's locale; under "C" it would refuse what is not ASCII.
class Utf8Locale {
 public:
  Utf8Locale();
  ~Utf8Locale();
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t locale_;
  locale_t before_;
};

// One image of an archive: its documents, and where in the archive its layers are.
struct ArchivedImage {
  std::string config;    // the document
  std::string manifest;  // the document; "" in docker archives
  ConfigDocument parsed;
  std::vector<std::string> tags;    // references
  std::vector<std::string> layers;  // entry names, lowest first, one per diff_id
};

// A docker-archive or OCI layout, packed or not, in a file that can be read more than once.
class ImageArchive {
 public:
  // `fd` is positioned freely and stays open. Reads all documents.
  static Result<ImageArchive> open(int fd, const UnpackLimits& limits, std::string architecture);
  const std::vector<ArchivedImage>& images() const noexcept { return images_; }
  std::vector<ArchivedImage>& images() noexcept { return images_; }

  // Calls `layer(entry name, bytes)` for each of the named entries, once, in the archive's order.
  Result<void> read_layers(
      const std::vector<std::string>& names,
      const std::function<Result<void>(const std::string&, const ByteSource&)>& layer);

 private:
  ImageArchive(int fd, const UnpackLimits& limits) : fd_(fd), limits_(limits) {}
  Result<void> scan();
  Result<void> interpret(const std::string& architecture);
  Result<void> interpret_saved(const std::string& document);
  Result<void> interpret_layout(const std::string& document, const std::string& architecture);
  Result<void> add_manifest(const Descriptor& descriptor, const std::string& architecture,
                            std::vector<std::string> tags);
  Result<std::string> document(const std::string& name) const;
  std::string real_name(std::string name) const;

  int fd_;
  UnpackLimits limits_;
  std::map<std::string, std::string> documents_;  // small entries that look like JSON
  std::map<std::string, std::string> links_;      // symbolic and hard links among entries
  std::vector<ArchivedImage> images_;
};

}  // namespace skiff::runtime
