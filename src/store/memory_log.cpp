#include "skiff/store/log.hpp"

namespace skiff::store {
namespace {

class MemoryLog final : public Log {
 public:
  Task<Result<Recovered>> replay(std::function<void(Record)>) override { co_return Recovered{}; }
  Task<Result<void>> append(Records) override { co_return Result<void>(); }
  Task<Result<void>> compact(Revision) override { co_return Result<void>(); }
  Task<Result<void>> close() override { co_return Result<void>(); }
};

}  // namespace

std::unique_ptr<Log> make_memory_log() { return std::make_unique<MemoryLog>(); }

}  // namespace skiff::store
