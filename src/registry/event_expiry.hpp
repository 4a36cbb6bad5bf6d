// Events live for an hour. Every Event write is noted with its deadline; one timer, set to the
// oldest, removes what was not written again since. Nothing runs while there are no Events.
#pragma once

#include <deque>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry {

class EventExpiry {
 public:
  explicit EventExpiry(Env env) : env_(env), changed_(env.executor) {}

  void note(const store::Item& item, Duration lifetime);
  // Runs until cancelled. `store` outlives the task.
  Task<void> run(store::Store* store);

 private:
  struct Entry {
    TimePoint deadline;
    std::string key;
    store::Revision modified;
  };
  std::vector<store::Op> due(store::Store& store);

  Env env_;
  Signal changed_;
  std::deque<Entry> entries_;  // by deadline; as many as there were Event writes in one lifetime
};

}  // namespace skiff::registry
