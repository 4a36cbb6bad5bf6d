// Snapshots: a store's state at one revision in one file that can be kept, checked, shipped to
// another server and restored. docs/internals/store.md describes the format (versioned; every block
// carries a checksum, and the end says how much there must be).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "skiff/store/log.hpp"

namespace skiff::store {

class Store;

struct SnapshotInfo {
  std::string path;
  int format = 0;
  std::string cluster;  // whose state it is: SnapshotOptions::cluster
  Revision revision = 0;
  WallTime time{};  // when it was taken
  std::uint64_t keys = 0;
  std::uint64_t bytes = 0;  // of the file
};

struct SnapshotOptions {
  std::string cluster;                   // identity written into the file
  std::shared_ptr<const Sealer> sealer;  // seals on save, opens on load; null: values as they are
};

// Writes the newest state to `path` (mode 0600): beside it first, then renamed over it, both
// synced, so that `path` is never half a snapshot. Online: readers and writers go on; the file is
// of one revision. A full disk leaves nothing behind.
Task<Result<SnapshotInfo>> save_snapshot(Env env, const Store& store, std::string path,
                                         SnapshotOptions options);

// Reads `path` to its end and checks everything; tells what it is. Blocks. The error says what is
// wrong with it (truncated, altered, newer format, not a snapshot).
Result<SnapshotInfo> check_snapshot(const std::string& path);

// The same, handing over every record. Blocks. `each` sees nothing when the file is not whole: it
// is checked first.
Result<SnapshotInfo> load_snapshot(const std::string& path, const SnapshotOptions& options,
                                   const std::function<void(Record)>& each);

}  // namespace skiff::store
