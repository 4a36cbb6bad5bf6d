#include "metered_vfs.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

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

constexpr int kFrameHeader = 24;
constexpr int kFramePage = 4096;

// SQLite allocates it; the file of the VFS below follows right behind.
struct MeteredFile {
  sqlite3_file base;
  Disk* disk;
  WalIndex* index;
  WalIndex::Held held;
  bool* owned;  // set: this connection holds the database's lock
  bool is_wal;
  bool locked;
  std::uint8_t held_bytes;  // of a frame's header that waits for its page; 0: none
  sqlite3_int64 held_at;
  char frame[kFrameHeader + kFramePage];
  sqlite3_int64 size;  // of a write-ahead log
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

MeteredFile* metered(sqlite3_file* file) { return reinterpret_cast<MeteredFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return metered(file)->real(); }
const sqlite3_io_methods& io(sqlite3_file* file) { return *real(file)->pMethods; }

// SQLite writes a frame of the write-ahead log in two pieces, one right after the other; here they
// become one. Nobody is told of a frame before its page has been written too.
int write_held(sqlite3_file* f) {
  MeteredFile* file = metered(f);
  if (file->held_bytes == 0) return SQLITE_OK;
  file->held_bytes = 0;
  return io(f).xWrite(real(f), file->frame, kFrameHeader, file->held_at);
}
int write_wal(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  MeteredFile* file = metered(f);
  if (file->held_bytes != 0 && n == kFramePage && at == file->held_at + kFrameHeader) {
    file->held_bytes = 0;
    std::memcpy(file->frame + kFrameHeader, from, kFramePage);
    return io(f).xWrite(real(f), file->frame, kFrameHeader + kFramePage, file->held_at);
  }
  if (const int code = write_held(f); code != SQLITE_OK) return code;
  if (n != kFrameHeader) return io(f).xWrite(real(f), from, n, at);
  std::memcpy(file->frame, from, kFrameHeader);
  file->held_bytes = kFrameHeader;
  file->held_at = at;
  return SQLITE_OK;
}

int on_close(sqlite3_file* f) {
  write_held(f);  // a frame without its page is none: nothing is lost if this fails
  if (bool* owned = metered(f)->owned; owned != nullptr) *owned = false;
  return io(f).xClose(real(f));
}
int on_read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
  if (const int code = write_held(f); code != SQLITE_OK) return code;
  return io(f).xRead(real(f), to, n, at);
}
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

int on_write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  Disk& disk = *metered(f)->disk;
  if (const int code = disk.fail_writes; code != SQLITE_OK) return code;
  disk.bytes_written += static_cast<std::uint64_t>(n);
  if (metered(f)->is_wal) disk.unsynced += static_cast<std::uint64_t>(n);
  if (disk.bytes_counter != nullptr) disk.bytes_counter->add(n);
  if (!metered(f)->is_wal) return io(f).xWrite(real(f), from, n, at);
  const int code = write_wal(f, from, n, at);
  if (code == SQLITE_OK && metered(f)->held_bytes == 0) grow(f, at + n);
  return code;
}
int on_truncate(sqlite3_file* f, sqlite3_int64 size) {
  if (const int code = write_held(f); code != SQLITE_OK) return code;
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
  if (const int code = write_held(f); code != SQLITE_OK) return code;
  const int code = io(f).xSync(real(f), flags);
  if (code != SQLITE_OK) disk.suspect = true;
  if (code == SQLITE_OK && before != 0) disk.unsynced -= std::min(before, disk.unsynced.load());
  return code;
}
int on_size(sqlite3_file* f, sqlite3_int64* size) {
  if (const int code = write_held(f); code != SQLITE_OK) return code;
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
