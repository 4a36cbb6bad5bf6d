// PATH-mark: 24 bytes, little-endian: "skiffdur", a revision, a checksum.
#include <array>
#include <cstring>

#include "record_codec.hpp"
#include "sqlite_file.hpp"

namespace skiff::store {
namespace {

constexpr std::string_view kMagic = "skiffdur";
constexpr std::size_t kSize = 24;

std::string encode(Revision revision) {
  std::string out(kMagic);
  const auto put = [&out](std::uint64_t w) {
    for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>(w >> shift);
  };
  put(static_cast<std::uint64_t>(revision));
  put(checksum(out, kSize));
  return out;
}

}  // namespace

DurableMark::DurableMark(std::shared_ptr<MeteredVfs> vfs, std::string path)
    : vfs_(std::move(vfs)), path_(std::move(path)) {
  path_ += std::string(2, '\0');  // SQLite's file names end with two zeros
}

DurableMark::~DurableMark() {
  if (file_ != nullptr) file_->pMethods->xClose(file_);
}

bool DurableMark::open() {
  if (file_ != nullptr || failed_) return file_ != nullptr;
  sqlite3_vfs* vfs = vfs_->handle();
  memory_ = std::make_unique<char[]>(static_cast<std::size_t>(vfs->szOsFile));
  auto* file = reinterpret_cast<sqlite3_file*>(memory_.get());
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_JOURNAL;
  const int code = vfs->xOpen(vfs, path_.c_str(), file, flags, &flags);
  if (code == SQLITE_OK) {
    file_ = file;
  } else {
    failed_ = true;
    if (file->pMethods != nullptr) file->pMethods->xClose(file);
  }
  return file_ != nullptr;
}

std::optional<Revision> DurableMark::read() {
  if (!vfs_->exists(path_.c_str()) || !open()) return std::nullopt;
  std::array<char, kSize> bytes{};
  if (file_->pMethods->xRead(file_, bytes.data(), kSize, 0) != SQLITE_OK) return std::nullopt;
  std::uint64_t revision = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    revision |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[8 + i])) << (8 * i);
  }
  const std::string whole = encode(static_cast<Revision>(revision));
  if (std::memcmp(whole.data(), bytes.data(), kSize) != 0) return std::nullopt;  // torn
  return static_cast<Revision>(revision);
}

void DurableMark::write(Revision revision) {
  if (!open()) return;
  const std::string bytes = encode(revision);
  file_->pMethods->xWrite(file_, bytes.data(), static_cast<int>(bytes.size()), 0);
}

void DurableMark::remove() {
  if (file_ != nullptr) file_->pMethods->xClose(std::exchange(file_, nullptr));
  vfs_->handle()->xDelete(vfs_->handle(), path_.c_str(), 0);
}

}  // namespace skiff::store
