#include "skiff/store/log.hpp"

namespace skiff::store {
namespace {

class MemoryLog final : public Log {
 public:
  Task<Result<Recovered>> replay(std::function<void(Record)>) override { co_return Recovered{}; }
  Task<Result<void>> append(Records records) override {
    newest_ = records->back().item->modified;
    co_return Result<void>();
  }
  Task<Result<std::vector<Record>>> history(Range, Revision, Revision, std::size_t) override {
    co_return nothing_kept();
  }
  Task<Result<std::vector<Record>>> state(Range, Revision, std::size_t) override {
    co_return nothing_kept();
  }
  Revision compacted() const override { return newest_; }
  Task<Result<void>> sync() override { co_return Result<void>(); }
  Task<Result<void>> compact(Revision) override { co_return Result<void>(); }
  Task<Result<void>> close() override { co_return Result<void>(); }

 private:
  static Error nothing_kept() { return {Code::expired, "this store keeps no history on disk"}; }
  Revision newest_ = 0;
};

class Pages final : public StateReader {
 public:
  Pages(Log& log, Range range, Revision at) : log_(log), rest_(std::move(range)), at_(at) {}

  Task<Result<std::vector<Record>>> next(std::size_t limit) override {
    if (done_) co_return std::vector<Record>();
    Range rest = rest_;
    auto records = co_await log_.state(std::move(rest), at_, limit);
    if (!records) co_return records.error();
    done_ = limit == 0 || records->size() < limit;
    if (!done_) rest_.begin = records->back().item->key + '\0';
    co_return std::move(*records);
  }

 private:
  Log& log_;
  Range rest_;
  Revision at_;
  bool done_ = false;
};

}  // namespace

// What serves a log that finds a key's version at any revision without a search.

std::unique_ptr<StateReader> Log::read_state(Range range, Revision at) {
  return std::make_unique<Pages>(*this, std::move(range), at);
}

Task<Result<std::vector<Record>>> Log::superseded_by(std::vector<Record> records) {
  std::vector<Record> out;
  for (const Record& record : records) {
    if (record.previous == 0) continue;
    Range alone = Range::key(record.item->key);
    auto before = co_await state(std::move(alone), record.item->modified - 1, 1);
    if (!before) co_return before.error();
    if (!before->empty()) out.push_back(std::move(before->front()));
  }
  co_return out;
}

// What a log of one server answers to what only shared ones are asked.

Task<std::vector<Result<Revision>>> Log::forward(std::vector<Op> ops) {
  const Result<Revision> refusal = Error{Code::internal, "this log decides for itself"};
  co_return std::vector<Result<Revision>>(ops.size(), refusal);
}

Task<Result<Revision>> Log::barrier() { co_return Revision{0}; }

Task<Result<void>> Log::replace(Recovered, std::vector<Record>) {
  co_return Error{Code::internal, "this log cannot take over another state"};
}

std::unique_ptr<Log> make_memory_log() { return std::make_unique<MemoryLog>(); }

}  // namespace skiff::store
