#include "timed_vfs.hpp"

#include <unistd.h>

#include <algorithm>
#include <new>

namespace skiff::bench {
namespace {

RealClock clock_of_calls;

}  // namespace

// The file of the VFS below follows right behind.
struct TimedVfs::File {
  sqlite3_file base;
  TimedVfs* vfs;
  bool log;

  static File* of(sqlite3_file* f) { return reinterpret_cast<File*>(f); }
  static sqlite3_file* below(sqlite3_file* f) { return reinterpret_cast<sqlite3_file*>(of(f) + 1); }
  static const sqlite3_io_methods& io(sqlite3_file* f) { return *below(f)->pMethods; }
};

template <class Call>
int TimedVfs::note(sqlite3_file* f, DiskCall::Kind kind, int bytes, Call call) {
  TimedVfs& self = *File::of(f)->vfs;
  const TimePoint begin = clock_of_calls.now();
  const int code = call(File::io(f), File::below(f));
  const std::size_t n = self.noted_++;
  if (n < self.calls_.size()) {
    self.calls_[n] = {kind, File::of(f)->log, ::gettid(), bytes, begin, clock_of_calls.now()};
  }
  return code;
}

int TimedVfs::open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out) {
  static const sqlite3_io_methods kMethods = {
      .iVersion = 1,  // shared memory is the business of the VFS above
      .xClose = [](sqlite3_file* f) { return File::io(f).xClose(File::below(f)); },
      .xRead = [](sqlite3_file* f, void* to, int n,
                  sqlite3_int64 at) { return File::io(f).xRead(File::below(f), to, n, at); },
      .xWrite =
          [](sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
            return note(f, DiskCall::Kind::write, n,
                        [&](auto& io, auto* real) { return io.xWrite(real, from, n, at); });
          },
      .xTruncate =
          [](sqlite3_file* f, sqlite3_int64 size) {
            return note(f, DiskCall::Kind::truncate, 0,
                        [&](auto& io, auto* real) { return io.xTruncate(real, size); });
          },
      .xSync =
          [](sqlite3_file* f, int how) {
            return note(f, DiskCall::Kind::sync, 0,
                        [&](auto& io, auto* real) { return io.xSync(real, how); });
          },
      .xFileSize = [](sqlite3_file* f,
                      sqlite3_int64* n) { return File::io(f).xFileSize(File::below(f), n); },
      .xLock = [](sqlite3_file* f, int level) { return File::io(f).xLock(File::below(f), level); },
      .xUnlock = [](sqlite3_file* f,
                    int level) { return File::io(f).xUnlock(File::below(f), level); },
      .xCheckReservedLock =
          [](sqlite3_file* f, int* held) {
            return File::io(f).xCheckReservedLock(File::below(f), held);
          },
      .xFileControl = [](sqlite3_file* f, int op,
                         void* arg) { return File::io(f).xFileControl(File::below(f), op, arg); },
      .xSectorSize = [](sqlite3_file* f) { return File::io(f).xSectorSize(File::below(f)); },
      .xDeviceCharacteristics =
          [](sqlite3_file* f) { return File::io(f).xDeviceCharacteristics(File::below(f)); },
  };
  auto* self = static_cast<TimedVfs*>(vfs->pAppData);
  File* f = new (file) File{};
  f->vfs = self;
  f->log = (flags & SQLITE_OPEN_WAL) != 0;
  const int code = self->real_->xOpen(self->real_, path, File::below(file), flags, out);
  if (File::below(file)->pMethods != nullptr) f->base.pMethods = &kMethods;
  return code;
}

TimedVfs::TimedVfs(std::size_t most) : calls_(most), real_(sqlite3_vfs_find(nullptr)) {
  vfs_ = *real_;
  vfs_.pNext = nullptr;
  vfs_.zName = kName;
  vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
  vfs_.pAppData = this;
  vfs_.xOpen = open;
  // The rest of the system's calls look at their own data, which is elsewhere now.
  vfs_.xDelete = [](sqlite3_vfs* v, const char* path, int sync) {
    auto* real = static_cast<TimedVfs*>(v->pAppData)->real_;
    return real->xDelete(real, path, sync);
  };
  vfs_.xAccess = [](sqlite3_vfs* v, const char* path, int flags, int* out) {
    auto* real = static_cast<TimedVfs*>(v->pAppData)->real_;
    return real->xAccess(real, path, flags, out);
  };
  vfs_.xFullPathname = [](sqlite3_vfs* v, const char* path, int size, char* out) {
    auto* real = static_cast<TimedVfs*>(v->pAppData)->real_;
    return real->xFullPathname(real, path, size, out);
  };
  sqlite3_vfs_register(&vfs_, 0);
}

TimedVfs::~TimedVfs() { sqlite3_vfs_unregister(&vfs_); }

std::vector<DiskCall> TimedVfs::calls() const {
  const auto n = static_cast<std::ptrdiff_t>(std::min(noted_.load(), calls_.size()));
  std::vector<DiskCall> all(calls_.begin(), calls_.begin() + n);
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.end < b.end; });
  return all;
}

}  // namespace skiff::bench
