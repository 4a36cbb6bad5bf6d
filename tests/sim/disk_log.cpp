#include "disk_log.hpp"

#include <algorithm>

namespace skiff::sim {
namespace {

using store::Range;
using store::Record;
using store::Recovered;
using store::Revision;

constexpr Revision kReserve = 50;

Error too_old(Revision at) {
  return {Code::expired, "revision " + std::to_string(at) + " is no longer kept"};
}

// Calls are served one after the other, in order, as a log's own thread would.
class Queue {
 public:
  explicit Queue(Executor executor) : changed_(std::move(executor)) {}
  class Turn {
   public:
    Turn(Queue& queue, std::uint64_t ticket) : queue_(queue), ticket_(ticket) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      std::erase(queue_.waiting_, ticket_);
      queue_.changed_.notify_all();
    }
    bool ready() const { return queue_.waiting_.front() == ticket_; }

   private:
    Queue& queue_;
    std::uint64_t ticket_;
  };
  std::uint64_t take() {
    waiting_.push_back(next_);
    return next_++;
  }
  Task<void> changed() { return changed_.wait(); }

 private:
  std::deque<std::uint64_t> waiting_;
  std::uint64_t next_ = 0;
  Signal changed_;
};

class DiskLog final : public store::Log {
 public:
  DiskLog(Disk& disk, LogFile& file, LifePtr life, DiskLogOptions options)
      : disk_(disk),
        file_(file),
        life_(std::move(life)),
        options_(std::move(options)),
        view_(file.stable),
        queue_(disk.world().executor()) {
    file_.torn.reset();
    for (const LogWrite& write : file_.cache) apply(view_, write);  // the machine went on
  }

  Task<Result<Recovered>> replay(std::function<void(Record)> each) override;
  Task<Result<void>> append(store::Records records) override;
  Task<Result<std::vector<Record>>> history(Range range, Revision after, Revision until,
                                            std::size_t limit) override;
  Task<Result<std::vector<Record>>> state(Range range, Revision at, std::size_t limit) override;
  Revision compacted() const override { return view_.compacted; }
  Task<Result<void>> compact(Revision revision) override;
  Task<Result<void>> sync() override;
  Task<Result<void>> close() override;
  Task<Result<void>> replace(Recovered at, std::vector<Record> state) override;

 private:
  Task<Result<void>> put(LogWrite write);  // in its turn
  Task<Result<void>> settle();
  LogWrite gather(const store::Records& records, bool all);
  void take_in(const store::Records& records, const LogWrite& write);
  void settled();

  Disk& disk_;
  LogFile& file_;
  LifePtr life_;
  DiskLogOptions options_;
  LogState view_;                       // what this process sees: stable, cache and volatile
  std::map<std::string, Record> held_;  // volatile records that wait for the disk
  Revision last_ = 0;
  Queue queue_;
};

Task<Result<Recovered>> DiskLog::replay(std::function<void(Record)> each) {
  const auto read = co_await disk_.read(life_);
  if (!read) co_return read.error();
  Recovered at;
  at.compacted = view_.compacted;
  at.revision = view_.compacted;
  if (!view_.records.empty()) at.revision = std::max(at.revision, view_.records.rbegin()->first);
  at.resumable = at.compacted;
  at.revision = std::max(at.revision, view_.ceiling);
  if (!view_.clean) at.resumable = at.revision;
  last_ = at.revision;
  std::map<Revision, const Record*> order;
  for (const auto& [key, record] : view_.newest(Range{}, at.revision)) {
    order.emplace(record->item->modified, record);
  }
  for (const auto& [revision, record] : order) each(*record);
  co_return at;
}

// What must be written for these records: with `all`, whatever was held back, too.
LogWrite DiskLog::gather(const store::Records& records, bool all) {
  auto out = std::make_shared<std::vector<Record>>();
  std::map<std::string_view, const Record*> lazy;
  Revision newest = 0;
  for (const auto& [key, record] : held_) lazy[key] = &record;
  if (records) {
    newest = records->back().item->modified;
    for (const Record& r : *records) {
      lazy.erase(r.item->key);
      if (r.is_volatile) {
        lazy[r.item->key] = &r;
      } else {
        out->push_back(r);
      }
    }
  }
  if (all || (!out->empty() && disk_.dice().chance(0.1))) {
    for (const auto& [key, record] : lazy) out->push_back(*record);
    lazy.clear();
  }
  std::sort(out->begin(), out->end(),
            [](const Record& a, const Record& b) { return a.item->modified < b.item->modified; });
  LogWrite write;
  if (!out->empty()) write.records = std::move(out);
  if (!lazy.empty() && (view_.clean || newest > view_.ceiling)) {
    write.ceiling = newest + kReserve;
    write.clean = false;
  }
  return write;
}

// After the write: what this process has.
void DiskLog::take_in(const store::Records& records, const LogWrite& write) {
  if (records) {
    last_ = records->back().item->modified;
    for (const Record& r : *records) {
      view_.put(r);
      if (r.is_volatile) {
        held_.insert_or_assign(r.item->key, r);
      } else {
        held_.erase(r.item->key);
      }
    }
  }
  if (!write.records) return;
  for (const Record& r : *write.records) {
    if (r.is_volatile) held_.erase(r.item->key);
  }
}

Task<Result<void>> DiskLog::put(LogWrite write) {
  const LogWrite copy = write;  // as it may be found after a failure
  if (write.records || write.replaced || write.ceiling != 0 || write.clean || write.compact != 0) {
    if (!life_->alive) co_return co_await disk_.write(life_, false);
    file_.torn = copy;
    const bool some = copy.records && !copy.records->empty();
    disk_.world().note(
        "log-write", disk_.host(), some ? copy.records->back().item->modified : copy.compact,
        static_cast<std::int64_t>(some ? copy.records->size() : 0), copy.replaced ? "replace" : "");
    const auto written = co_await disk_.write(life_, options_.durable);
    if (!life_->alive) co_return written;
    if (!written) {
      if (disk_.dice().chance(0.5)) file_.torn.reset();
      co_return written;
    }
    file_.torn.reset();
    if (write.ceiling != 0) view_.ceiling = write.ceiling;
    if (write.clean) view_.clean = *write.clean;
    file_.cache.push_back(std::move(write));
  }
  if (options_.durable) settled();
  co_return Result<void>();
}

void DiskLog::settled() {
  disk_.world().note("log-synced", disk_.host(), last_);
  for (const LogWrite& w : file_.cache) apply(file_.stable, w);
  file_.cache.clear();
}

Task<Result<void>> DiskLog::append(store::Records records) {
  const Queue::Turn turn(queue_, queue_.take());
  while (!turn.ready()) co_await queue_.changed();
  const LogWrite write = gather(records, false);
  auto outcome = co_await put(write);
  if (!outcome) co_return outcome;
  take_in(records, write);
  if (options_.appended) options_.appended(*records);
  co_return outcome;
}

Task<Result<void>> DiskLog::compact(Revision revision) {
  const Queue::Turn turn(queue_, queue_.take());
  while (!turn.ready()) co_await queue_.changed();
  if (revision <= view_.compacted) co_return Result<void>();
  disk_.world().count(Count::compactions);
  LogWrite write;
  write.compact = revision;
  view_.compact(revision);
  co_return co_await put(std::move(write));
}

Task<Result<void>> DiskLog::settle() {
  const LogWrite rest = gather(nullptr, true);
  auto outcome = co_await put(rest);
  if (!outcome) co_return outcome;
  take_in(nullptr, rest);
  outcome = co_await disk_.write(life_, true);
  if (outcome) settled();
  co_return outcome;
}

Task<Result<void>> DiskLog::sync() {
  const Queue::Turn turn(queue_, queue_.take());
  while (!turn.ready()) co_await queue_.changed();
  co_return co_await settle();
}

Task<Result<void>> DiskLog::close() {
  const Queue::Turn turn(queue_, queue_.take());
  while (!turn.ready()) co_await queue_.changed();
  auto outcome = co_await settle();
  if (!outcome) co_return outcome;
  LogWrite write;
  write.clean = true;
  write.ceiling = last_;
  outcome = co_await put(std::move(write));
  if (outcome) settled();
  co_return outcome;
}

Task<Result<void>> DiskLog::replace(Recovered at, std::vector<Record> state) {
  const Queue::Turn turn(queue_, queue_.take());
  while (!turn.ready()) co_await queue_.changed();
  LogWrite write;
  write.replaced = at;
  write.records = std::make_shared<const std::vector<Record>>(std::move(state));
  const LogWrite whole = write;
  auto outcome = co_await put(std::move(write));
  if (!outcome) co_return outcome;  // as if nothing had been: what a transaction is
  held_.clear();
  last_ = at.revision;
  apply(view_, whole);
  co_return outcome;
}

Task<Result<std::vector<Record>>> DiskLog::history(Range range, Revision after, Revision until,
                                                   std::size_t limit) {
  const auto read = co_await disk_.read(life_);
  if (!read) co_return read.error();
  if (after < view_.compacted) co_return too_old(after);
  std::vector<Record> out;
  for (auto it = view_.records.upper_bound(after); it != view_.records.end(); ++it) {
    if (it->first > until || (limit != 0 && out.size() == limit)) break;
    if (range.contains(it->second.item->key)) out.push_back(it->second);
  }
  co_return out;
}

Task<Result<std::vector<Record>>> DiskLog::state(Range range, Revision at, std::size_t limit) {
  const auto read = co_await disk_.read(life_);
  if (!read) co_return read.error();
  if (at < view_.compacted) co_return too_old(at);
  std::vector<Record> out;
  for (const auto& [key, record] : view_.newest(range, at)) {
    if (limit != 0 && out.size() == limit) break;
    out.push_back(*record);
  }
  co_return out;
}

}  // namespace

void LogState::put(const Record& record) {
  if (record.is_volatile && record.previous != 0) {
    const auto old = records.find(record.previous);
    if (old != records.end() && old->second.is_volatile) records.erase(old);
  }
  records.insert_or_assign(record.item->modified, record);
}

void LogState::compact(Revision revision) {
  if (revision <= compacted) return;
  compacted = revision;
  std::map<std::string, Revision> newest_of;
  for (auto it = records.begin(); it != records.end() && it->first <= revision; ++it) {
    newest_of[it->second.item->key] = it->first;
  }
  for (auto it = records.begin(); it != records.end() && it->first <= revision;) {
    const bool keep = newest_of[it->second.item->key] == it->first && !it->second.erase;
    it = keep ? std::next(it) : records.erase(it);
  }
}

std::map<std::string, const Record*> LogState::newest(const Range& range, Revision at) const {
  std::map<std::string, const Record*> out;
  for (const auto& [revision, record] : records) {
    if (revision > at) break;
    if (!range.contains(record.item->key)) continue;
    if (record.erase) {
      out.erase(record.item->key);
    } else {
      out[record.item->key] = &record;
    }
  }
  return out;
}

void apply(LogState& state, const LogWrite& write) {
  if (write.replaced) {
    state.records.clear();
    state.compacted = write.replaced->compacted;
    state.ceiling = write.replaced->revision;
    state.clean = false;
    // Numbering goes on where the other state stood, even when its newest key was erased.
    for (const Record& r : *write.records) state.records.insert_or_assign(r.item->modified, r);
    return;
  }
  if (write.records) {
    for (const Record& r : *write.records) state.put(r);
  }
  if (write.compact != 0) state.compact(write.compact);
  if (write.ceiling != 0) state.ceiling = write.ceiling;
  if (write.clean) state.clean = *write.clean;
}

void LogFile::crash(World& world, Dice& dice, int host) {
  if (torn) cache.push_back(*torn);
  torn.reset();
  const std::size_t keep = cache.empty() ? 0 : dice.below(cache.size() + 1);
  world.note("crash-log", host, static_cast<std::int64_t>(keep),
             static_cast<std::int64_t>(cache.size()));
  world.count(Count::lost_writes, cache.size() - keep);
  for (std::size_t i = 0; i < keep; ++i) {
    apply(stable, cache[i]);
    if (!survived || !cache[i].records || cache[i].replaced) continue;
    for (const Record& r : *cache[i].records) survived(r);
  }
  cache.clear();
}

std::unique_ptr<store::Log> make_disk_log(Disk& disk, LogFile& file, LifePtr life,
                                          DiskLogOptions options) {
  return std::make_unique<DiskLog>(disk, file, std::move(life), std::move(options));
}

}  // namespace skiff::sim
