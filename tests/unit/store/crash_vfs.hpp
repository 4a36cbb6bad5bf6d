// A disk in memory that loses power: what was not synced is kept, lost or torn, sector by sector.
// One thread.
#pragma once

#include <sqlite3.h>

#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "skiff/base/random.hpp"

namespace skiff::store::testing {

class CrashVfs {
 public:
  CrashVfs() : name_("crash-" + std::to_string(reinterpret_cast<std::uintptr_t>(this))) {
    vfs_ = *sqlite3_vfs_find(nullptr);
    vfs_.pNext = nullptr;
    vfs_.zName = name_.c_str();
    vfs_.szOsFile = sizeof(Handle);
    vfs_.pAppData = this;
    vfs_.xOpen = open;
    vfs_.xDelete = [](sqlite3_vfs* v, const char* path, int) {
      CrashVfs& self = *static_cast<CrashVfs*>(v->pAppData);
      if (const int code = self.count(SQLITE_IOERR_DELETE); code != SQLITE_OK) return code;
      return self.files.erase(path) != 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
    };
    vfs_.xAccess = [](sqlite3_vfs* v, const char* path, int, int* out) {
      const auto& files = static_cast<CrashVfs*>(v->pAppData)->files;
      const auto it = files.find(path);
      *out = it != files.end() && !it->second->now.empty() ? 1 : 0;
      return SQLITE_OK;
    };
    vfs_.xFullPathname = [](sqlite3_vfs*, const char* path, int size, char* out) {
      sqlite3_snprintf(size, out, "%s", path);
      return SQLITE_OK;
    };
    sqlite3_vfs_register(&vfs_, 0);
  }
  CrashVfs(const CrashVfs&) = delete;
  CrashVfs& operator=(const CrashVfs&) = delete;
  ~CrashVfs() { sqlite3_vfs_unregister(&vfs_); }

  struct Write {
    std::size_t at;
    std::string bytes;
    bool truncate = false;
  };
  struct File {
    std::string now;
    std::string durable;
    std::vector<Write> unsynced;
  };

  const std::string& name() const { return name_; }

  bool powered() const { return fail_from == 0 || operations < fail_from; }

  // The power goes and comes back.
  void crash(Random& random) {
    for (auto& [path, file] : files) {
      for (const Write& write : file->unsynced) apply_torn(file->durable, write, random);
      file->unsynced.clear();
      file->now = file->durable;
    }
    fail_from = fail_once = 0;
  }

  std::map<std::string, std::shared_ptr<File>> files;
  std::uint64_t operations = 0;  // writes, syncs, truncations, deletions
  std::uint64_t fail_from = 0;   // the power goes at this operation; 0: never
  std::uint64_t fail_once = 0;   // this operation alone fails
  int failure = SQLITE_IOERR;    // SQLITE_FULL: that instead, where it can be

 private:
  struct Handle {
    sqlite3_file base;
    CrashVfs* vfs;
    std::shared_ptr<File> file;
  };
  static constexpr std::size_t kSector = 512;

  static Handle& handle(sqlite3_file* f) { return *reinterpret_cast<Handle*>(f); }

  int count(int code) {
    ++operations;
    const bool fails = operations == fail_once || (fail_from != 0 && operations >= fail_from);
    return fails ? code : SQLITE_OK;
  }
  static void put(std::string& to, std::size_t at, std::string_view bytes) {
    if (to.size() < at + bytes.size()) to.resize(at + bytes.size());
    to.replace(at, bytes.size(), bytes);
  }
  static void apply_torn(std::string& to, const Write& write, Random& random) {
    const std::uint64_t fate = random.below(4);  // kept, lost, or some sectors
    if (fate == 0) return;
    if (write.truncate) return to.resize(write.at);
    if (fate == 1) return put(to, write.at, write.bytes);
    for (std::size_t from = 0; from < write.bytes.size();) {
      const std::size_t end =
          std::min(write.bytes.size(), from + kSector - (write.at + from) % kSector);
      const auto sector = std::string_view(write.bytes).substr(from, end - from);
      if (random.below(2) == 0) put(to, write.at + from, sector);
      from = end;
    }
  }

  static int open(sqlite3_vfs* v, const char* path, sqlite3_file* f, int flags, int* out) {
    auto* self = static_cast<CrashVfs*>(v->pAppData);
    f->pMethods = nullptr;
    auto it = self->files.find(path);
    if (it == self->files.end()) {
      if ((flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
      it = self->files.emplace(path, std::make_shared<File>()).first;
    }
    auto* h = new (f) Handle{};
    h->base.pMethods = &methods();
    h->vfs = self;
    h->file = it->second;
    if (out != nullptr) *out = flags;
    return SQLITE_OK;
  }
  static int read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
    const std::string& bytes = handle(f).file->now;
    const auto from = std::min(static_cast<std::size_t>(at), bytes.size());
    const std::size_t have = std::min(static_cast<std::size_t>(n), bytes.size() - from);
    std::memset(to, 0, static_cast<std::size_t>(n));
    std::memcpy(to, bytes.data() + from, have);
    return have == static_cast<std::size_t>(n) ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
  }
  static int write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
    Handle& h = handle(f);
    const std::string bytes(static_cast<const char*>(from), static_cast<std::size_t>(n));
    const int full = h.vfs->failure == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    const int code = h.vfs->count(full);
    // A write that fails may have got somewhere.
    h.file->unsynced.push_back({static_cast<std::size_t>(at), bytes});
    if (code == SQLITE_OK) put(h.file->now, static_cast<std::size_t>(at), bytes);
    return code;
  }
  static int truncate(sqlite3_file* f, sqlite3_int64 size) {
    Handle& h = handle(f);
    const int code = h.vfs->count(SQLITE_IOERR_TRUNCATE);
    if (code != SQLITE_OK) return code;
    h.file->now.resize(static_cast<std::size_t>(size));
    h.file->unsynced.push_back({static_cast<std::size_t>(size), "", true});
    return SQLITE_OK;
  }
  // One that fails lets go of what it could not write: the next will not try again.
  static int sync(sqlite3_file* f, int) {
    Handle& h = handle(f);
    const int code = h.vfs->count(SQLITE_IOERR_FSYNC);
    if (code == SQLITE_OK) {
      for (const Write& w : h.file->unsynced) {
        if (w.truncate) {
          h.file->durable.resize(w.at);
        } else {
          put(h.file->durable, w.at, w.bytes);
        }
      }
    }
    if (h.vfs->fail_from == 0) h.file->unsynced.clear();
    if (code == SQLITE_OK) h.file->unsynced.clear();
    return code;
  }
  static const sqlite3_io_methods& methods() {
    static const sqlite3_io_methods kMethods = {
        .iVersion = 1,
        .xClose =
            [](sqlite3_file* f) {
              handle(f).~Handle();
              return SQLITE_OK;
            },
        .xRead = read,
        .xWrite = write,
        .xTruncate = truncate,
        .xSync = sync,
        .xFileSize =
            [](sqlite3_file* f, sqlite3_int64* size) {
              *size = static_cast<sqlite3_int64>(handle(f).file->now.size());
              return SQLITE_OK;
            },
        .xLock = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xUnlock = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xCheckReservedLock =
            [](sqlite3_file*, int* out) {
              *out = 0;
              return SQLITE_OK;
            },
        .xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; },
        .xSectorSize = [](sqlite3_file*) { return 512; },
        .xDeviceCharacteristics = [](sqlite3_file*) { return 0; },
    };
    return kMethods;
  }

  std::string name_;
  sqlite3_vfs vfs_;
};

}  // namespace skiff::store::testing
