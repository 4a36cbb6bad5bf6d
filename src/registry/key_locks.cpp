#include "key_locks.hpp"

namespace skiff::registry {

Task<KeyLocks::Guard> KeyLocks::lock(std::vector<std::string> keys) {
  std::sort(keys.begin(), keys.end());
  Guard guard(*this);
  guard.keys_.reserve(keys.size());
  for (std::string& key : keys) {
    while (true) {
      const auto [at, inserted] = held_.try_emplace(key);
      if (inserted) break;
      if (!at->second) at->second = std::make_shared<Signal>(executor_);
      const std::shared_ptr<Signal> freed = at->second;  // the entry may go before we wake
      co_await freed->wait();
    }
    guard.keys_.push_back(std::move(key));
  }
  co_return guard;
}

void KeyLocks::unlock(const std::string& key) {
  const auto at = held_.find(key);
  if (at == held_.end()) return;
  const std::shared_ptr<Signal> freed = std::move(at->second);
  held_.erase(at);
  if (freed) freed->notify_all();
}

void KeyLocks::Guard::release() {
  if (!locks_) return;
  for (const std::string& key : keys_) locks_->unlock(key);
  keys_.clear();
  locks_ = nullptr;
}

}  // namespace skiff::registry
