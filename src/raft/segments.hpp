// Entries on disk: files ("segments") of records, each written with one pwrite and one fdatasync at
// the end of the newest. Blocking; one thread. docs/internals/raft.md describes the format.
//
// A record that is cut short can only be the last one, and was never acknowledged: it is dropped.
// Everything else that is damaged is told. Segments keep their size and are used again, so that
// a write changes no metadata of the file system and costs the disk little more than itself.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>

#include "records.hpp"

namespace skiff::raft {

std::string encode_batch(const Entries::Batch& batch);
Result<Entries::Batch> decode_batch(std::string_view bytes);
// What remains after `batch`. False when it does not fit to what there is.
bool apply_batch(Entries::Loaded& loaded, Entries::Batch batch);

class Segments {
 public:
  // Told of every write and sync.
  struct Meter {
    std::function<void(std::size_t)> wrote = [](std::size_t) {};
    std::function<void()> synced = [] {};
  };
  static Result<std::unique_ptr<Segments>> open(EntriesOptions options, Meter meter);
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;
  ~Segments();

  Result<Entries::Loaded> load();
  Result<void> write(const Entries::Batch& batch);

 private:
  struct Segment {
    std::uint64_t seq = 0;
    Index newest = 0;     // highest index of an entry in it
    std::size_t end = 0;  // where its records end
  };
  Segments(EntriesOptions options, Meter meter)
      : options_(std::move(options)), meter_(std::move(meter)) {}
  std::string path(std::uint64_t seq) const;
  Result<void> list();
  Result<std::string> read_file(const std::string& path) const;
  Result<bool> read_segment(Segment& segment, bool newest, std::size_t& previous_end,
                            Entries::Loaded& loaded);
  Result<void> begin_segment(std::size_t room);
  Result<int> spare_file(std::size_t bytes);
  Result<void> put(std::string_view bytes, std::size_t at);
  Result<void> sync_directory();
  void remember(const Entries::Batch& batch);
  void drop_old();

  EntriesOptions options_;
  Meter meter_;
  int lock_ = -1;
  int file_ = -1;  // of segments_.back()
  std::size_t capacity_ = 0;
  bool tainted_ = false;  // a sync failed: nothing more is trusted to this file
  std::deque<Segment> segments_;
  HardState state_;
  SnapshotMark mark_;
  Index keep_from_ = 0;
  Index committed_ = 0;
};

}  // namespace skiff::raft
