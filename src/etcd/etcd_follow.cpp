// The watch that delivers everything, own writes too, and what keeps it going.
#include <algorithm>
#include <charconv>

#include "etcd_log.hpp"
#include "skiff/base/log.hpp"

namespace skiff::etcd {
namespace {

constexpr Duration kLongestBackoff = 5s;
constexpr Duration kShortestRetention = 250ms;

}  // namespace

void EtcdLog::set_online(bool online, const Error* problem) {
  if (problem != nullptr && (online_ || problem_ != problem->message)) {
    problem_ = problem->message;
    log::warn("etcd", "etcd does not answer: writes fail and reads may be stale until it does",
              {{"error", *problem}});
  }
  if (online == online_) return;
  online_ = online;
  connected_.set(online ? 1 : 0);
  if (online) log::info("etcd", "etcd answers again", {{"endpoint", gateway_.endpoint()}});
  if (user_ != nullptr) user_->decider_changed();
}

void EtcdLog::set_full(bool full) {
  if (full == full_) return;
  full_ = full;
  full_gauge_.set(full ? 1 : 0);
  if (full) {
    log::error("etcd", "etcd's database is full: writes fail until it has room",
               {{"endpoint", gateway_.endpoint()}});
  } else {
    log::info("etcd", "etcd takes writes again", {{"endpoint", gateway_.endpoint()}});
  }
}

// A linearizable read of `newest`: the revision of the last transaction. Also tells whether this is
// still the etcd that was read before.
Task<Result<Revision>> EtcdLog::probe() {
  if (replaced_) co_return *replaced_;
  const RangeRequest request{codec_.keys.newest, "", 0, 1, true};
  const Revision known = next_ - 1;  // the watch may overtake the answer
  const auto answer = co_await gateway_.probe(request);
  if (!answer) co_return answer.error();
  if (cluster_.empty()) cluster_ = answer->cluster;
  if (answer->cluster != cluster_) co_return replaced("it is another cluster");
  if (answer->revision < known) {
    co_return replaced("it is at revision " + std::to_string(answer->revision) + ", was at " +
                       std::to_string(known));
  }
  co_return answer->kvs.empty() ? Revision{1} : answer->kvs[0].modified;
}

// While nothing was heard of etcd it may have been wiped, and filled beyond what is known here.
Task<Result<void>> EtcdLog::check_instance() {
  const RangeRequest request{codec_.keys.instance};
  const auto answer = co_await gateway_.probe(request);
  if (!answer) co_return answer.error();
  if (!answer->kvs.empty() && answer->kvs[0].value == instance_) co_return Result<void>();
  co_return replaced("it was emptied since");
}

// What this server has in memory and what etcd has cannot be brought together.
Error EtcdLog::replaced(const std::string& how) {
  replaced_ = Error{Code::unavailable, "etcd at " + gateway_.endpoint() +
                                           " is not the one it was, or was restored from a backup "
                                           "(" +
                                           how + "): restart skiff to take over what it holds now"};
  return *replaced_;
}

Task<void> EtcdLog::follow() {
  Duration pause = options_.backoff;
  for (;;) {
    followed_ = false;
    asked_ = false;
    Error ended = co_await follow_once();
    if (ended.code == Code::expired) {
      log::warn("etcd", "everything is read anew", {{"reason", ended}});
      const auto anew = co_await start_over();
      if (anew) continue;
      ended = anew.error();
    } else if (followed_) {
      // It worked until now: soon again, wherever etcd answers.
      pause = options_.backoff;
      const bool others = options_.endpoints.size() > 1;
      gateway_.move_on();
      Result<Revision> there = ended;
      if (!asked_ || others) there = co_await probe();
      if (there) {
        co_await env_.clock->sleep_for(options_.backoff);
        continue;
      }
      ended = there.error();
    }
    set_online(false, &ended);
    gateway_.move_on();
    const auto jitter = static_cast<std::int64_t>(
        env_.random->below(static_cast<std::uint64_t>(pause.count() / 2 + 1)));
    co_await env_.clock->sleep_for(pause + Duration(jitter));
    pause = std::min<Duration>(pause * 2, kLongestBackoff);
  }
}

// Connects, delivers, and returns why it ended.
Task<Error> EtcdLog::follow_once() {
  auto newest = co_await probe();
  if (!newest) co_return newest.error();
  SKIFF_CO_CHECK(co_await check_instance());
  const store::Range watched = codec_.keys.watched();
  const std::string body = watch_body(watched.begin, watched.end, next_);
  auto lines = co_await gateway_.open("/v3/watch", body);
  if (!lines) co_return lines.error();
  Folder folder(codec_);
  Revision due = 0;  // what must have been delivered when next the watch is silent
  bool quick = true;
  for (;;) {
    const Duration idle = quick ? std::min(options_.health_interval, options_.request_timeout)
                                : options_.health_interval;
    const auto line = co_await (*lines)->next(idle);
    if (!line && line.error().code == Code::timeout) {
      newest = co_await probe();
      asked_ = newest.has_error();
      if (!newest) co_return newest.error();
      if (quick || due >= next_) co_return Error{Code::unavailable, "etcd's watch has stalled"};
      due = *newest;
      continue;
    }
    if (!line) co_return line.error();
    const auto answer = read_watch(*line);
    if (!answer) co_return answer.error();
    if (answer->canceled && answer->compacted == 0) {
      co_return Error{Code::unavailable, "etcd ended the watch: " + answer->reason};
    }
    if (answer->canceled) {
      compacted_ = std::max(compacted_, answer->compacted);
      co_return Error{Code::expired, "etcd was compacted beyond what was delivered"};
    }
    if (answer->created) {
      quick = false;
      followed_ = true;
      watches_.add();
      set_online(true, nullptr);
    }
    const auto taken = take(*answer, folder);
    if (!taken) co_return taken.error();
  }
}

Result<void> EtcdLog::take(const WatchAnswer& answer, Folder& folder) {
  SKIFF_TRY(auto folded, folder.feed(answer));
  if (!folded.records.empty()) {
    if (folded.records.front().item->modified < next_) {
      return Error{Code::invalid, "etcd's answer is malformed: a revision comes twice"};
    }
    next_ = folded.records.back().item->modified + 1;
    auto records = std::make_shared<std::vector<store::Record>>(std::move(folded.records));
    user_->deliver(std::move(records));
  }
  if (folded.foreign != 0) {
    return Error{Code::expired, "somebody else than skiff changed its keys in etcd at revision " +
                                    std::to_string(folded.foreign)};
  }
  // An answer without events says that there are none up to its revision.
  if (answer.events.empty() && !answer.created && !answer.fragment) {
    next_ = std::max(next_, answer.revision + 1);
  }
  return {};
}

Task<Result<void>> EtcdLog::start_over() {
  const store::Range all;
  auto listing = co_await list(all, 0, 0);
  if (!listing) co_return listing.error();
  SKIFF_CO_CHECK(co_await find_compacted(listing->revision));
  Recovered at;
  at.revision = listing->revision;
  at.compacted = compacted_;
  at.resumable = listing->revision;
  next_ = listing->revision + 1;
  user_->replace(at, std::move(listing->records));
  read_anew_.add();
  co_return Result<void>();
}

// Time is each server's own and monotonic, so that no wrong clock can make etcd forget too early:
// whoever saw first that a revision is old enough has etcd compact it.
Task<void> EtcdLog::retain() {
  std::deque<std::pair<TimePoint, Revision>> seen;  // which revision was newest when
  const Duration step = std::max<Duration>(options_.history / 8, kShortestRetention);
  for (;;) {
    if (seen.empty() || seen.back().second != next_ - 1) {
      seen.emplace_back(env_.clock->now(), next_ - 1);
    }
    co_await env_.clock->sleep_for(step);
    Revision target = 0;
    const TimePoint limit = env_.clock->now() - options_.history;
    while (!seen.empty() && seen.front().first <= limit) {
      target = seen.front().second;
      seen.pop_front();
    }
    if (target <= compacted_ || !online_) continue;
    const auto done = co_await retain_from(target);
    if (!done) {
      log::warn("etcd", "cannot compact etcd; will try again", {{"error", done.error()}});
      seen.emplace_front(limit, target);
    }
  }
}

Task<Result<void>> EtcdLog::retain_from(Revision target) {
  const std::string& key = codec_.keys.compaction;
  const RangeRequest request{key};
  const auto noted = co_await gateway_.range(request);
  if (!noted) co_return noted.error();
  Revision expect = 0;
  if (!noted->kvs.empty()) {
    const std::string& text = noted->kvs[0].value;
    Revision done = 0;
    std::from_chars(text.data(), text.data() + text.size(), done);
    expect = noted->kvs[0].modified;
    compacted_ = std::max(compacted_, std::min(done, next_ - 1));
    if (done >= target) co_return Result<void>();
  }
  TxnRequest txn(key, expect);
  txn.put(key, std::to_string(target));
  const auto answer = co_await gateway_.call("/v3/kv/txn", std::move(txn).body());
  // A full database takes no note of it, and needs it all the more.
  if (!answer) co_return co_await compact(target);
  const auto read = read_txn(*answer);
  if (!read) co_return read.error();
  if (!read->succeeded) co_return Result<void>();  // another server does it
  co_return co_await compact(target);
}

}  // namespace skiff::etcd
