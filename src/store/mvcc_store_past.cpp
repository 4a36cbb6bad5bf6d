// What has passed: the window of changes kept in memory, the log's history behind it, and how both
// are forgotten.
#include <algorithm>

#include "mvcc_store.hpp"

namespace skiff::store {
namespace {

// Changes forgotten, scanned or put back in one turn of the loop: well under a millisecond.
constexpr std::size_t kSlice = 1024;

// Records looked at in one turn, and asked of the log at once: it looks through all of the past for
// each page.
constexpr std::size_t kPage = 512;
constexpr std::size_t kPastPage = 8192;

}  // namespace

// --- Reads.

Task<Result<ItemPtr>> MvccStore::get_at(std::string key, Revision at) {
  if (at == 0 || at >= window_) co_return get(key, at);
  if (at < compacted()) co_return too_old(at, compacted());
  Range alone = Range::key(key);
  const auto records = co_await log_->state(std::move(alone), at, 1);
  if (!records) co_return records.error();
  if (records->empty()) co_return Error{Code::not_found, "\"" + key + "\" not found"};
  co_return records->front().item;
}

Task<Result<Page>> MvccStore::range_at(Range range, std::size_t limit, Revision at) {
  if (at == 0 || at >= window_) co_return this->range(range, limit, at);
  if (at < compacted()) co_return too_old(at, compacted());
  auto records = co_await log_->state(std::move(range), at, limit == 0 ? 0 : limit + 1);
  if (!records) co_return records.error();
  Page page;
  page.revision = at;
  page.more = limit != 0 && records->size() > limit;
  if (page.more) records->resize(limit);
  page.items.reserve(records->size());
  for (Record& record : *records) page.items.push_back(std::move(record.item));
  co_return page;
}

// Where the window ends may move while the log is asked: what was asked of the log ends where the
// window began then, and the next step looks again.
Task<Result<std::vector<Record>>> MvccStore::history(Range range, Revision after, Revision until,
                                                     std::size_t limit) {
  if (after < compacted()) co_return too_old(after, compacted());
  if (until == 0 || until > revision_) until = revision_;
  std::vector<Record> out;
  Revision cursor = after;
  while (cursor < until && (limit == 0 || out.size() < limit)) {
    if (closed_) co_return Error{Code::unavailable, "the store is closed"};
    if (cursor >= window_) {
      scan_window(range, cursor, until, limit, out);
      if (cursor < until) co_await yield();
      continue;
    }
    const Revision stop = std::min(until, window_);
    Range wanted = range;
    const std::size_t left = limit == 0 ? 0 : limit - out.size();
    auto records = co_await log_->history(std::move(wanted), cursor, stop, left);
    if (!records) co_return records.error();
    std::move(records->begin(), records->end(), std::back_inserter(out));
    cursor = stop;
  }
  co_return out;
}

void MvccStore::scan_window(const Range& range, Revision& cursor, Revision until, std::size_t limit,
                            std::vector<Record>& out) const {
  std::size_t i = history_.first_after(cursor);
  for (std::size_t n = 0; n < kSlice && i < history_.size(); ++n, ++i) {
    const Change& change = history_[i];
    if (change.revision() > until || (limit != 0 && out.size() == limit)) {
      cursor = until;
      return;
    }
    cursor = change.revision();
    if (range.contains(change.item->key)) out.push_back(change.record());
  }
  if (i == history_.size()) cursor = until;
}

// --- Growing the window back after a restart.

// Only from where replay left off: what a running store has dropped holds volatile records, which
// the log does not have one by one.
bool MvccStore::can_load(Revision after) const {
  return window_ != 0 && window_ <= loadable_ && after >= std::max(resumable_, log_->compacted()) &&
         !closed_;
}

Task<void> MvccStore::load_past() {
  co_await yield();
  bool good = true;
  while (good && !closed_ && load_to_ != 0 && load_to_ < window_) {
    const Revision target = load_to_;
    good = co_await load_back_to(target);
    if (load_to_ == target) load_to_ = 0;
  }
  load_to_ = 0;
  loading_ = false;
  if (!closed_) hub_->past_loaded(window_);
  show_metrics();
}

Task<bool> MvccStore::load_back_to(Revision target) {
  const Revision from = window_;
  const int generation = generation_;
  std::vector<Record> records;
  if (!co_await read_past(target, from, &records)) co_return false;
  std::vector<Change> changes;
  if (!co_await link_past(std::move(records), &changes)) co_return false;
  // From the newest to the oldest: what is in place is whole at any time.
  Revision expected = from;
  while (generation_ == generation && window_ == expected && !closed_) {
    for (std::size_t n = 0; n < kSlice && !changes.empty(); ++n) {
      install(std::move(changes.back()));
      changes.pop_back();
    }
    window_ = expected = changes.empty() ? target : changes.back().revision();
    loadable_ = window_;
    if (changes.empty()) co_return true;
    co_await yield();
  }
  co_return false;
}

Task<bool> MvccStore::read_past(Revision target, Revision from, std::vector<Record>* out) {
  const std::size_t bound = window_bound();
  std::size_t bytes = history_.bytes();
  Revision cursor = target;
  while (cursor < from) {
    Range everything;
    auto page = co_await log_->history(std::move(everything), cursor, from, kPastPage);
    if (!page) {
      log::warn("store", "cannot read history for a watch", {{"error", page.error()}});
      co_return false;
    }
    for (Record& record : *page) {
      bytes += sizeof(Change) + History::size_of(*record.item);
      out->push_back(std::move(record));
    }
    if (page->size() < kPastPage) break;
    cursor = out->back().item->modified;
    if ((bound != 0 && bytes > bound) || closed_) co_return false;
  }
  co_return bound == 0 || bytes <= bound;
}

Task<Result<void>> MvccStore::find_replaced(std::span<const Record> records,
                                            std::unordered_set<std::string_view>* seen,
                                            Replaced* out) {
  std::vector<Record> first;
  for (const Record& record : records) {
    if (seen->insert(record.item->key).second && record.previous != 0) first.push_back(record);
  }
  if (first.empty()) co_return Result<void>();
  auto versions = co_await log_->superseded_by(std::move(first));
  if (!versions) co_return versions.error();
  for (Record& version : *versions) {
    const std::string_view key = version.item->key;
    out->emplace(key, std::move(version.item));
  }
  co_return Result<void>();
}

// Tells each record what it replaced.
Task<bool> MvccStore::link_past(std::vector<Record> records, std::vector<Change>* out) {
  Replaced before;
  {
    std::unordered_set<std::string_view> seen;
    for (std::size_t from = 0; from < records.size(); from += kPage) {
      const auto some = std::span(records).subspan(from, std::min(kPage, records.size() - from));
      const auto found = co_await find_replaced(some, &seen, &before);
      if (!found) {
        log::warn("store", "cannot read history for a watch", {{"error", found.error()}});
      }
      if (!found || closed_) co_return false;
      co_await yield();
    }
  }
  std::unordered_map<std::string_view, Slot> last;
  out->reserve(records.size());
  for (Record& record : records) {
    Change change;
    const auto known = last.find(record.item->key);
    if (known != last.end()) {
      change.replaced = known->second;
    } else if (const auto old = before.find(record.item->key); old != before.end()) {
      change.replaced = Slot{old->second, false};
    }
    // One copy in memory of what is still the newest.
    const Slot* now = index_.find(record.item->key);
    const bool same = now != nullptr && now->item->modified == record.item->modified;
    if (same) {
      change.item = now->item;
    } else {
      change.item = std::move(record.item);
    }
    change.erase = record.erase;
    change.is_volatile = record.is_volatile;
    change.time = record.time;
    change.author = std::move(record.author);
    if (known != last.end()) last.erase(known);  // its node holds a view of the older item's key
    last.emplace(change.item->key, Slot{change.item, change.erase});
    out->push_back(std::move(change));
    if (out->size() % kPage == 0) co_await yield();
  }
  co_return true;
}

void MvccStore::install(Change change) {
  if (change.erase) {
    // Replay knows nothing of keys that are gone: reads at older revisions begin at this slot.
    const Slot* slot = index_.find(change.item->key);
    if (slot == nullptr) {
      index_.replace(Slot{change.item, true});
    } else {
      history_.put_before(*slot, Slot{change.item, true});
    }
  }
  history_.push_front(std::move(change));
}

// --- Forgetting.

Task<Result<void>> MvccStore::compact(Revision revision) {
  if (closed_) co_return Error{Code::unavailable, "the store is closed"};
  if (revision > revision_) co_return in_future(revision);
  if (revision > window_) co_await trim(revision);
  show_metrics();
  if (closed_) co_return Error{Code::unavailable, "the store is closed"};
  co_return co_await log_->compact(revision);
}

Task<void> MvccStore::trim(Revision revision) {
  const int generation = generation_;
  window_ = std::max(window_, revision);
  while (!closed_ && generation_ == generation && !history_.empty() &&
         history_.front().revision() <= revision) {
    for (std::size_t i = 0; i < kSlice && !history_.empty(); ++i) {
      if (history_.front().revision() > revision) break;
      drop_front();
    }
    co_await yield();
  }
}

void MvccStore::drop_front() {
  const Change& change = history_.front();
  hub_->before_drop(change);
  if (change.erase) {
    const Slot* slot = index_.find(change.item->key);
    if (slot != nullptr && slot->item == change.item) index_.remove(change.item->key);
  }
  history_.pop_front();
}

// What the past may take: in a large store more happens in the same time.
std::size_t MvccStore::window_bound() const {
  return options_.history_bytes == 0 ? 0 : std::max(options_.history_bytes, live_bytes_ / 4);
}

void MvccStore::note_time() {
  if (options_.history <= Duration::zero()) return;
  const TimePoint now = env_.clock->now();
  if (times_.empty() || now - times_.back().first >= options_.history / 8) {
    times_.emplace_back(now, revision_);
  }
}

void MvccStore::trim_when_due() {
  if (trimming_ || closed_) return;
  note_time();
  Revision old_enough = 0;
  if (options_.history > Duration::zero()) {
    const TimePoint limit = env_.clock->now() - options_.history;
    while (!times_.empty() && times_.front().first <= limit) {
      old_enough = times_.front().second;
      times_.pop_front();
    }
  }
  const bool too_big = window_bound() != 0 && history_.bytes() > window_bound();
  if (old_enough <= window_ && !too_big) return;
  trimming_ = true;
  tasks_.spawn("store window", trim_by_policy(old_enough));
}

Task<void> MvccStore::trim_by_policy(Revision old_enough) {
  // Some more than necessary when it is about memory, so as not to be back at the next commit.
  const std::size_t bound = window_bound();
  const bool too_big = bound != 0 && history_.bytes() > bound;
  const std::size_t goal = bound / 4 * 3;
  if (old_enough > window_) co_await trim(old_enough);
  while (!closed_ && too_big && !history_.empty() && history_.bytes() > goal) {
    std::size_t excess = history_.bytes() - goal;
    std::size_t i = 0;
    for (; i + 1 < kSlice && i + 1 < history_.size(); ++i) {
      const std::size_t cost = History::cost(history_[i]);
      if (cost >= excess) break;
      excess -= cost;
    }
    co_await trim(history_[i].revision());
  }
  trimming_ = false;
  show_metrics();
}

}  // namespace skiff::store
