#include "segments.hpp"

namespace skiff::raft {
namespace {

// A thread of its own: a write never waits for somebody else's blocking call.
class DiskEntries final : public Entries {
 public:
  DiskEntries(Env env, EntriesOptions options) : env_(env), options_(std::move(options)) {}

  Task<Result<Loaded>> load() override {
    auto job = [this]() -> Result<Loaded> {
      SKIFF_TRY(segments_, Segments::open(options_, meter()));
      return segments_->load();
    };
    co_return co_await thread_.run(std::move(job));
  }

  Task<Result<void>> write(Batch batch) override {
    auto job = [this, batch = std::move(batch)]() -> Result<void> {
      if (!segments_) return Error{Code::unavailable, "raft's entries are closed"};
      return segments_->write(batch);
    };
    co_return co_await thread_.run(std::move(job));
  }

  Task<Result<void>> close() override {
    auto job = [this]() -> Result<void> {
      segments_.reset();
      return {};
    };
    co_return co_await thread_.run(std::move(job));
  }

 private:
  Segments::Meter meter() {
    Segments::Meter out;
    if (env_.metrics == nullptr) return out;
    auto& bytes = env_.metrics->counter("skiff_raft_bytes_written_total",
                                        "Bytes written to the entries of the shared log.");
    auto& syncs =
        env_.metrics->counter("skiff_raft_fsyncs_total", "Waits for the disk by the shared log.");
    out.wrote = [&bytes](std::size_t n) { bytes.add(static_cast<double>(n)); };
    out.synced = [&syncs] { syncs.add(); };
    return out;
  }

  Env env_;
  EntriesOptions options_;
  std::unique_ptr<Segments> segments_;  // used on the thread only
  BlockingPool thread_{1};              // joined before the above goes
};

}  // namespace

Result<std::unique_ptr<Entries>> open_raft_entries(Env env, EntriesOptions options) {
  if (options.directory.empty() || options.segment_bytes < 4096) {
    return Error{Code::invalid, "raft's entries need a directory and files of at least 4096 bytes"};
  }
  return std::unique_ptr<Entries>(std::make_unique<DiskEntries>(env, std::move(options)));
}

}  // namespace skiff::raft
