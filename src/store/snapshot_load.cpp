// Checking and reading a snapshot.
#include <algorithm>
#include <cerrno>
#include <fstream>

#include "snapshot_format.hpp"

namespace skiff::store {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& path) : in_(path, std::ios::binary) { info_.path = path; }

  // Reads to the end; `each` may be null. Only without it records are not opened.
  Result<SnapshotInfo> run(const Sealer* sealer, const std::function<void(Record)>& each) {
    SKIFF_CHECK(head());
    for (std::uint64_t index = 0;; ++index) {
      const std::uint64_t at = info_.bytes;
      SKIFF_TRY(const BlockHead block, next_block(index));
      const auto type = static_cast<BlockType>(block.type);
      if ((index == 0) != (type == BlockType::about)) return altered("block out of place");
      if (type == BlockType::about) {
        if (!decode_about(body_, info_)) return altered("its first block");
      } else if (type == BlockType::records) {
        SKIFF_CHECK(records(sealer, each));
      } else if (type == BlockType::end) {
        SKIFF_CHECK(end(at));
        return info_;
      } else {
        return altered("block of unknown type");
      }
    }
  }

 private:
  Error about(std::string_view what) const {
    return {Code::invalid, "the snapshot " + info_.path + " " + std::string(what)};
  }
  Error altered(std::string_view what) const {
    return about("was altered or is damaged (" + std::string(what) + " near byte " +
                 std::to_string(info_.bytes) + "): use another one");
  }
  Error cut() const {
    return about("is cut short after " + std::to_string(info_.bytes) +
                 " bytes: copy it again, or use another one");
  }

  bool read(std::string& to, std::size_t size) {
    to.resize(size);
    in_.read(to.data(), static_cast<std::streamsize>(size));
    info_.bytes += static_cast<std::uint64_t>(in_.gcount());
    return static_cast<std::size_t>(in_.gcount()) == size;
  }

  Result<void> head() {
    if (!in_.is_open()) return errno_error(errno, "cannot read the snapshot " + info_.path);
    std::string bytes;
    const bool whole = read(bytes, kSnapshotHead);
    const std::string_view begin = std::string_view(bytes).substr(0, info_.bytes);
    if (begin.substr(0, kSnapshotMagic.size()) != kSnapshotMagic.substr(0, begin.size()) ||
        begin.empty()) {
      return Error{Code::invalid, info_.path + " is not a snapshot of skiff"};
    }
    if (!whole) return cut();
    const std::uint64_t format = get_number(begin.substr(kSnapshotMagic.size()));
    info_.format = static_cast<int>(format);
    if (format > kSnapshotFormat) {
      return about("was written by a newer skiff (format " + std::to_string(format) +
                   "; this one reads up to " + std::to_string(kSnapshotFormat) +
                   "): use that version");
    }
    return format == 0 ? Result<void>(altered("format 0")) : Result<void>();
  }

  Result<BlockHead> next_block(std::uint64_t index) {
    std::string bytes;
    if (!read(bytes, kSnapshotBlockHead)) return cut();
    const BlockHead block = decode_block_head(bytes);
    if (block.length > kSnapshotBlock) return altered("a block too large");
    // In pieces: a length that lies about a short file must not cost its memory.
    body_.clear();
    while (body_.size() < block.length) {
      std::string piece;
      if (!read(piece, std::min<std::size_t>(block.length - body_.size(), 1U << 20U))) return cut();
      body_ += piece;
    }
    if (block_checksum(block.type, index, body_) != block.checksum) {
      return altered("a block that does not match its checksum");
    }
    return block;
  }

  Result<void> records(const Sealer* sealer, const std::function<void(Record)>& each) {
    std::string_view rest = body_;
    const KeepSealed keep;
    while (!rest.empty()) {
      auto record = get_record(rest, each ? sealer : &keep);
      if (!record) return annotate(record.error(), "the snapshot " + info_.path + " has");
      if (record->item->key <= last_key_ && info_.keys != 0) return altered("keys out of order");
      if (record->item->modified > info_.revision) return altered("a record of the future");
      last_key_ = record->item->key;
      ++info_.keys;
      if (each) each(std::move(*record));
    }
    return {};
  }

  Result<void> end(std::uint64_t at) {
    const bool right = body_.size() == 16 &&
                       get_number(std::string_view(body_).substr(0, 8)) == info_.keys &&
                       get_number(std::string_view(body_).substr(8, 8)) == at;
    if (!right) return altered("its totals");
    return in_.peek() == std::ifstream::traits_type::eof() ? Result<void>()
                                                           : Result<void>(altered("more after it"));
  }

  // Checking needs no keys.
  struct KeepSealed final : Sealer {
    bool covers(std::string_view) const override { return false; }
    std::string seal(std::string_view, std::string_view value) const override {
      return std::string(value);
    }
    Result<std::string> open(std::string_view, std::string_view sealed) const override {
      return std::string(sealed);
    }
  };

  std::ifstream in_;
  SnapshotInfo info_;
  std::string body_;
  std::string last_key_;
};

}  // namespace

Result<SnapshotInfo> check_snapshot(const std::string& path) {
  return Reader(path).run(nullptr, nullptr);
}

Result<SnapshotInfo> load_snapshot(const std::string& path, const SnapshotOptions& options,
                                   const std::function<void(Record)>& each) {
  SKIFF_CHECK(check_snapshot(path));
  return Reader(path).run(options.sealer.get(), each);
}

}  // namespace skiff::store
