// Assigns pods to nodes: a queue, a view of the cluster, and plug-ins that filter and score.
//
// Decisions are made in batches: all pods that are waiting are placed one after another in one turn
// of the loop, each seeing those before it, and their bindings go out as one Client::batch, which
// is one disk write. Semantics follow the scheduling framework (KEP-624) and its default plug-ins.
#pragma once

#include <memory>
#include <string>

#include "skiff/client/informer.hpp"

namespace skiff::scheduler {

struct Options {
  std::string scheduler_name = "default-scheduler";  // pods that name another are left alone
  std::size_t max_batch = 1024;                      // pods placed in one turn
};

class Scheduler {
 public:
  // Registers its informers with the factory: construct before InformerFactory::start().
  Scheduler(Env env, client::Client& client, client::InformerFactory& informers, Options options);
  ~Scheduler();

  // Spawns its tasks; they end when the group is cancelled. The scheduler outlives the group's
  // tasks.
  void start(TaskGroup& group);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skiff::scheduler
