// What the store does when several servers share its log: others decide, and their records, or a
// whole state, come from below.
#include <algorithm>

#include "mvcc_store.hpp"

namespace skiff::store {
namespace {

// Counts bytes as long as it lives.
class Counted {
 public:
  Counted(std::size_t& total, std::size_t bytes) : total_(total), bytes_(bytes) { total_ += bytes; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { total_ -= bytes_; }

 private:
  std::size_t& total_;
  std::size_t bytes_;
};

// A refusal tells of a state that the caller will want to read.
bool tells_of_state(const Error& error) {
  return error.code == Code::conflict || error.code == Code::already_exists ||
         error.code == Code::not_found;
}

}  // namespace

void MvccStore::deliver(Records records) {
  // An append of this store that has not resolved yet may hold older records, and replay() older
  // ones still. The append's own records settle it.
  const bool after_append =
      in_flight_ && records->front().item->modified > in_flight_->records->back().item->modified;
  if (!opened_ || after_append || !held_.empty()) {
    held_.push_back(std::move(records));
    return;
  }
  publish(*records);
  trim_when_due();
}

void MvccStore::release_held() {
  if (!opened_) return;
  while (!held_.empty()) {
    const Records records = std::move(held_.front());
    held_.pop_front();
    publish(*records);
  }
  settled_signal_.notify_all();
}

// What is on its way was checked against a state that somebody else goes on from now.
void MvccStore::give_up() {
  pending_.clear();
  if (const auto batch = std::exchange(gathering_, nullptr)) {
    finish(*batch, Error{Code::unavailable,
                         "this server is no longer the leader: nothing was written, try again"});
  }
  if (in_flight_ && !in_flight_->done) {
    finish(*in_flight_, Error{Code::unavailable,
                              "this server is no longer the leader: whether this was written is "
                              "not known yet"});
  }
}

void MvccStore::decider_moved() {
  if (log_->decider() != Decider::here) give_up();
  settled_signal_.notify_all();
  decider_signal_.notify_all();
  // Who waits for a revision to show waits in vain when there is no connection.
  for (const auto& [revision, signal] : until_) signal->notify_all();
}

Task<void> MvccStore::decider_changed() { co_await decider_signal_.wait(); }

void MvccStore::replace(Recovered at, std::vector<Record> state) {
  ++generation_;
  give_up();
  if (at.revision < revision_) {
    log::warn("store", "the state that replaces this one is older",
              {{"revision", std::to_string(at.revision)}, {"was", std::to_string(revision_)}});
  }
  hub_->end_all(Error{Code::expired,
                      "this server's state was replaced by another server's: list again and watch "
                      "from there"});
  history_ = History();
  index_ = Index();
  live_bytes_ = 0;
  times_.clear();
  for (Record& record : state) place(std::move(record));
  revision_ = std::max<Revision>(at.revision, 1);
  last_given_ = std::max(last_given_, revision_);
  resumable_ = at.resumable;
  window_ = revision_;
  loadable_ = window_;
  note_time();
  hub_->settle(revision_);
  wake_readers();
  show_metrics();
}

Task<std::vector<Result<Revision>>> MvccStore::decide_for_another(std::vector<Op> ops) {
  const auto verdicts = co_await decide(std::move(ops));
  std::vector<Result<Revision>> out;
  out.reserve(verdicts.size());
  for (const auto& v : verdicts) {
    out.push_back(v ? Result<Revision>((*v)->modified) : Result<Revision>(v.error()));
  }
  co_return out;
}

Task<std::vector<Result<ItemPtr>>> MvccStore::forward(std::vector<Op> ops) {
  std::vector<Result<ItemPtr>> out;
  const std::size_t count = ops.size();
  if (waiting_bytes_ > options_.max_waiting_bytes) {
    const Error busy{Code::too_many_requests,
                     "the leader cannot keep up with the writes: try later"};
    out.assign(count, busy);
    co_return out;
  }
  std::vector<std::string> keys;
  std::size_t bytes = 0;
  for (const Op& op : ops) {
    keys.push_back(op.key);
    bytes += op.key.size() + op.value.size();
  }
  const Counted waiting(waiting_bytes_, bytes);
  const auto verdicts = co_await log_->forward(std::move(ops));
  SKIFF_ASSERT(verdicts.size() == count, "the log forwarded some Ops only");
  Revision needed = 0;
  bool refused = false;
  for (const auto& v : verdicts) {
    if (v) needed = std::max(needed, *v);
    if (!v && tells_of_state(v.error())) refused = true;
  }
  std::optional<Error> behind;  // this server cannot show what a refusal was about
  if (refused) {
    const auto newest = co_await log_->barrier();
    if (newest) needed = std::max(needed, *newest);
    if (!newest) behind = newest.error();
  }
  const auto shown = co_await until_shown(needed);
  if (!shown) behind = shown.error();
  for (std::size_t i = 0; i < count; ++i) {
    const auto& v = verdicts[i];
    if (v && shown) {
      out.push_back(co_await find_version(std::move(keys[i]), *v));
    } else if (v || (behind && tells_of_state(v.error()))) {
      out.push_back(annotate(*behind, v ? "written, but this server cannot show it yet"
                                        : "refused for a state this server cannot show yet"));
    } else {
      out.push_back(v.error());
    }
  }
  co_return out;
}

// The version made at `revision`, which is published.
Task<Result<ItemPtr>> MvccStore::find_version(std::string key, Revision revision) {
  const std::size_t i = history_.first_after(revision - 1);
  if (i < history_.size() && history_[i].revision() == revision) co_return history_[i].item;
  const Slot* slot = index_.find(key);
  if (slot != nullptr && slot->item->modified == revision) co_return slot->item;
  // It came with a whole state, or very much has happened since.
  Range alone = Range::key(key);
  const auto records = co_await log_->history(std::move(alone), revision - 1, revision, 1);
  if (records && !records->empty()) co_return records->front().item;
  co_return Error{Code::unavailable,
                  "written at revision " + std::to_string(revision) +
                      ", which this server has already forgotten: read it again"};
}

Task<Result<Revision>> MvccStore::barrier() {
  const auto reached = co_await log_->barrier();
  if (!reached) co_return reached.error();
  SKIFF_CO_CHECK(co_await until_shown(*reached));
  co_return revision_;
}

Task<Result<void>> MvccStore::until_shown(Revision revision) {
  while (revision_ < revision) {
    if (closed_) co_return Error{Code::unavailable, "the store is closed"};
    if (log_->decider() == Decider::nobody) {
      co_return Error{Code::unavailable, "the connection to the other servers was lost"};
    }
    std::shared_ptr<Signal>& signal = until_[revision];
    if (!signal) signal = std::make_shared<Signal>(env_.executor);
    const std::shared_ptr<Signal> mine = signal;
    co_await mine->wait();
  }
  co_return Result<void>();
}

void MvccStore::wake_readers() {
  const auto end = closed_ ? until_.end() : until_.upper_bound(revision_);
  for (auto it = until_.begin(); it != end; it = until_.erase(it)) it->second->notify_all();
}

}  // namespace skiff::store
