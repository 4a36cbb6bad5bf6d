// Ops become transactions: what forward() does.
#include <algorithm>
#include <unordered_map>

#include "etcd_log.hpp"

namespace skiff::etcd {
namespace {

constexpr int kMaxTries = 64;  // of an Op that expects nothing and always loses the race
constexpr std::size_t kMaxJobs = 50'000;
constexpr std::size_t kMaxBytes = 256U << 20U;

using store::Op;

std::string quoted(const Op& op) { return "\"" + op.key + "\""; }

// The verdict of Op's contract.
std::optional<Error> refusal(const Op& op, bool exists, Revision modified) {
  const bool erase = op.type == Op::Type::erase;
  const bool wanted = op.expect ? *op.expect != 0 : erase;
  if (!exists && (wanted || erase)) return Error{Code::not_found, quoted(op) + " not found"};
  if (!exists || !op.expect || *op.expect == modified) return std::nullopt;
  if (*op.expect == 0) return Error{Code::already_exists, quoted(op) + " already exists"};
  return Error{Code::conflict, quoted(op) + " is at revision " + std::to_string(modified) +
                                   ", not at " + std::to_string(*op.expect)};
}

std::size_t cost(const Op& op) { return op.key.size() + op.value.size() + 256; }

}  // namespace

Task<std::vector<Result<Revision>>> EtcdLog::forward(std::vector<Op> ops) {
  std::optional<Error> refused;
  std::size_t bytes = 0;
  for (const Op& op : ops) bytes += cost(op);
  if (decider() == store::Decider::nobody) {
    refused = offline_error();
  } else if (queued_jobs_ + ops.size() > kMaxJobs || queued_bytes_ + bytes > kMaxBytes) {
    refused = Error{Code::too_many_requests, "etcd cannot keep up with the writes: try later"};
  }
  if (refused || ops.empty()) {
    const Result<Revision> same = refused ? Result<Revision>(*refused) : Result<Revision>(0);
    co_return std::vector<Result<Revision>>(ops.size(), same);
  }
  const auto call = std::make_shared<Call>(env_.executor, ops.size());
  std::vector<JobPtr> jobs;
  std::unordered_map<std::string_view, Job*> last;
  for (Op& op : ops) {
    auto job = std::make_shared<Job>();
    job->op = std::move(op);
    job->call = call;
    Job*& before = last[job->op.key];
    if (before != nullptr) {
      before->next = job;
    } else {
      queue_.push_back(job);
    }
    before = job.get();
    jobs.push_back(std::move(job));
  }
  queued_jobs_ += jobs.size();
  queued_bytes_ += bytes;
  for (std::size_t i = queue_.size(); i > 0 && workers_ < options_.connections; --i) {
    ++workers_;
    tasks_.spawn("etcd writer", work());
  }
  while (call->left > 0) co_await call->done.wait();
  std::vector<Result<Revision>> verdicts;
  verdicts.reserve(jobs.size());
  for (const JobPtr& job : jobs) verdicts.push_back(std::move(job->verdict));
  co_return verdicts;
}

Task<void> EtcdLog::work() {
  while (!queue_.empty()) {
    const JobPtr job = std::move(queue_.front());
    queue_.pop_front();
    working_.push_back(job);
    Result<Revision> verdict = co_await decide(job);
    std::erase(working_, job);
    if (job->next) queue_.push_front(job->next);
    finish(job, std::move(verdict));
  }
  --workers_;
}

void EtcdLog::finish(const JobPtr& job, Result<Revision> verdict) {
  job->verdict = std::move(verdict);
  job->next.reset();
  --queued_jobs_;
  queued_bytes_ -= cost(job->op);
  if (--job->call->left == 0) job->call->done.notify_all();
}

void EtcdLog::fail_waiting(const Error& error) {
  std::vector<JobPtr> all = std::exchange(working_, {});
  all.insert(all.end(), queue_.begin(), queue_.end());
  queue_.clear();
  for (JobPtr job : all) {
    while (job) {
      const JobPtr next = job->next;
      finish(job, error);
      job = next;
    }
  }
}

Task<Result<EtcdLog::Known>> EtcdLog::look_at(std::string key, bool with_value) {
  const std::string name = codec_.keys.object(key);
  const RangeRequest request{name, "", 0, 1, !with_value};
  const auto answer = co_await gateway_.range(request);
  if (!answer) co_return answer.error();
  Known known;
  if (answer->kvs.empty()) co_return known;
  const KeyValue& kv = answer->kvs[0];
  known.exists = true;
  known.created = kv.created;
  known.modified = kv.modified;
  if (!with_value) co_return known;
  auto envelope = decode(kv.value);
  if (!envelope) co_return annotate(envelope.error(), "\"" + name + "\" in etcd");
  known.envelope = std::move(*envelope);
  co_return known;
}

// An Op that says what it expects is one transaction. One that does not, and an erase, whose
// tombstone tells of what it erases, looks first and expects what it saw: so a repetition never
// writes twice.
Task<Result<Revision>> EtcdLog::decide(JobPtr job) {
  const Op& op = job->op;
  if (op.key.empty() ||
      (op.revision_slot != store::kNoSlot && op.revision_slot > op.value.size())) {
    co_return Error{Code::bad_request,
                    quoted(op) + ": empty key, or revision slot beyond the value"};
  }
  const bool erase = op.type == Op::Type::erase;
  const bool looks = erase || !op.expect;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    Known known;
    if (looks) {
      const bool with_value = erase && (op.value.empty() || op.attributes.empty());
      auto seen = co_await look_at(op.key, with_value);
      if (!seen) co_return seen.error();
      if (auto no = refusal(op, seen->exists, seen->modified)) co_return *no;
      known = std::move(*seen);
    } else {
      known.exists = *op.expect != 0;
      known.modified = *op.expect;
    }
    const auto written = co_await write(job, std::move(known));
    if (!written) co_return written.error();
    if (written->revision != 0) co_return written->revision;
    const Known& found = written->found;
    if (auto no = refusal(op, found.exists, found.modified)) co_return *no;
    if (!looks) {
      co_return Error{Code::conflict, quoted(op) + " was changed by somebody else meanwhile"};
    }
  }
  co_return Error{Code::too_many_requests, quoted(op) + " is changed by others all the time"};
}

// An erase that brings no last state of its own shows the one there was.
Result<void> EtcdLog::take_over(Envelope& tombstone, const Op& op, const Known& known) const {
  if (!known.envelope) return {};
  if (op.attributes.empty()) tombstone.attributes = known.envelope->attributes;
  if (!op.value.empty()) return {};
  SKIFF_TRY(std::string value, codec_.open(op.key, *known.envelope));
  Op last;
  last.type = Op::Type::erase;
  last.key = op.key;
  last.value = splice(std::move(value), known.envelope->slot, known.modified);
  Envelope made = codec_.envelope(last);
  tombstone.value = std::move(made.value);
  tombstone.sealed = made.sealed;
  tombstone.slot = store::kNoSlot;
  return {};
}

Task<Result<EtcdLog::Written>> EtcdLog::write(JobPtr job, Known known) {
  const Op& op = job->op;
  const bool erase = op.type == Op::Type::erase;
  Envelope envelope = codec_.envelope(op);
  envelope.write_id = env_.random->next();
  envelope.time = env_.clock->wall().time_since_epoch().count();
  envelope.previous = known.modified;
  envelope.created = known.created;
  const std::string name = codec_.keys.object(op.key);
  TxnRequest txn(name, known.modified);
  if (erase) {
    SKIFF_CO_CHECK(take_over(envelope, op, known));
    txn.erase(name).put(codec_.keys.newest, encode(envelope));
  } else {
    txn.put(name, encode(envelope)).put(codec_.keys.newest, "");
  }
  txn.otherwise({name, "", 0, 1, true});
  const std::uint64_t write_id = envelope.write_id;
  bool maybe_done = false;
  const auto answer = co_await gateway_.call("/v3/kv/txn", std::move(txn).body(), &maybe_done);
  if (!answer) {
    if (says_full(answer.error())) set_full(true);
    Error error = annotate(answer.error(), quoted(op));
    if (maybe_done) error.message += " (not known whether it happened)";
    co_return error;
  }
  const auto read = read_txn(*answer);
  if (!read) co_return annotate(read.error(), quoted(op));
  Written out;
  if (read->succeeded) {
    set_full(false);
    out.revision = read->revision;
    co_return out;
  }
  if (maybe_done) {
    const auto own = co_await own_write(op.key, erase, write_id);
    if (!own) co_return own.error();
    out.revision = *own;
    co_return out;
  }
  if (!read->ranges.empty() && !read->ranges[0].kvs.empty()) {
    const KeyValue& kv = read->ranges[0].kvs[0];
    out.found.exists = true;
    out.found.created = kv.created;
    out.found.modified = kv.modified;
  }
  co_return out;
}

// A repetition found the key changed: by its own first attempt?
Task<Result<Revision>> EtcdLog::own_write(std::string key, bool erase, std::uint64_t write_id) {
  const RangeRequest request{erase ? codec_.keys.newest : codec_.keys.object(key)};
  const auto answer = co_await gateway_.range(request);
  if (!answer) co_return answer.error();
  if (!answer->kvs.empty()) {
    const auto envelope = decode(answer->kvs[0].value);
    if (envelope && envelope->write_id == write_id) co_return answer->kvs[0].modified;
  }
  co_return Error{Code::unavailable, "\"" + key +
                                         "\": the connection to etcd broke and the key changed "
                                         "meanwhile: not known whether it happened"};
}

}  // namespace skiff::etcd
