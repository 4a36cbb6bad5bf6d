#include "etcd_log.hpp"

namespace skiff::etcd {
namespace {

metrics::Registry& registry_of(const Env& env, metrics::Registry& own) {
  return env.metrics != nullptr ? *env.metrics : own;
}

}  // namespace

EtcdLog::EtcdLog(Env env, EtcdOptions options)
    : env_(env),
      options_(std::move(options)),
      gateway_(env, options_),
      codec_(options_.prefix, options_.sealer),
      connected_(registry_of(env, own_metrics_)
                     .gauge("skiff_etcd_connected", "1 while etcd answers and its watch runs.")),
      full_gauge_(registry_of(env, own_metrics_)
                      .gauge("skiff_etcd_full", "1 while etcd's database takes no writes.")),
      watches_(registry_of(env, own_metrics_)
                   .counter("skiff_etcd_watches_total", "Times the watch began or went on.")),
      read_anew_(registry_of(env, own_metrics_)
                     .counter("skiff_etcd_rereads_total", "Times everything was read anew.")),
      tasks_(env.executor) {}

store::Decider EtcdLog::decider() const {
  return online_ && !closed_ ? store::Decider::elsewhere : store::Decider::nobody;
}

Error EtcdLog::offline_error() const {
  const std::string why = closed_ ? "the store is closed" : problem_;
  return {Code::unavailable, "nothing was sent to etcd: " + why};
}

Task<Result<void>> EtcdLog::append(store::Records) {
  co_return Error{Code::internal, "etcd gives revisions itself: nothing can be appended"};
}

Task<Result<void>> EtcdLog::replace(Recovered, std::vector<store::Record>) {
  co_return Error{Code::bad_request,
                  "a snapshot cannot be put into etcd, which numbers revisions itself: restore it "
                  "with the sqlite datastore, or use etcdctl snapshot"};
}

Task<Result<EtcdLog::Recovered>> EtcdLog::replay(std::function<void(store::Record)> each) {
  SKIFF_CO_CHECK(co_await check_format());
  Listing listing;
  for (int tries = 0;; ++tries) {
    const store::Range all;
    auto read = co_await list(all, 0, 0);
    if (read) {
      listing = std::move(*read);
      break;
    }
    // Compacted while its pages were read.
    if (read.error().code != Code::expired || tries == 4) co_return read.error();
  }
  SKIFF_CO_CHECK(co_await find_compacted(listing.revision));
  for (store::Record& record : listing.records) each(std::move(record));
  next_ = listing.revision + 1;
  online_ = true;
  connected_.set(1);
  if (user_ != nullptr) tasks_.spawn("etcd watch", follow());
  if (options_.history > Duration::zero()) tasks_.spawn("etcd retention", retain());
  Recovered out;
  out.revision = listing.revision;
  out.compacted = compacted_;
  co_return out;
}

Task<Result<void>> EtcdLog::compact(Revision revision) {
  const std::string body = "{\"revision\":\"" + std::to_string(revision) + "\"}";
  const auto answer = co_await gateway_.call("/v3/kv/compaction", body);
  if (!answer && answer.error().code != Code::expired) co_return answer.error();
  compacted_ = std::max(compacted_, revision);
  co_return Result<void>();
}

// Barriers that come while a read is under way need one that begins after them: they share it.
Task<Result<Revision>> EtcdLog::barrier() {
  if (decider() == store::Decider::nobody) co_return offline_error();
  if (!next_round_) next_round_ = std::make_shared<Round>(env_.executor);
  const std::shared_ptr<Round> round = next_round_;
  if (!reading_) {
    reading_ = true;
    tasks_.spawn("etcd barrier", read_rounds());
  }
  while (!round->finished) co_await round->done.wait();
  co_return round->outcome;
}

Task<void> EtcdLog::read_rounds() {
  while (next_round_) {
    round_ = std::exchange(next_round_, nullptr);
    round_->outcome = co_await probe();
    round_->finished = true;
    round_->done.notify_all();
    round_.reset();
  }
  reading_ = false;
}

Task<Result<void>> EtcdLog::close() {
  closed_ = true;
  tasks_.cancel();
  co_await tasks_.join();
  const Error error{Code::unavailable, "the store was closed: not known whether it happened"};
  fail_waiting(error);
  for (const auto& round : {round_, next_round_}) {
    if (!round) continue;
    round->outcome = error;
    round->finished = true;
    round->done.notify_all();
  }
  co_return Result<void>();
}

Result<std::unique_ptr<store::Log>> open_etcd_log(Env env, EtcdOptions options) {
  SKIFF_CHECK(check_options(options));
  return std::unique_ptr<store::Log>(std::make_unique<EtcdLog>(env, std::move(options)));
}

}  // namespace skiff::etcd
