#include "disk_entries.hpp"

#include <algorithm>

namespace skiff::sim {
namespace {

using raft::Entries;
using raft::Index;

// The first `parts` parts of a batch: state, snapshot, then entry by entry.
void apply(Entries::Loaded& to, const Entries::Batch& batch, std::size_t parts) {
  if (parts == 0) return;
  if (batch.state) to.state = *batch.state;
  if (--parts == 0) return;
  if (batch.snapshot) {
    to.snapshot = *batch.snapshot;
    if (batch.restart) {
      to.entries.clear();
      to.first = batch.snapshot->index + 1;
    }
  }
  if (batch.keep_from > to.first) {
    const auto n = std::min<std::size_t>(to.entries.size(), batch.keep_from - to.first);
    to.entries.erase(to.entries.begin(), to.entries.begin() + static_cast<std::ptrdiff_t>(n));
    to.first = batch.keep_from;
  }
  if (--parts == 0) return;
  if (!batch.entries.empty()) {
    if (to.entries.empty() && batch.first > to.first) to.first = batch.first;
    if (batch.first < to.first || batch.first > to.first + to.entries.size()) {
      to.entries.clear();  // DiskEntries complains
      to.first = batch.first;
    }
    to.entries.resize(batch.first - to.first);
    const std::size_t n = std::min(parts, batch.entries.size());
    to.entries.insert(to.entries.end(), batch.entries.begin(),
                      batch.entries.begin() + static_cast<std::ptrdiff_t>(n));
    if (n < batch.entries.size()) return;
  }
  to.committed = std::max(to.committed, batch.committed);
}

std::size_t parts_of(const Entries::Batch& batch) { return 3 + batch.entries.size(); }

class DiskEntries final : public Entries {
 public:
  DiskEntries(Disk& disk, EntriesFile& file, LifePtr life)
      : disk_(disk), file_(file), life_(std::move(life)) {}

  Task<Result<Loaded>> load() override {
    const auto read = co_await disk_.read(life_);
    if (!read) co_return read.error();
    co_return file_.stable;
  }

  Task<Result<void>> write(Batch batch) override {
    if (writing_) disk_.world().violation("entries", "a write before the one before has ended");
    writing_ = true;
    const Loaded& has = file_.stable;
    const bool begins = has.entries.empty() || (batch.snapshot && batch.restart);
    if (life_->alive && !batch.entries.empty() && !begins &&
        (batch.first < has.first || batch.first > has.first + has.entries.size())) {
      disk_.world().violation("entries", "they are written with a gap between them");
    }
    if (life_->alive) file_.torn = batch;
    auto written = co_await disk_.write(life_, true);
    writing_ = false;
    if (!life_->alive) co_return written;
    file_.torn.reset();
    std::size_t parts = parts_of(batch);
    if (!written) parts = disk_.dice().below(parts);
    apply(file_.stable, batch, parts);
    co_return written;
  }

  Task<Result<void>> close() override { co_return Result<void>(); }

 private:
  Disk& disk_;
  EntriesFile& file_;
  LifePtr life_;
  bool writing_ = false;
};

}  // namespace

void EntriesFile::crash(World& world, Dice& dice, int host) {
  if (!torn) return;
  const std::size_t parts = dice.below(parts_of(*torn) + 1);
  world.note("crash-entries", host, static_cast<std::int64_t>(parts),
             static_cast<std::int64_t>(torn->entries.size()));
  if (parts < parts_of(*torn)) world.count(Count::lost_writes);
  apply(stable, *torn, parts);
  torn.reset();
}

std::unique_ptr<raft::Entries> make_disk_entries(Disk& disk, EntriesFile& file, LifePtr life) {
  return std::make_unique<DiskEntries>(disk, file, std::move(life));
}

}  // namespace skiff::sim
