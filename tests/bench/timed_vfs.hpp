// The system's files with a note of how long each call into them took, for any number of threads.
#pragma once

#include <sqlite3.h>
#include <sys/types.h>

#include <atomic>
#include <string>
#include <vector>

#include "skiff/base/clock.hpp"

namespace skiff::bench {

struct DiskCall {
  enum class Kind : std::uint8_t { write, sync, truncate } kind;
  bool log;  // the write-ahead log, not the database
  pid_t thread;
  int bytes;  // written
  TimePoint begin;
  TimePoint end;
};

// Registers itself with SQLite under `kName`; one at a time, and it must outlive what was opened by
// it. Notes the first `most` calls since forget().
class TimedVfs {
 public:
  static constexpr const char* kName = "timed";
  explicit TimedVfs(std::size_t most);
  TimedVfs(const TimedVfs&) = delete;
  TimedVfs& operator=(const TimedVfs&) = delete;
  ~TimedVfs();

  void forget() { noted_ = 0; }
  // By `end`. What is being noted meanwhile may be missing.
  std::vector<DiskCall> calls() const;

 private:
  struct File;
  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out);
  template <class Call>
  static int note(sqlite3_file* f, DiskCall::Kind kind, int bytes, Call call);

  std::vector<DiskCall> calls_;
  std::atomic<std::size_t> noted_{0};
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_;
};

}  // namespace skiff::bench
