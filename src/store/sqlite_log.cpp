#include "sqlite_log.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include "sqlite_file.hpp"

namespace skiff::store {
namespace {

// All work on the file happens on one thread, in the order it was asked for.
class SqliteLog final : public Log {
 public:
  SqliteLog(Env env, SqliteOptions options, std::unique_ptr<SqliteFile> file, metrics::Gauge* size)
      : env_(env),
        interval_(options.volatile_interval),
        last_flush_(env.clock->now()),
        file_(std::move(file)),
        size_(size) {
    show_size();
  }
  ~SqliteLog() override { thread_.join(); }

  Task<Result<Recovered>> replay(std::function<void(Record)> each) override {
    const Recovered recovered = file_->recovered();
    Revision after = 0;
    for (;;) {
      auto job = [file = file_.get(), after] { return file->read(after); };
      auto records = co_await run(std::move(job));
      if (!records) co_return records.error();
      if (records->empty()) break;
      after = records->back().item->modified;
      for (Record& record : *records) each(std::move(record));
    }
    co_return recovered;
  }

  Task<Result<void>> append(Records records) override {
    const TimePoint now = env_.clock->now();
    const bool flush = now - last_flush_ >= interval_;
    if (flush) last_flush_ = now;
    auto job = [this, records = std::move(records), flush] {
      auto outcome = file_->append(*records, flush);
      // Behind this job in the queue: whoever waits for the append does not wait for it.
      if (outcome && file_->checkpoint_due()) asio::post(thread_, [this] { checkpoint(); });
      return outcome;
    };
    co_return co_await run(std::move(job));
  }

  Task<Result<std::vector<Record>>> history(Range, Revision, Revision, std::size_t) override {
    co_return Error{Code::expired, "not kept"};
  }
  Task<Result<std::vector<Record>>> state(Range, Revision, std::size_t) override {
    co_return Error{Code::expired, "not kept"};
  }
  Revision compacted() const override { return std::numeric_limits<Revision>::max(); }
  Task<Result<void>> sync() override { co_return Result<void>(); }

  Task<Result<void>> compact(Revision revision) override {
    auto is_due = [file = file_.get(), revision] { return file->compact_due(revision); };
    bool more = co_await run(std::move(is_due));
    while (more) {
      auto job = [this, revision] {
        auto step = file_->compact_step(revision);
        if (step && file_->checkpoint_due()) asio::post(thread_, [this] { checkpoint(); });
        return step;
      };
      const auto step = co_await run(std::move(job));
      if (!step) co_return step.error();
      more = *step;
    }
    co_return Result<void>();
  }

  Task<Result<void>> close() override {
    auto job = [this] {
      auto outcome = file_->close();
      file_.reset();
      return outcome;
    };
    co_return co_await run(std::move(job));
  }

 private:
  template <class F>
  Task<std::invoke_result_t<F>> run(F function) {
    co_return co_await asio::co_spawn(thread_.get_executor(), call(std::move(function)),
                                      asio::use_awaitable);
  }
  template <class F>
  static Task<std::invoke_result_t<F>> call(F function) {
    co_return function();
  }

  // On the thread.
  void checkpoint() {
    if (!file_ || !file_->checkpoint_due()) return;
    if (const auto done = file_->checkpoint(); !done) {
      log::warn("store", "the write-ahead log could not be merged; will try again",
                {{"error", done.error()}});
    }
    show_size();
  }
  void show_size() {
    if (size_ != nullptr) size_->set(static_cast<double>(file_->size_in_bytes()));
  }

  Env env_;
  Duration interval_;
  TimePoint last_flush_;
  std::unique_ptr<SqliteFile> file_;
  metrics::Gauge* size_;
  asio::thread_pool thread_{1};
};

}  // namespace

Result<std::unique_ptr<Log>> open_sqlite_log_on(Env env, SqliteOptions options,
                                                std::shared_ptr<Disk> disk) {
  metrics::Gauge* size = nullptr;
  if (env.metrics != nullptr) {
    disk->bytes_counter = &env.metrics->counter("skiff_store_bytes_written_total",
                                                "Bytes written to the database and its log.");
    disk->sync_counter =
        &env.metrics->counter("skiff_store_fsyncs_total", "Waits for the disk by the database.");
    size = &env.metrics->gauge("skiff_store_db_bytes", "Size of the database file.");
  }
  SKIFF_TRY(auto file, SqliteFile::open(options, std::move(disk)));
  return std::unique_ptr<Log>(std::make_unique<SqliteLog>(env, options, std::move(file), size));
}

Result<std::unique_ptr<Log>> open_sqlite_log(Env env, SqliteOptions options) {
  return open_sqlite_log_on(env, std::move(options), std::make_shared<Disk>());
}

}  // namespace skiff::store
