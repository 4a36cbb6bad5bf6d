// SQLite's way to the disk, with a meter on it.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <memory>
#include <string>

#include "skiff/base/metrics.hpp"

namespace skiff::store {

// What one database did to the disk, and what tests make the disk do. Any thread.
struct Disk {
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> syncs{0};
  // SQLite result codes that writes and syncs fail with; SQLITE_OK: they work.
  std::atomic<int> fail_writes{SQLITE_OK};
  std::atomic<int> fail_syncs{SQLITE_OK};
  metrics::Counter* bytes_counter = nullptr;
  metrics::Counter* sync_counter = nullptr;
};

// Registers itself with SQLite under a name of its own; passes everything on to the default VFS
// (https://www.sqlite.org/vfs.html). Must outlive the connections that use it.
class MeteredVfs {
 public:
  explicit MeteredVfs(std::shared_ptr<Disk> disk);
  MeteredVfs(const MeteredVfs&) = delete;
  MeteredVfs& operator=(const MeteredVfs&) = delete;
  ~MeteredVfs();

  const char* name() const noexcept { return name_.c_str(); }

 private:
  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags,
                  int* out_flags);

  std::shared_ptr<Disk> disk_;
  std::string name_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_;
};

}  // namespace skiff::store
