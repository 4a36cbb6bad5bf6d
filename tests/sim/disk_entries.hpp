// Raft's entries on a simulated disk.
#pragma once

#include <functional>
#include <memory>

#include "host.hpp"
#include "skiff/raft/raft.hpp"

namespace skiff::sim {

// What is on the disk. A crash in the middle of a write, or one that fails, leaves some of it.
struct EntriesFile {
  raft::Entries::Loaded stable;
  std::optional<raft::Entries::Batch> torn;  // being written

  void crash(World& world, Dice& dice, int host);
};

std::unique_ptr<raft::Entries> make_disk_entries(Disk& disk, EntriesFile& file, LifePtr life);

}  // namespace skiff::sim
