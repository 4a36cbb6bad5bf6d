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

}  // namespace

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
