#include "metered_vfs.hpp"

#include <cstdint>

#include "skiff/base/result.hpp"

namespace skiff::store {
namespace {

// SQLite allocates it; the default VFS's own file follows right behind.
struct MeteredFile {
  sqlite3_file base;
  Disk* disk;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

MeteredFile* metered(sqlite3_file* file) { return reinterpret_cast<MeteredFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return metered(file)->real(); }
const sqlite3_io_methods& io(sqlite3_file* file) { return *real(file)->pMethods; }

int on_close(sqlite3_file* f) { return io(f).xClose(real(f)); }
int on_read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
  return io(f).xRead(real(f), to, n, at);
}
int on_write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  Disk& disk = *metered(f)->disk;
  if (const int code = disk.fail_writes; code != SQLITE_OK) return code;
  disk.bytes_written += static_cast<std::uint64_t>(n);
  if (disk.bytes_counter != nullptr) disk.bytes_counter->add(n);
  return io(f).xWrite(real(f), from, n, at);
}
int on_truncate(sqlite3_file* f, sqlite3_int64 size) { return io(f).xTruncate(real(f), size); }
int on_sync(sqlite3_file* f, int flags) {
  Disk& disk = *metered(f)->disk;
  if (const int code = disk.fail_syncs; code != SQLITE_OK) return code;
  ++disk.syncs;
  if (disk.sync_counter != nullptr) disk.sync_counter->add();
  return io(f).xSync(real(f), flags);
}
int on_size(sqlite3_file* f, sqlite3_int64* size) { return io(f).xFileSize(real(f), size); }
int on_lock(sqlite3_file* f, int level) { return io(f).xLock(real(f), level); }
int on_unlock(sqlite3_file* f, int level) { return io(f).xUnlock(real(f), level); }
int on_check_lock(sqlite3_file* f, int* out) { return io(f).xCheckReservedLock(real(f), out); }
int on_control(sqlite3_file* f, int op, void* arg) { return io(f).xFileControl(real(f), op, arg); }
int on_sector_size(sqlite3_file* f) { return io(f).xSectorSize(real(f)); }
int on_characteristics(sqlite3_file* f) { return io(f).xDeviceCharacteristics(real(f)); }

// Version 1: no shared memory. The log locks its file exclusively and needs none.
constexpr sqlite3_io_methods kMethods = {
    .iVersion = 1,
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
};

}  // namespace

MeteredVfs::MeteredVfs(std::shared_ptr<Disk> disk)
    : disk_(std::move(disk)),
      name_("skiff-" + std::to_string(reinterpret_cast<std::uintptr_t>(this))),
      real_(sqlite3_vfs_find(nullptr)) {
  SKIFF_ASSERT(real_ != nullptr, "SQLite has no default VFS");
  vfs_ = *real_;
  vfs_.pNext = nullptr;
  vfs_.zName = name_.c_str();
  vfs_.szOsFile = static_cast<int>(sizeof(MeteredFile)) + real_->szOsFile;
  vfs_.pAppData = this;
  vfs_.xOpen = open;
  // The other functions are the default's and are called with our sqlite3_vfs; what the default
  // keeps in pAppData (how to find a file's locking style) only its own xOpen reads.
  SKIFF_ASSERT(sqlite3_vfs_register(&vfs_, 0) == SQLITE_OK, "SQLite refused the VFS");
}

MeteredVfs::~MeteredVfs() { sqlite3_vfs_unregister(&vfs_); }

int MeteredVfs::open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags,
                     int* out_flags) {
  auto* self = static_cast<MeteredVfs*>(vfs->pAppData);
  MeteredFile* f = metered(file);
  f->base.pMethods = nullptr;
  f->disk = self->disk_.get();
  const int code = self->real_->xOpen(self->real_, path, f->real(), flags, out_flags);
  // With methods set SQLite closes the file, also after a failure.
  if (f->real()->pMethods != nullptr) f->base.pMethods = &kMethods;
  return code;
}

}  // namespace skiff::store
