// What every controller is made of.
#pragma once

#include <memory>

#include "skiff/client/reconcile.hpp"
#include "skiff/controllers/controllers.hpp"

namespace skiff::controllers {

using api::NamespacedName;
using api::ObjectPtr;
using api::Value;
using client::Informer;
using client::Outcome;
using client::Ref;
using client::WorkQueue;
using client::Write;

namespace resources = client::resources;

// Shared by all; the pointees outlive every controller.
struct Context {
  Env env;
  client::Client* client = nullptr;
  client::InformerFactory* informers = nullptr;
  client::EventRecorder* events = nullptr;
};

class Controller {
 public:
  virtual ~Controller() = default;
  virtual void start(TaskGroup& group) = 0;
};

// A controller that is one reconcile loop.
class LoopController : public Controller, public client::Reconciler {
 public:
  explicit LoopController(Context context) : context_(context) {}
  void start(TaskGroup& group) override {
    client::run_reconciler(context_.env, group, *this, *context_.informers);
  }

 protected:
  Informer& informer(const Ref& ref) const { return context_.informers->get(ref); }
  WallTime now() const { return context_.env.clock->wall(); }
  void event(const api::Object& about, std::string_view type, std::string_view reason,
             std::string message) const {
    context_.events->event(about, type, reason, std::move(message));
  }

  // The client's calls with their options spelled out.
  Task<Result<ObjectPtr>> create(Ref ref, Value object) const;
  Task<Result<ObjectPtr>> update(Ref ref, Value object) const;
  // Replaces `object`'s status; a conflict when it has changed since it was read.
  Task<Result<ObjectPtr>> update_status(Ref ref, ObjectPtr object, Value status) const;
  // Deletes in the background, provided it still is the same object.
  Task<Result<ObjectPtr>> remove(Ref ref, ObjectPtr object) const;

  Context context_;
};

std::unique_ptr<Controller> make_deployment(Context context, const Options& options);
std::unique_ptr<Controller> make_replica_set(Context context, const Options& options);
std::unique_ptr<Controller> make_replication_controller(Context context, const Options& options);
std::unique_ptr<Controller> make_namespace(Context context, const Options& options);
std::unique_ptr<Controller> make_service_account(Context context, const Options& options);
std::unique_ptr<Controller> make_root_ca(Context context, const Options& options);
std::unique_ptr<Controller> make_endpoints(Context context, const Options& options);
std::unique_ptr<Controller> make_endpoint_slice(Context context, const Options& options);
std::unique_ptr<Controller> make_endpoint_slice_mirroring(Context context, const Options& options);
std::unique_ptr<Controller> make_garbage_collector(Context context, const Options& options);
std::unique_ptr<Controller> make_node_ipam(Context context, const Options& options);
std::unique_ptr<Controller> make_node_lifecycle(Context context, const Options& options);
std::unique_ptr<Controller> make_taint_eviction(Context context, const Options& options);
std::unique_ptr<Controller> make_disruption(Context context, const Options& options);
std::unique_ptr<Controller> make_pod_cleanup(Context context, const Options& options);

}  // namespace skiff::controllers
