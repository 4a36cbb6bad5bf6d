// What must run once in a cluster, however many servers it has: the controllers and the scheduler.
// They run where Ops are decided, or over an external datastore on the server that wins an
// election; they start when that comes to be here and stop when it ceases to be. Two servers may
// both believe to lead for a moment; compare-and-swap keeps that harmless.
#pragma once

#include <memory>
#include <string>

#include "options.hpp"
#include "skiff/controllers/controllers.hpp"
#include "skiff/etcd/etcd.hpp"
#include "skiff/registry/direct_client.hpp"
#include "skiff/scheduler/scheduler.hpp"

namespace skiff::app {

class Leader {
 public:
  // `registry` and `election` (null: who decides leads) outlive this.
  Leader(Env env, registry::Registry& registry, const ServerOptions& options, std::string ca_pem,
         etcd::Election* election);
  ~Leader();

  void start();
  // Ends everything. Must have resolved before this dies, if start() was called.
  Task<void> stop();
  bool leading() const noexcept { return parts_ != nullptr; }

 private:
  struct Parts;
  Task<void> follow();
  Task<void> wait_to_lead();
  Task<void> wait_to_lose();
  void start_parts();
  Task<void> resign();

  Env env_;
  registry::Registry& registry_;
  std::string cluster_cidr_;
  bool run_controllers_;
  bool run_scheduler_;
  bool fork_;
  std::string ca_pem_;
  etcd::Election* election_;
  bool stopping_ = false;
  std::unique_ptr<Parts> parts_;
  TaskGroup leading_;    // what the parts do
  TaskGroup following_;  // watching who decides
};

}  // namespace skiff::app
