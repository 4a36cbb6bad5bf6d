#include "image_layer.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <limits>
#include <memory>

#include "image_archive.hpp"
#include "image_digest.hpp"
#include "image_extract.hpp"

namespace skiff::runtime {
namespace {

constexpr std::uint64_t kRatioFrom = 64ULL << 20U;
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kAufs = ".wh..wh.";  // aufs's own bookkeeping: not content

Error too_big(std::string_view what) {
  return {Code::too_large, fmt::format("the image layer {}: it is damaged or hostile", what)};
}

// Packed bytes in, tar bytes out; hashes and counts both.
class Unpacker {
 public:
  Unpacker(const ByteSource& source, const UnpackLimits& limits)
      : source_(source), limits_(limits), reader_(archive_read_new()) {
    add_filters(reader_.get());
    archive_read_support_format_raw(reader_.get());
    archive_read_support_format_empty(reader_.get());
  }

  Result<void> open() {
    if (archive_read_open(reader_.get(), this, nullptr, &Unpacker::feed, nullptr) != ARCHIVE_OK) {
      return failure();
    }
    archive_entry* entry = nullptr;
    const int got = archive_read_next_header(reader_.get(), &entry);
    if (got == ARCHIVE_EOF) {
      ended_ = true;
    } else if (got < ARCHIVE_WARN) {
      return failure();
    }
    return {};
  }

  // Empty at the end.
  Result<std::span<const char>> read() {
    if (ended_) return std::span<const char>{};
    const la_ssize_t n = archive_read_data(reader_.get(), buffer_.data(), buffer_.size());
    if (n < 0) return failure();
    if (n == 0) ended_ = true;
    const auto size = static_cast<std::size_t>(n);
    unpacked_ += size;
    if (unpacked_ > limits_.layer_bytes) {
      return too_big(fmt::format("unpacks to more than {} bytes", limits_.layer_bytes));
    }
    if (unpacked_ > kRatioFrom && unpacked_ / limits_.ratio > packed_) {
      return too_big(fmt::format("unpacks to more than {} times its size", limits_.ratio));
    }
    tar_hash_.update({buffer_.data(), size});
    return std::span<const char>(buffer_.data(), size);
  }

  // Reads what is left, so that both hashes cover everything.
  Result<void> drain() {
    for (;;) {
      SKIFF_TRY(const auto bytes, read());
      if (bytes.empty()) break;
    }
    for (;;) {
      SKIFF_TRY(const auto bytes, next());
      if (bytes.empty()) return {};
    }
  }

  std::string packed_digest() { return packed_hash_.finish(); }
  std::string tar_digest() { return tar_hash_.finish(); }

 private:
  Result<std::span<const char>> next() {
    auto bytes = source_();
    if (bytes) {
      packed_ += bytes->size();
      packed_hash_.update({bytes->data(), bytes->size()});
    }
    return bytes;
  }

  static la_ssize_t feed(archive* a, void* self, const void** out) {
    auto* me = static_cast<Unpacker*>(self);
    auto bytes = me->next();
    if (!bytes) {
      me->error_ = bytes.error();
      archive_set_error(a, EIO, "%s", bytes.error().message.c_str());
      return ARCHIVE_FATAL;
    }
    *out = bytes->data();
    return static_cast<la_ssize_t>(bytes->size());
  }

  Error failure() {
    if (error_) return *error_;
    return archive_error(reader_.get(), "unpacking the layer");
  }

  const ByteSource& source_;
  const UnpackLimits& limits_;
  ArchiveReader reader_;
  std::vector<char> buffer_ = std::vector<char>(128U << 10U);
  std::uint64_t packed_ = 0, unpacked_ = 0;
  Sha256 packed_hash_, tar_hash_;
  bool ended_ = false;
  std::optional<Error> error_;
};

// The tar inside: reads entries, writes them.
class LayerWriter {
 public:
  LayerWriter(Unpacker& unpacker, Extractor& out, const UnpackLimits& limits)
      : unpacker_(unpacker), out_(out), limits_(limits), tar_(archive_read_new()) {
    archive_read_support_format_tar(tar_.get());
    archive_read_support_format_empty(tar_.get());
  }

  Result<std::uint64_t> run() {
    if (archive_read_open(tar_.get(), this, nullptr, &LayerWriter::feed, nullptr) != ARCHIVE_OK) {
      return failure();
    }
    for (std::uint64_t count = 0;; ++count) {
      archive_entry* entry = nullptr;
      const int got = archive_read_next_header(tar_.get(), &entry);
      if (got == ARCHIVE_EOF) break;
      if (got < ARCHIVE_WARN) return failure();
      if (count >= limits_.layer_entries) {
        return too_big(fmt::format("has more than {} entries", limits_.layer_entries));
      }
      SKIFF_CHECK(take(entry));
    }
    SKIFF_CHECK(out_.finish());
    return size_;
  }

 private:
  static la_ssize_t feed(archive* a, void* self, const void** out) {
    auto* me = static_cast<LayerWriter*>(self);
    auto bytes = me->unpacker_.read();
    if (!bytes) {
      me->error_ = bytes.error();
      archive_set_error(a, EIO, "%s", bytes.error().message.c_str());
      return ARCHIVE_FATAL;
    }
    *out = bytes->data();
    return static_cast<la_ssize_t>(bytes->size());
  }

  Error failure() {
    if (error_) return *error_;
    return archive_error(tar_.get(), "reading the layer");
  }

  static FileMeta meta_of(archive_entry* entry) {
    FileMeta meta;
    meta.mode = archive_entry_perm(entry);
    meta.uid = static_cast<std::uint32_t>(archive_entry_uid(entry));
    meta.gid = static_cast<std::uint32_t>(archive_entry_gid(entry));
    meta.modified = {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
    archive_entry_xattr_reset(entry);
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
      meta.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
    }
    return meta;
  }

  Result<void> take(archive_entry* entry) {
    SKIFF_TRY(const auto path, clean_path(entry_name(entry), limits_.path_bytes));
    const auto slash = path.rfind('/');
    const std::string_view name =
        std::string_view(path).substr(slash == std::string::npos ? 0 : slash + 1);
    const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
    if (name == kOpaque) return out_.make_opaque(above);
    if (name.starts_with(kAufs)) return {};
    if (name.starts_with(kWhiteout)) {
      const auto hidden = name.substr(kWhiteout.size());
      if (hidden.empty() || hidden == "." || hidden == "..") {
        return Error{Code::invalid, fmt::format("unsafe path in the image: \"{}\"", path)};
      }
      return out_.add_whiteout(above.empty() ? std::string(hidden)
                                             : above + "/" + std::string(hidden));
    }
    if (const char* target = entry_hard_link(entry); target != nullptr) {
      SKIFF_TRY(const auto clean, clean_path(target, limits_.path_bytes));
      return out_.add_hard_link(path, clean);
    }
    const FileMeta meta = meta_of(entry);
    switch (archive_entry_filetype(entry)) {
      case AE_IFDIR:
        return out_.add_directory(path, meta);
      case AE_IFREG:
        return take_file(entry, path, meta);
      case AE_IFLNK:
        return out_.add_symlink(path, entry_symlink(entry), meta);
      case AE_IFIFO:
        return out_.add_fifo(path, meta);
      default:
        return {};  // device nodes and sockets
    }
  }

  Result<void> take_file(archive_entry* entry, const std::string& path, const FileMeta& meta) {
    const auto declared =
        static_cast<std::uint64_t>(std::max<la_int64_t>(0, archive_entry_size(entry)));
    if (declared > limits_.layer_bytes || size_ + declared > limits_.layer_bytes) {
      return too_big(fmt::format("holds more than {} bytes", limits_.layer_bytes));
    }
    size_ += declared;
    SKIFF_TRY(const int fd, out_.begin_file(path));
    auto result = copy(fd, declared);
    auto ended = out_.end_file(fd, meta);
    return result ? ended : result;
  }

  Result<void> copy(int fd, std::uint64_t declared) {
    for (;;) {
      const void* data = nullptr;
      std::size_t size = 0;
      la_int64_t offset = 0;
      const int got = archive_read_data_block(tar_.get(), &data, &size, &offset);
      if (got == ARCHIVE_EOF) break;
      if (got < ARCHIVE_WARN) return failure();
      const auto* bytes = static_cast<const char*>(data);
      while (size > 0) {
        const ssize_t n = ::pwrite(fd, bytes, size, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno_error(errno, "unpacking: writing a file");
        bytes += n;
        size -= static_cast<std::size_t>(n);
        offset += n;
      }
    }
    // A sparse file may end in a hole.
    if (::ftruncate(fd, static_cast<off_t>(declared)) != 0) {
      return errno_error(errno, "unpacking: sizing a file");
    }
    return {};
  }

  Unpacker& unpacker_;
  Extractor& out_;
  const UnpackLimits& limits_;
  ArchiveReader tar_;
  std::uint64_t size_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<UnpackedLayer> unpack_layer(const ByteSource& source, const std::string& directory,
                                   const UnpackLimits& limits) {
  const Utf8Locale locale;
  SKIFF_TRY(auto out, Extractor::open(directory));
  Unpacker unpacker(source, limits);
  SKIFF_CHECK(unpacker.open());
  UnpackedLayer layer;
  {
    LayerWriter writer(unpacker, out, limits);
    SKIFF_TRY(layer.size, writer.run());
  }
  SKIFF_CHECK(unpacker.drain());
  layer.packed = unpacker.packed_digest();
  layer.diff_id = unpacker.tar_digest();
  return layer;
}

}  // namespace skiff::runtime
