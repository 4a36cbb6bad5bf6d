// Snapshots of a server's store: taken on a schedule or when asked for, and made a database again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "skiff/apiserver/apiserver.hpp"
#include "skiff/store/snapshot.hpp"
#include "skiff/store/store.hpp"

namespace skiff::app {

struct KeeperOptions {
  std::string directory;
  Duration every{};      // 0: none are taken unless asked for
  std::size_t keep = 5;  // the newest so many; older ones go once a newer one proved whole
};

// Takes a server's snapshots, one at a time, into files named by their time:
// skiff-20261124T101500Z-r1234.snapshot. Touches no other files of the directory.
class SnapshotKeeper final : public apiserver::Backups {
 public:
  // Writes the newest state to `path` (store::save_snapshot).
  using Save = std::function<Task<Result<store::SnapshotInfo>>(std::string path)>;
  using Newest = std::function<store::Revision()>;
  SnapshotKeeper(Env env, KeeperOptions options, Save save, Newest newest);

  Task<Result<store::SnapshotInfo>> take(bool aside) override;
  Task<Result<api::Value>> report() override;

  // The schedule, until cancelled. It goes on where the files' times say that an earlier process
  // left it. Nothing is written while nothing changes; after a failure (a full disk) it is tried
  // again after a while, with everything older still in place.
  Task<void> run();

 private:
  Task<Result<store::SnapshotInfo>> take_one(std::string path, bool kept);
  Task<Duration> first_wait();

  Env env_;
  KeeperOptions options_;
  Save save_;
  Newest newest_;
  bool busy_ = false;
  Signal idle_;
  store::Revision last_ = 0;  // of the last that was kept
  WallTime last_time_{};
  std::string trouble_;  // why the last attempt failed
};

// Snapshot files in `directory` that a keeper wrote, oldest first. Blocks.
std::vector<std::string> kept_snapshots(const std::string& directory);
// One line of `skiff snapshot ls` for every *.snapshot file, each read to its end. Blocks.
Result<api::Value> describe_snapshots(const std::string& directory);

// A new database at options.path holding `records` (any order), whose numbering goes on above
// `above`: watches and continue tokens of clients that knew another history expire. Nothing may be
// at options.path. Closed when this resolves.
Task<Result<void>> build_database(Env env, store::SqliteOptions options,
                                  std::vector<store::Record> records, store::Revision above);

// Moves a database and what belongs to it aside, as NAME.replaced-TIME; the new name. Blocks.
Result<std::string> set_aside(const std::string& database, WallTime now);

}  // namespace skiff::app
