// SQLite's way to the disk: with a meter on it, a lock that keeps everybody else out, and a WAL
// index in memory that the connections of this process share.
#pragma once

#include <sqlite3.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "skiff/base/metrics.hpp"

namespace skiff::store {

// What one database did to the disk, and what tests make the disk do. Any thread.
struct Disk {
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> syncs{0};
  std::atomic<std::uint64_t> unsynced{0};  // bytes written to the write-ahead log since its sync
  // The transaction that is being written to the log ends with a sync: its pages may wait for that.
  std::atomic<bool> gathers{false};
  std::atomic<bool> suspect{false};  // a sync has failed: what it should have written may be lost
  // SQLite result codes that writes and syncs fail with; SQLITE_OK: they work.
  std::atomic<int> fail_writes{SQLITE_OK};
  std::atomic<int> fail_syncs{SQLITE_OK};
  std::atomic<int> fail_locks{SQLITE_OK};
  metrics::Counter* bytes_counter = nullptr;
  metrics::Counter* sync_counter = nullptr;
  std::string below;  // the VFS that does the work; "": SQLite's default
};

// What SQLite keeps in a -shm file for processes that share a database
// (https://www.sqlite.org/walformat.html): here the sharers are connections of one process.
class WalIndex {
 public:
  static constexpr int kLocks = SQLITE_SHM_NLOCK;
  struct Held {  // by one connection
    std::uint32_t shared = 0;
    std::uint32_t exclusive = 0;
  };
  WalIndex() = default;
  WalIndex(const WalIndex&) = delete;
  WalIndex& operator=(const WalIndex&) = delete;
  ~WalIndex();

  int map(int region, int size, bool extend, void volatile** out);
  int lock(Held& held, int from, int n, int flags);

 private:
  static constexpr std::size_t kRegions = 4096;  // each for 4096 pages of log
  std::array<std::atomic<char*>, kRegions> regions_{};
  std::array<std::atomic<int>, kLocks> locks_{};  // -1: exclusive; else how many share it
};

// Registers itself with SQLite under a name of its own; passes reads and writes on to the VFS below
// (https://www.sqlite.org/vfs.html). The first connection locks the database against all other
// processes for as long as it is open; more connections of this VFS may join it, each on a thread
// of its own. Must outlive them.
class MeteredVfs {
 public:
  explicit MeteredVfs(std::shared_ptr<Disk> disk);
  MeteredVfs(const MeteredVfs&) = delete;
  MeteredVfs& operator=(const MeteredVfs&) = delete;
  ~MeteredVfs();

  Disk& disk() noexcept { return *disk_; }
  const char* name() const noexcept { return name_.c_str(); }
  sqlite3_vfs* handle() noexcept { return &vfs_; }
  // Whether there is such a file, by the VFS below.
  bool exists(const std::string& path) const;

 private:
  static sqlite3_vfs* below(sqlite3_vfs* vfs);
  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags,
                  int* out_flags);

  std::shared_ptr<Disk> disk_;
  WalIndex index_;
  bool owned_ = false;  // a main database is open
  std::string name_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_;
};

}  // namespace skiff::store
