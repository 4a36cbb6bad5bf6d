// Leadership: one key, put there under a lease by the first who finds it free. etcd deletes it when
// the lease runs out, and a server that could not renew in time stops believing before that. Who
// stands has a lease too, and under it a key that tells the others of him.
#include <algorithm>

#include "codec.hpp"
#include "gateway.hpp"
#include "skiff/base/log.hpp"

namespace skiff::etcd {
namespace {

constexpr Duration kLongestPause = 1s;  // between attempts: what an outage of etcd costs at its end

// Refusals that no waiting mends.
bool is_final(const Error& error) {
  return error.code == Code::unauthorized || error.code == Code::forbidden;
}

class EtcdElection final : public Election {
 public:
  EtcdElection(Env env, EtcdOptions options, std::string candidate, std::string about)
      : env_(env),
        options_(std::move(options)),
        candidate_(std::move(candidate)),
        about_(std::move(about)),
        keys_(options_.prefix),
        gateway_(env, options_),
        changed_(env.executor),
        tasks_(env.executor) {}

  Task<Result<void>> campaign() override;
  bool leads() const override { return lease_ != 0 && env_.clock->now() < until_; }
  Task<void> lost() override;
  std::string leader() const override { return leader_; }
  Task<Result<std::vector<Candidate>>> candidates() override;
  Task<void> close() override;

 private:
  Task<Result<bool>> stand();
  Task<Result<Duration>> take_lease();
  Task<Result<void>> wait_for_end(Revision after);
  Task<Result<Duration>> renew(std::int64_t lease);
  Task<void> keep();
  Task<void> revoke(std::int64_t lease);

  Env env_;
  const EtcdOptions options_;
  const std::string candidate_;
  const std::string about_;
  const Keys keys_;
  Gateway gateway_;
  std::string leader_;
  Revision seen_ = 0;       // when the key was found taken
  std::int64_t lease_ = 0;  // while it holds the key
  std::int64_t spare_ = 0;  // granted, but the key was taken
  TimePoint until_{};       // when the lease may have run out
  Signal changed_;
  TaskGroup tasks_;
};

Task<Result<void>> EtcdElection::campaign() {
  Duration pause = options_.backoff;
  std::string said;
  for (;;) {
    if (leads()) co_return Result<void>();
    co_await tasks_.join();  // of a leadership that is over
    // Joining makes deaf to cancellation, for good; whoever stands must be able to give up.
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    auto won = co_await stand();
    if (won && *won) {
      log::info("etcd", "this server leads", {{"name", candidate_}});
      tasks_.spawn("etcd lease", keep());
      co_return Result<void>();
    }
    Result<void> waited;
    if (won) waited = co_await wait_for_end(seen_ + 1);
    std::optional<Error> problem;
    if (!won) problem = won.error();
    if (!waited) problem = waited.error();
    if (!problem) {
      pause = options_.backoff;
      continue;
    }
    if (is_final(*problem)) co_return *problem;
    if (said != problem->message) {
      said = problem->message;
      log::warn("etcd", "cannot stand for leader now; will try again", {{"error", *problem}});
    }
    gateway_.move_on();
    co_await env_.clock->sleep_for(pause);
    pause = std::min<Duration>(pause * 2, kLongestPause);
  }
}

// A new spare lease, for how long, with this server's own key under it.
Task<Result<Duration>> EtcdElection::take_lease() {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.lease).count();
  std::string body = "{\"TTL\":\"" + std::to_string(seconds) + "\"}";
  auto answer = co_await gateway_.call("/v3/lease/grant", std::move(body));
  if (!answer) co_return answer.error();
  const auto id = read_int(*answer, "ID");
  const auto given = read_int(*answer, "TTL");
  if (!id || !given || *id == 0 || *given <= 0 || *given > 1'000'000) {
    co_return Error{Code::invalid, "etcd's answer is malformed: no lease"};
  }
  body = put_body(keys_.servers + candidate_, about_, *id);
  answer = co_await gateway_.call("/v3/kv/put", std::move(body));
  if (!answer) co_return answer.error();
  spare_ = *id;
  co_return Duration(std::chrono::seconds(*given));
}

// One attempt: a lease, and the key with it if it is free.
Task<Result<bool>> EtcdElection::stand() {
  const TimePoint begun = env_.clock->now();
  Duration ttl{};
  if (spare_ != 0) {
    const auto renewed = co_await renew(spare_);
    if (renewed) ttl = *renewed;
    if (ttl <= Duration::zero()) spare_ = 0;
  }
  if (spare_ == 0) {
    const auto taken = co_await take_lease();
    if (!taken) co_return taken.error();
    ttl = *taken;
  }
  TxnRequest txn(keys_.leader, 0);
  txn.put(keys_.leader, candidate_, spare_).otherwise({keys_.leader});
  const auto answer = co_await gateway_.call("/v3/kv/txn", std::move(txn).body());
  if (!answer) co_return answer.error();
  const auto read = read_txn(*answer);
  if (!read) co_return read.error();
  seen_ = read->revision;
  bool won = read->succeeded;
  if (!won && !read->ranges.empty() && !read->ranges[0].kvs.empty()) {
    leader_ = read->ranges[0].kvs[0].value.substr(0, 253);
  }
  if (won) {
    leader_ = candidate_;
    lease_ = std::exchange(spare_, 0);
    until_ = begun + ttl;
    won = leads();
  }
  co_return won;
}

// Resolves when the leader's key was deleted, and now and then without that: who looks again in
// vain has renewed his spare lease.
Task<Result<void>> EtcdElection::wait_for_end(Revision after) {
  const std::string body = watch_body(keys_.leader, keys_.leader + '\0', after);
  auto lines = co_await gateway_.open("/v3/watch", body);
  if (!lines) co_return lines.error();
  const TimePoint look_again = env_.clock->now() + options_.lease * 2 / 3;
  while (env_.clock->now() < look_again) {
    const auto line = co_await (*lines)->next(look_again - env_.clock->now());
    if (!line && line.error().code == Code::timeout) break;
    if (!line) co_return line.error();
    const auto answer = read_watch(*line);
    if (!answer) co_return answer.error();
    if (answer->canceled) break;
    for (const WatchEvent& event : answer->events) {
      if (event.erase) co_return Result<void>();
    }
  }
  co_return Result<void>();
}

// How long the lease now lives from before the request; zero: it is gone.
Task<Result<Duration>> EtcdElection::renew(std::int64_t lease) {
  const std::string body = "{\"ID\":\"" + std::to_string(lease) + "\"}";
  const auto answer = co_await gateway_.call("/v3/lease/keepalive", body);
  if (!answer) co_return answer.error();
  const auto ttl = read_int((*answer)["result"], "TTL");
  if (!ttl || *ttl > 1'000'000)
    co_return Error{Code::invalid, "etcd's answer is malformed: no TTL"};
  co_return Duration(std::chrono::seconds(std::max<std::int64_t>(*ttl, 0)));
}

Task<void> EtcdElection::keep() {
  while (leads()) {
    const Duration left = until_ - env_.clock->now();
    co_await env_.clock->sleep_for(std::min(left, options_.lease / 3));
    const TimePoint begun = env_.clock->now();
    if (begun >= until_) break;
    Task<Result<Duration>> asking = renew(lease_);
    const auto ttl = co_await with_timeout(*env_.clock, until_ - begun, std::string("etcd's lease"),
                                           std::move(asking));
    if (ttl && *ttl <= Duration::zero()) break;
    if (ttl) until_ = std::max(until_, begun + *ttl);
    if (!ttl) log::warn("etcd", "cannot renew the leader's lease", {{"error", ttl.error()}});
  }
  lease_ = 0;
  log::warn("etcd", "this server leads no more", {{"name", candidate_}});
  changed_.notify_all();
}

Task<Result<std::vector<Candidate>>> EtcdElection::candidates() {
  RangeRequest request{keys_.leader};
  const auto leader = co_await gateway_.probe(request);
  if (!leader) co_return leader.error();
  const std::string leads = leader->kvs.empty() ? "" : leader->kvs[0].value;
  request.key = keys_.servers;
  request.end = store::Range::prefix(keys_.servers).end;
  const auto all = co_await gateway_.probe(request);
  if (!all) co_return all.error();
  std::vector<Candidate> out;
  for (const KeyValue& kv : all->kvs) {
    if (!kv.key.starts_with(keys_.servers)) continue;
    Candidate one{kv.key.substr(keys_.servers.size()), kv.value, false};
    one.leads = one.name == leads;
    out.push_back(std::move(one));
  }
  co_return out;
}

Task<void> EtcdElection::lost() {
  while (lease_ != 0) co_await changed_.wait();
}

Task<void> EtcdElection::revoke(std::int64_t lease) {
  const std::string body = "{\"ID\":\"" + std::to_string(lease) + "\"}";
  const auto answer = co_await gateway_.call("/v3/lease/revoke", body);
  if (!answer && answer.error().code != Code::not_found) {
    log::info("etcd", "the lease runs out by itself", {{"error", answer.error()}});
  }
}

Task<void> EtcdElection::close() {
  tasks_.cancel();
  co_await tasks_.join();
  const std::int64_t held = std::exchange(lease_, 0);
  const std::int64_t spare = std::exchange(spare_, 0);
  changed_.notify_all();
  if (held != 0) co_await revoke(held);
  if (spare != 0) co_await revoke(spare);
}

}  // namespace

Result<std::unique_ptr<Election>> open_election(Env env, EtcdOptions options, std::string candidate,
                                                std::string about) {
  SKIFF_CHECK(check_options(options));
  if (candidate.empty() || candidate.size() > 253) {
    return Error{Code::bad_request, "etcd: a candidate's name has 1 to 253 characters"};
  }
  return std::unique_ptr<Election>(std::make_unique<EtcdElection>(
      env, std::move(options), std::move(candidate), std::move(about)));
}

}  // namespace skiff::etcd
