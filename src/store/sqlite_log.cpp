#include "sqlite_log.hpp"

#include <atomic>
#include <set>
#include <span>
#include <thread>

#include "sqlite_file.hpp"
#include "sqlite_open.hpp"

namespace skiff::store {
namespace {

constexpr int kWalPages = 400;                    // merged from here on
constexpr int kWalBehind = 4000;                  // steps wait for merging
constexpr int kWalMost = 16'000;                  // appends wait for it
constexpr int kLastPages = 64;                    // few enough to be merged while appends wait
constexpr int kPasses = 4;                        // of merging while writers go on
constexpr std::uint64_t kUnsynced = 256U << 10U;  // what steps may leave to the next append's sync
// Between steps that give back space, which nobody waits for: most of the time the processors are
// others', and a cut of the file is over before the next one.
constexpr Duration kRest = 500us;
constexpr std::size_t kSlice = 500;  // records looked up in one go

// Writing happens on one thread, in the order it was asked for; reading, and merging the
// write-ahead log, on another beside it. Members are used on the writer's thread unless marked.
class SqliteLog final : public Log {
 public:
  SqliteLog(Env env, SqliteOptions options, std::shared_ptr<Disk> disk)
      : env_(env),
        interval_(options.volatile_interval),
        noted_keys_(options.noted_keys),
        disk_(std::move(disk)),
        last_flush_(env.clock->now()) {}
  ~SqliteLog() override {
    stopping_ = true;
    thread_.join();
    side_.join();
  }

  Result<void> open(SqliteOptions options) {
    metrics::Registry* registry = env_.metrics;
    if (registry != nullptr) {
      disk_->bytes_counter = &registry->counter("skiff_store_bytes_written_total",
                                                "Bytes written to the database and its log.");
      disk_->sync_counter =
          &registry->counter("skiff_store_fsyncs_total", "Waits for the disk by the database.");
      size_ = &registry->gauge("skiff_store_db_bytes", "Size of the database file.");
      const auto now = std::chrono::duration<double>(env_.clock->wall().time_since_epoch());
      registry->gauge("skiff_store_opened_timestamp_seconds", "Since when bytes are counted.")
          .set(now.count());
      meter_ = std::make_unique<WriteMeter>(*registry);
    }
    SKIFF_TRY(file_, SqliteFile::open(std::move(options), disk_, meter_.get()));
    SKIFF_TRY(reader_, file_->reader());
    compacted_ = file_->compacted();
    show_size();
    return {};
  }

  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    // The next records are read and checked while these find their place in memory.
    using Batch = Result<std::vector<Record>>;
    Channel<Batch> batches(env_.executor, 2);
    TaskGroup reading(env_.executor);
    reading.spawn("store replay", read_ahead(&batches));
    std::optional<Error> failure;
    while (auto records = co_await batches.pop()) {
      if (!*records) failure = records->error();
      if (failure) continue;
      for (Record& record : **records) each(std::move(record));
    }
    co_await reading.join();
    if (failure) co_return *failure;
    co_return file_->recovered();
  }

  Task<Result<void>> append(Records records) override {
    const TimePoint now = env_.clock->now();
    const bool flush = now - last_flush_ >= interval_;
    if (flush) last_flush_ = now;
    auto job = [this, records = std::move(records), flush, wall = env_.clock->wall()] {
      now_ = wall;
      auto outcome = file_->append(*records, flush);
      // Behind this job in the queue: whoever waits for the append does not wait for it.
      if (outcome) look_after();
      return outcome;
    };
    co_return co_await thread_.run(std::move(job));
  }

  Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                            std::size_t limit) override {
    auto search = std::make_shared<SqliteReader::Search>();
    search->range = std::move(range);
    search->after = after;
    search->until = until;
    if (limit != 0) search->most = limit;
    std::vector<Record> all;
    if (after < compacted_) co_return expired(after);
    SKIFF_CO_CHECK(co_await look(search));
    search->keep(limit);
    SKIFF_CO_CHECK(co_await fetch(search, 0, &all));
    if (after < compacted_) co_return expired(after);
    co_return all;
  }
  Task<Result<std::vector<Record>>> state(Range range, Revision at, std::size_t limit) override {
    Pages pages(*this, std::move(range), at, limit == 0 ? SIZE_MAX : noted_keys_);
    co_return co_await pages.next(limit);
  }
  std::unique_ptr<StateReader> read_state(Range range, Revision at) override {
    return std::make_unique<Pages>(*this, std::move(range), at, noted_keys_);
  }
  Task<Result<std::vector<Record>>> superseded_by(std::vector<Record> records) override {
    std::vector<Record> all;
    for (std::size_t from = 0; from < records.size(); from += kSlice) {
      const std::span<const Record> some =
          std::span(records).subspan(from, std::min(kSlice, records.size() - from));
      auto job = [this, some] { return reader_->superseded_by(some); };
      auto found = co_await side_.run(std::move(job));
      if (!found) co_return found.error();
      std::move(found->begin(), found->end(), std::back_inserter(all));
    }
    co_return all;
  }
  Revision compacted() const override { return compacted_; }

  Task<Result<void>> replace(Recovered at, std::vector<Record> state) override {
    auto job = [this, at, state = std::move(state), wall = env_.clock->wall()] {
      now_ = wall;
      auto outcome = file_->replace(at, state);
      compacted_ = file_->compacted();
      if (outcome) look_after();
      return outcome;
    };
    co_return co_await thread_.run(std::move(job));
  }

  Task<Result<void>> sync() override {
    auto job = [this] { return file_->sync(); };
    co_return co_await thread_.run(std::move(job));
  }

  Task<Result<void>> compact(Revision revision) override {
    auto begin = [this, revision, wall = env_.clock->wall()] {
      now_ = wall;
      file_->forget(revision);
      compacted_ = file_->compacted();
      ++compacting_;
    };
    co_await thread_.run(std::move(begin));
    const Turn turn{this};
    for (bool more = true; more;) {
      auto job = [this]() -> Result<bool> {
        if (!file_->step_due(now_)) return false;
        SKIFF_TRY(const auto left, step());
        return left == SqliteFile::Left::versions;
      };
      const auto done = co_await thread_.run(std::move(job));
      if (!done) co_return done.error();
      more = *done;
      if (more && disk_->unsynced > kUnsynced) {
        auto sync = [this] { return reader_->sync_wal(); };
        SKIFF_CO_CHECK(co_await side_.run(std::move(sync)));
      }
    }
    co_return Result<void>();
  }

  Task<Result<void>> close() override {
    stopping_ = true;
    auto let_go = [this] { reader_.reset(); };
    co_await side_.run(std::move(let_go));
    auto job = [this] {
      auto outcome = file_->close();
      file_.reset();
      return outcome;
    };
    co_return co_await thread_.run(std::move(job));
  }

 private:
  // One who takes steps at a time: an append waits for one of them at most.
  struct Turn {
    SqliteLog* log;
    ~Turn() {
      log->thread_.post([log = log] {
        --log->compacting_;
        log->look_after();
      });
    }
  };

  Task<void> read_ahead(Channel<Result<std::vector<Record>>>* out) {
    for (bool more = true; more;) {
      auto job = [this] { return reader_->read(); };
      auto records = co_await side_.run(std::move(job));
      more = records && !records->empty();
      if (more || !records) co_await out->push(std::move(records));
    }
    out->close();
  }

  Error expired(Revision wanted) const {
    return {Code::expired, "revision " + std::to_string(wanted) +
                               " is too old: the oldest that is kept is " +
                               std::to_string(compacted_.load())};
  }

  using SearchPtr = std::shared_ptr<SqliteReader::Search>;

  Task<Result<void>> look(SearchPtr search) {
    for (;;) {
      auto job = [this, search] { return reader_->search(*search); };
      const auto done = co_await side_.run(std::move(job));
      if (!done) co_return done.error();
      if (*done) co_return Result<void>();
    }
  }
  // Adds to `out` what was found, as far as `limit` (0: all of it).
  Task<Result<void>> fetch(SearchPtr search, std::size_t limit, std::vector<Record>* out) {
    while (!search->newest.empty() || !search->found.empty()) {
      const std::size_t most = limit == 0 ? SIZE_MAX : limit - out->size();
      if (most == 0) break;
      auto job = [this, search, most] { return reader_->fetch(*search, most); };
      auto some = co_await side_.run(std::move(job));
      if (!some) co_return some.error();
      std::move(some->begin(), some->end(), std::back_inserter(*out));
    }
    co_return Result<void>();
  }

  // Part of the range after part, each looked for once.
  class Pages final : public StateReader {
   public:
    Pages(SqliteLog& log, Range range, Revision at, std::size_t most)
        : log_(log),
          rest_(std::move(range)),
          at_(at),
          most_(most),
          place_(log.readers_.insert(at)) {
      log_.hold();
    }
    ~Pages() override {
      log_.readers_.erase(place_);
      log_.hold();
    }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    Task<Result<std::vector<Record>>> next(std::size_t limit) override {
      std::vector<Record> all;
      if (at_ < log_.compacted_) co_return log_.expired(at_);
      while (!done_ && (limit == 0 || all.size() < limit)) {
        if (!part_) {
          part_ = std::make_shared<SqliteReader::Search>();
          part_->range = rest_;
          part_->until = at_;
          part_->state = true;
          part_->most = most_;
          SKIFF_CO_CHECK(co_await log_.look(part_));
          part_->keep(0);
        }
        SKIFF_CO_CHECK(co_await log_.fetch(part_, limit, &all));
        if (!part_->newest.empty()) continue;
        done_ = part_->range.end == rest_.end;
        rest_.begin = part_->range.end;
        part_.reset();
      }
      // What was given up meanwhile may be missing.
      if (at_ < log_.compacted_) co_return log_.expired(at_);
      co_return all;
    }

   private:
    SqliteLog& log_;
    Range rest_;
    Revision at_;
    std::size_t most_;
    std::multiset<Revision>::iterator place_;
    SearchPtr part_;
    bool done_ = false;
  };

  void hold() {
    const Revision oldest = readers_.empty() ? 0 : *readers_.begin();
    thread_.post([this, oldest] {
      if (file_) file_->hold(oldest);
    });
  }

  void look_after() {
    if (!file_ || stopping_) return;
    merge_when_due();
    if (!step_posted_ && compacting_ == 0 && file_->step_due(now_)) post_step();
  }

  void post_step() {
    step_posted_ = true;
    thread_.post([this] { step_on(); });
  }
  Result<SqliteFile::Left> step() {
    // Steps keep a processor busy, and a loop that was just told of its append may be queued on it.
    std::this_thread::yield();
    auto left = file_->step(now_);
    compacted_ = file_->compacted();
    merge_when_due();
    return left;
  }
  void step_on() {
    step_posted_ = false;
    if (!file_ || stopping_ || compacting_ > 0) return;
    const auto left = step();
    if (!left) {
      complain("superseded versions could not be put away; will try again", left.error());
      return;  // until the next append
    }
    const bool behind = merging_ && file_->wal_pages() > kWalBehind;
    if (*left == SqliteFile::Left::nothing || behind) return;
    const bool syncs = disk_->unsynced > kUnsynced;
    const bool rests = *left == SqliteFile::Left::space;
    if (!syncs && !rests) return post_step();
    step_posted_ = true;
    auto go_on = [this, syncs] {
      // So that no append has to wait for much that is not its own to reach the disk.
      if (syncs && reader_) (void)reader_->sync_wal();  // a failure shows at the next append
      thread_.post([this] { step_on(); });
    };
    side_.post_after(rests ? kRest : Duration::zero(), std::move(go_on));
  }

  void merge_when_due() {
    if (file_->wal_pages() < kWalPages && !file_->cut_due()) return;
    if (file_->wal_pages() >= kWalMost) {
      finish_merging();
    } else if (!merging_) {
      passes_ = 0;
      merge_aside();
    }
  }
  void merge_aside() {
    merging_ = true;
    merges_aside(true);
    ++passes_;
    side_.post([this] {
      if (!reader_) return merges_aside(false);
      auto merged = reader_->checkpoint();
      merges_aside(false);
      thread_.post([this, merged = std::move(merged)] { merged_aside(merged); });
    });
  }
  void merges_aside(bool now) {
    aside_ = now;
    aside_.notify_all();
  }
  void merged_aside(const Result<Connection::Merged>& merged) {
    merging_ = false;
    if (!file_ || stopping_) return;
    if (!merged) return complain(kNotMerged, merged.error());
    // Only when nothing is left does the log begin anew, and writers may have gone on.
    const int left = file_->wal_pages() - merged->merged;
    if (left > kLastPages && passes_ < kPasses) return merge_aside();
    if (left > 0) {
      finish_merging();
    } else {
      file_->all_merged();
    }
    complained_ = false;
    show_size();
    look_after();
  }
  void finish_merging() {
    aside_.wait(true);  // SQLite merges one at a time
    const auto merged = file_->checkpoint();
    if (!merged) complain(kNotMerged, merged.error());
  }

  // Once, until something works again.
  void complain(const char* what, const Error& error) {
    if (!std::exchange(complained_, true)) log::warn("store", what, {{"error", error}});
  }
  void show_size() {
    if (size_ != nullptr) size_->set(static_cast<double>(file_->size_in_bytes()));
  }

  static constexpr const char* kNotMerged =
      "the write-ahead log could not be merged; will try again";

  Env env_;
  Duration interval_;
  std::size_t noted_keys_;
  std::shared_ptr<Disk> disk_;
  TimePoint last_flush_;             // the loop's
  std::multiset<Revision> readers_;  // the loop's: states that are being read
  std::unique_ptr<WriteMeter> meter_;
  std::unique_ptr<SqliteFile> file_;
  std::unique_ptr<SqliteReader> reader_;  // the other thread's
  metrics::Gauge* size_ = nullptr;
  WallTime now_{};  // of the last append
  bool step_posted_ = false;
  int compacting_ = 0;  // calls of compact() that take the steps
  bool merging_ = false;
  bool complained_ = false;
  int passes_ = 0;
  std::atomic<Revision> compacted_{0};  // any thread's
  std::atomic<bool> stopping_{false};   // any thread's
  std::atomic<bool> aside_{false};      // any thread's: the other thread merges, or is about to
  BlockingPool side_{1};
  BlockingPool thread_{1};
};

}  // namespace

Result<std::unique_ptr<Log>> open_sqlite_log_on(Env env, SqliteOptions options,
                                                std::shared_ptr<Disk> disk) {
  if (const auto network = network_filesystem_of(options.path); !network.empty()) {
    log::warn("store",
              "the database is on a network filesystem: two servers may not notice each "
              "other, and a lost connection stops writes; use a local disk",
              {{"path", options.path}, {"filesystem", network}});
  }
  auto log = std::make_unique<SqliteLog>(env, options, std::move(disk));
  SKIFF_CHECK(log->open(std::move(options)));
  return std::unique_ptr<Log>(std::move(log));
}

Result<std::unique_ptr<Log>> open_sqlite_log(Env env, SqliteOptions options) {
  return open_sqlite_log_on(env, std::move(options), std::make_shared<Disk>());
}

}  // namespace skiff::store
