// Writes to one key take turns, so that each is computed from the version it replaces.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "skiff/base/task.hpp"

namespace skiff::registry {

class KeyLocks {
 public:
  explicit KeyLocks(Executor executor) : executor_(std::move(executor)) {}
  KeyLocks(const KeyLocks&) = delete;
  KeyLocks& operator=(const KeyLocks&) = delete;

  // Keys held until this is destroyed.
  class Guard {
   public:
    Guard() = default;
    Guard(Guard&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)), keys_(std::move(other.keys_)) {}
    Guard& operator=(Guard&& other) noexcept {
      release();
      locks_ = std::exchange(other.locks_, nullptr);
      keys_ = std::move(other.keys_);
      return *this;
    }
    ~Guard() { release(); }

   private:
    friend class KeyLocks;
    explicit Guard(KeyLocks& locks) : locks_(&locks) {}
    void release();
    KeyLocks* locks_ = nullptr;
    std::vector<std::string> keys_;
  };

  // `keys` are taken in sorted order, so that two callers never wait for each other; they must
  // differ. Throws operation_aborted when the waiting task is cancelled, holding nothing.
  Task<Guard> lock(std::vector<std::string> keys);

 private:
  using Held = std::unordered_map<std::string, std::shared_ptr<Signal>>;  // null: nobody waits
  void unlock(const std::string& key);
  Executor executor_;
  Held held_;
};

}  // namespace skiff::registry
