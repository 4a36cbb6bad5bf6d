// The Log over etcd. Reading, writing and following are told in files of their own.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec.hpp"
#include "gateway.hpp"

namespace skiff::etcd {

class EtcdLog final : public store::Log {
 public:
  EtcdLog(Env env, EtcdOptions options);

  Task<Result<Recovered>> replay(std::function<void(store::Record)> each) override;
  Task<Result<void>> append(store::Records records) override;
  Task<Result<std::vector<store::Record>>> history(store::Range range, Revision after,
                                                   Revision until, std::size_t limit) override;
  Task<Result<std::vector<store::Record>>> state(store::Range range, Revision at,
                                                 std::size_t limit) override;
  Revision compacted() const override { return compacted_; }
  Task<Result<void>> compact(Revision revision) override;
  Task<Result<void>> sync() override { co_return Result<void>(); }  // an answer says it is on disk
  Task<Result<void>> close() override;

  void attach(store::LogUser& user) override { user_ = &user; }
  store::Decider decider() const override;
  Task<std::vector<Result<Revision>>> forward(std::vector<store::Op> ops) override;
  Task<Result<Revision>> barrier() override;
  Task<Result<void>> replace(Recovered at, std::vector<store::Record> state) override;

 private:
  // --- etcd_read.cpp
  struct Listing {
    Revision revision = 0;
    std::vector<store::Record> records;
  };
  // `at` 0: the newest.
  Task<Result<Listing>> list(store::Range range, Revision at, std::size_t limit);
  Task<Result<void>> check_format();
  // What stands under `key`, after `value` was put there if nothing did.
  Task<Result<std::string>> claim(std::string key, std::string value);
  Task<Result<void>> find_compacted(Revision newest);
  Task<Result<bool>> readable(Revision at);
  Task<Error> as_expired(Error error);
  Task<Result<Revision>> newest_until(Revision until);
  Task<Result<std::vector<store::Record>>> key_history(std::string key, Revision after,
                                                       Revision until);
  Task<Result<std::vector<store::Record>>> range_history(store::Range range, Revision after,
                                                         Revision until, std::size_t limit);
  Task<Result<store::Record>> erased_at(Revision at);

  // --- etcd_write.cpp
  struct Call {  // one forward()
    Call(Executor executor, std::size_t jobs) : left(jobs), done(std::move(executor)) {}
    std::size_t left;
    Signal done;
  };
  struct Job {
    store::Op op;
    std::shared_ptr<Call> call;
    std::shared_ptr<Job> next;  // of the same key and call: begins when this one is decided
    Result<Revision> verdict = Revision{0};
  };
  using JobPtr = std::shared_ptr<Job>;
  struct Known {  // of a key
    bool exists = false;
    Revision created = 0;
    Revision modified = 0;
    std::optional<Envelope> envelope;
  };
  struct Written {
    Revision revision = 0;  // 0: the key was not as expected
    Known found;
  };
  Task<void> work();
  void finish(const JobPtr& job, Result<Revision> verdict);
  void fail_waiting(const Error& error);
  Task<Result<Revision>> decide(JobPtr job);
  Task<Result<Known>> look_at(std::string key, bool with_value);
  Task<Result<Written>> write(JobPtr job, Known known);
  Task<Result<Revision>> own_write(std::string key, bool erase, std::uint64_t write_id);
  Result<void> take_over(Envelope& tombstone, const store::Op& op, const Known& known) const;

  // --- etcd_follow.cpp
  Task<void> follow();
  Task<Error> follow_once();
  Task<Result<Revision>> probe();
  Task<Result<void>> check_instance();
  Error replaced(const std::string& how);
  Task<Result<void>> start_over();
  Result<void> take(const WatchAnswer& answer, Folder& folder);
  void set_online(bool online, const Error* problem);
  void set_full(bool full);
  Error offline_error() const;
  Task<void> read_rounds();
  Task<void> retain();
  Task<Result<void>> retain_from(Revision target);

  Env env_;
  const EtcdOptions options_;
  Gateway gateway_;
  Codec codec_;
  store::LogUser* user_ = nullptr;

  metrics::Registry own_metrics_;  // where nobody asks
  metrics::Gauge& connected_;
  metrics::Gauge& full_gauge_;
  metrics::Counter& watches_;
  metrics::Counter& read_anew_;

  bool online_ = false;
  bool followed_ = false;  // the watch that runs, or ran last, had begun
  bool asked_ = false;     // and ended because etcd, asked just then, did not answer
  bool closed_ = false;
  bool full_ = false;    // as the last write said
  std::string problem_;  // what was said last of being offline
  std::string cluster_;
  std::string instance_;
  std::optional<Error> replaced_;  // etcd is another: for good
  Revision next_ = 0;              // everything before was delivered
  Revision compacted_ = 0;

  std::deque<JobPtr> queue_;
  std::vector<JobPtr> working_;
  std::size_t queued_jobs_ = 0;  // in queue_, working_ and behind those
  std::size_t queued_bytes_ = 0;
  std::size_t workers_ = 0;

  struct Round {  // barriers that share a read
    explicit Round(Executor executor) : done(std::move(executor)) {}
    bool finished = false;
    Result<Revision> outcome = Revision{0};
    Signal done;
  };
  std::shared_ptr<Round> next_round_;
  std::shared_ptr<Round> round_;
  bool reading_ = false;

  TaskGroup tasks_;
};

}  // namespace skiff::etcd
