#include "metered_vfs.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "skiff/base/result.hpp"

namespace skiff::store {

WalIndex::~WalIndex() {
  for (auto& region : regions_) delete[] region.load();
}

int WalIndex::map(int region, int size, bool extend, void volatile** out) {
  *out = nullptr;
  if (static_cast<std::size_t>(region) >= kRegions) return SQLITE_FULL;
  auto& slot = regions_[static_cast<std::size_t>(region)];
  char* bytes = slot.load();
  if (bytes == nullptr && extend) {
    auto* fresh = new (std::nothrow) char[static_cast<std::size_t>(size)]();
    if (fresh == nullptr) return SQLITE_NOMEM;
    if (slot.compare_exchange_strong(bytes, fresh)) {
      bytes = fresh;
    } else {
      delete[] fresh;  // the other connection was faster
    }
  }
  *out = bytes;
  return SQLITE_OK;
}

int WalIndex::lock(Held& held, int from, int n, int flags) {
  const std::uint32_t mask = ((1U << n) - 1U) << from;
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    for (int i = from; i < from + n; ++i) {
      auto& slot = locks_[static_cast<std::size_t>(i)];
      if ((held.exclusive & (1U << i)) != 0) slot.store(0);
      if ((held.shared & (1U << i)) != 0) slot.fetch_sub(1);
    }
    held.exclusive &= ~mask;
    held.shared &= ~mask;
    return SQLITE_OK;
  }
  if ((flags & SQLITE_SHM_SHARED) != 0) {
    if ((held.shared & mask) != 0) return SQLITE_OK;
    auto& slot = locks_[static_cast<std::size_t>(from)];
    int sharers = slot.load();
    do {
      if (sharers < 0) return SQLITE_BUSY;
    } while (!slot.compare_exchange_weak(sharers, sharers + 1));
    held.shared |= mask;
    return SQLITE_OK;
  }
  for (int i = from; i < from + n; ++i) {
    int free = 0;
    if (locks_[static_cast<std::size_t>(i)].compare_exchange_strong(free, -1)) continue;
    while (--i >= from) locks_[static_cast<std::size_t>(i)].store(0);
    return SQLITE_BUSY;
  }
  held.exclusive |= mask;
  return SQLITE_OK;
}

namespace {

constexpr int kLogHeader = 32;
constexpr int kFrameHeader = 24;
constexpr int kFramePage = 4096;
constexpr int kGathered = 16 * (kFrameHeader + kFramePage);

// SQLite allocates it; the file of the VFS below follows right behind.
struct MeteredFile {
  sqlite3_file base;
  Disk* disk;
  WalIndex* index;
  WalIndex::Held held;
  bool* owned;  // set: this connection holds the database's lock
  bool is_wal;
  bool locked;
  int gathered_bytes;         // that a write-ahead log has yet to get,
  sqlite3_int64 gathered_at;  // from here on
  char* gathered;             // kGathered of them; null until they are needed
  sqlite3_int64 size;         // of a write-ahead log
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

MeteredFile* metered(sqlite3_file* file) { return reinterpret_cast<MeteredFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return metered(file)->real(); }
const sqlite3_io_methods& io(sqlite3_file* file) { return *real(file)->pMethods; }

// A sync that makes a file longer costs about five times one that does not, since the filesystem
// must note the new length. So a write-ahead log that grows gets some zeros behind what is written,
// a quarter of what it has, where the next appends will find room. It ends before zeros
// (a frame without the salt of its log is none: https://www.sqlite.org/walformat.html).
void grow(sqlite3_file* f, sqlite3_int64 end) {
  constexpr int kMost = 256 << 10;
  static char kZeros[kMost];  // not const: the program's file need not hold them
  MeteredFile* file = metered(f);
  if (end <= file->size) return;
  file->size = end;
  const auto more = static_cast<int>(std::clamp<sqlite3_int64>(end / 4, 4096, kMost));
  if (io(f).xWrite(real(f), kZeros, more, end) != SQLITE_OK) return;  // goes without
  file->size = end + more;
  file->disk->bytes_written += static_cast<std::uint64_t>(more);
  if (file->disk->bytes_counter != nullptr) file->disk->bytes_counter->add(more);
}

// SQLite writes each frame of the write-ahead log in two pieces, and one frame after the other;
// here they become one. Nobody is told of a frame before it has been written: the transaction is
// synced first or, where it is not, each frame is written as soon as it is whole. So is what comes
// behind the sync, by which SQLite fills up a sector where the disk may tear one.
int write_gathered(sqlite3_file* f) {
  MeteredFile* file = metered(f);
  if (file->gathered_bytes == 0) return SQLITE_OK;
  const int n = std::exchange(file->gathered_bytes, 0);
  const int code = io(f).xWrite(real(f), file->gathered, n, file->gathered_at);
  if (code == SQLITE_OK) grow(f, file->gathered_at + n);
  return code;
}
int write_wal(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  MeteredFile* file = metered(f);
  const bool goes_on = at == file->gathered_at + file->gathered_bytes;
  if (!goes_on || file->gathered_bytes + n > kGathered) {
    if (const int code = write_gathered(f); code != SQLITE_OK) return code;
  }
  if (file->gathered == nullptr) file->gathered = new (std::nothrow) char[kGathered];
  if (file->gathered == nullptr) return SQLITE_NOMEM;
  SKIFF_ASSERT(n <= kGathered, "a frame has two pieces of a known size");
  if (file->gathered_bytes == 0) file->gathered_at = at;
  std::memcpy(file->gathered + file->gathered_bytes, from, static_cast<std::size_t>(n));
  file->gathered_bytes += n;
  const bool begins_frame = (at - kLogHeader) % (kFrameHeader + kFramePage) == 0;
  if ((n == kFrameHeader && begins_frame) || file->disk->gathers) return SQLITE_OK;
  return write_gathered(f);
}

int on_close(sqlite3_file* f) {
  write_gathered(f);  // of no transaction that anybody knows of: nothing is lost if this fails
  delete[] metered(f)->gathered;
  if (bool* owned = metered(f)->owned; owned != nullptr) *owned = false;
  return io(f).xClose(real(f));
}
int on_read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
  if (const int code = write_gathered(f); code != SQLITE_OK) return code;
  return io(f).xRead(real(f), to, n, at);
}
int on_write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  Disk& disk = *metered(f)->disk;
  if (const int code = disk.fail_writes; code != SQLITE_OK) return code;
  disk.bytes_written += static_cast<std::uint64_t>(n);
  if (metered(f)->is_wal) disk.unsynced += static_cast<std::uint64_t>(n);
  if (disk.bytes_counter != nullptr) disk.bytes_counter->add(n);
  if (!metered(f)->is_wal) return io(f).xWrite(real(f), from, n, at);
  return write_wal(f, from, n, at);
}
int on_truncate(sqlite3_file* f, sqlite3_int64 size) {
  if (const int code = write_gathered(f); code != SQLITE_OK) return code;
  metered(f)->size = size;
  return io(f).xTruncate(real(f), size);
}
int on_sync(sqlite3_file* f, int flags) {
  Disk& disk = *metered(f)->disk;
  if (const int code = disk.fail_syncs; code != SQLITE_OK) {
    disk.suspect = true;
    return code;
  }
  ++disk.syncs;
  if (disk.sync_counter != nullptr) disk.sync_counter->add();
  const std::uint64_t before = metered(f)->is_wal ? disk.unsynced.load() : 0;
  if (const int code = write_gathered(f); code != SQLITE_OK) return code;
  const int code = io(f).xSync(real(f), flags);
  if (code != SQLITE_OK) disk.suspect = true;
  if (code == SQLITE_OK && before != 0) disk.unsynced -= std::min(before, disk.unsynced.load());
  if (metered(f)->gathered != nullptr) disk.gathers = false;
  return code;
}
int on_size(sqlite3_file* f, sqlite3_int64* size) {
  if (const int code = write_gathered(f); code != SQLITE_OK) return code;
  return io(f).xFileSize(real(f), size);
}

// The first connection takes everything at its first look and keeps it until it closes: no other
// process gets in between. Those that join never may believe they are the last one.
int on_lock(sqlite3_file* f, int level) {
  MeteredFile* file = metered(f);
  if (file->owned == nullptr) return level > SQLITE_LOCK_SHARED ? SQLITE_BUSY : SQLITE_OK;
  if (file->locked) return SQLITE_OK;
  if (const int code = file->disk->fail_locks; code != SQLITE_OK) return code;
  for (const int step : {SQLITE_LOCK_SHARED, SQLITE_LOCK_RESERVED, SQLITE_LOCK_EXCLUSIVE}) {
    const int code = io(f).xLock(real(f), step);
    if (code == SQLITE_OK) continue;
    io(f).xUnlock(real(f), SQLITE_LOCK_NONE);
    return code;
  }
  file->locked = true;
  return SQLITE_OK;
}
int on_unlock(sqlite3_file*, int) { return SQLITE_OK; }
int on_check_lock(sqlite3_file*, int* out) {
  *out = 0;
  return SQLITE_OK;
}
int on_control(sqlite3_file* f, int op, void* arg) { return io(f).xFileControl(real(f), op, arg); }
int on_sector_size(sqlite3_file* f) { return io(f).xSectorSize(real(f)); }
int on_characteristics(sqlite3_file* f) { return io(f).xDeviceCharacteristics(real(f)); }
int on_map(sqlite3_file* f, int region, int size, int extend, void volatile** out) {
  return metered(f)->index->map(region, size, extend != 0, out);
}
int on_index_lock(sqlite3_file* f, int from, int n, int flags) {
  return metered(f)->index->lock(metered(f)->held, from, n, flags);
}
void on_barrier(sqlite3_file*) { std::atomic_thread_fence(std::memory_order_seq_cst); }
int on_unmap(sqlite3_file*, int) { return SQLITE_OK; }

constexpr sqlite3_io_methods kMethods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
    .xShmMap = on_map,
    .xShmLock = on_index_lock,
    .xShmBarrier = on_barrier,
    .xShmUnmap = on_unmap,
};

}  // namespace

MeteredVfs::MeteredVfs(std::shared_ptr<Disk> disk)
    : disk_(std::move(disk)),
      name_("skiff-" + std::to_string(reinterpret_cast<std::uintptr_t>(this))),
      real_(sqlite3_vfs_find(disk_->below.empty() ? nullptr : disk_->below.c_str())) {
  SKIFF_ASSERT(real_ != nullptr, "SQLite has no such VFS");
  vfs_ = *real_;
  vfs_.pNext = nullptr;
  vfs_.zName = name_.c_str();
  vfs_.szOsFile = static_cast<int>(sizeof(MeteredFile)) + real_->szOsFile;
  vfs_.pAppData = this;
  // These look at the VFS they are called with; the others do not care.
  vfs_.xOpen = open;
  vfs_.xDelete = [](sqlite3_vfs* v, const char* path, int sync) {
    return below(v)->xDelete(below(v), path, sync);
  };
  vfs_.xAccess = [](sqlite3_vfs* v, const char* path, int flags, int* out) {
    return below(v)->xAccess(below(v), path, flags, out);
  };
  vfs_.xFullPathname = [](sqlite3_vfs* v, const char* path, int size, char* out) {
    return below(v)->xFullPathname(below(v), path, size, out);
  };
  SKIFF_ASSERT(sqlite3_vfs_register(&vfs_, 0) == SQLITE_OK, "SQLite refused the VFS");
}

MeteredVfs::~MeteredVfs() { sqlite3_vfs_unregister(&vfs_); }

sqlite3_vfs* MeteredVfs::below(sqlite3_vfs* vfs) {
  return static_cast<MeteredVfs*>(vfs->pAppData)->real_;
}

bool MeteredVfs::exists(const std::string& path) const {
  int found = 0;
  const int code = real_->xAccess(real_, path.c_str(), SQLITE_ACCESS_EXISTS, &found);
  return code == SQLITE_OK && found != 0;
}

int MeteredVfs::open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags,
                     int* out_flags) {
  auto* self = static_cast<MeteredVfs*>(vfs->pAppData);
  MeteredFile* f = new (file) MeteredFile{};
  f->disk = self->disk_.get();
  f->index = &self->index_;
  f->is_wal = (flags & SQLITE_OPEN_WAL) != 0;
  const bool is_main = (flags & SQLITE_OPEN_MAIN_DB) != 0;
  const int code = self->real_->xOpen(self->real_, path, f->real(), flags, out_flags);
  if (f->real()->pMethods == nullptr) return code;
  // With methods set SQLite closes the file, also after a failure.
  f->base.pMethods = &kMethods;
  if (f->is_wal) f->real()->pMethods->xFileSize(f->real(), &f->size);
  if (is_main && !self->owned_) {
    self->owned_ = true;
    f->owned = &self->owned_;
  }
  return code;
}

}  // namespace skiff::store
