#include "skiff/controllers/controllers.hpp"

#include "controller.hpp"

namespace skiff::controllers {
namespace {

using Factory = std::unique_ptr<Controller> (*)(Context, const Options&);

struct Known {
  std::string_view name;
  Factory make;
};

// Sorted by name.
constexpr Known kControllers[] = {
    {"deployment", make_deployment},
    {"disruption", make_disruption},
    {"endpoints", make_endpoints},
    {"endpointslice", make_endpoint_slice},
    {"endpointslicemirroring", make_endpoint_slice_mirroring},
    {"garbagecollector", make_garbage_collector},
    {"namespace", make_namespace},
    {"nodeipam", make_node_ipam},
    {"nodelifecycle", make_node_lifecycle},
    {"podgc", make_pod_cleanup},
    {"replicaset", make_replica_set},
    {"replicationcontroller", make_replication_controller},
    {"root-ca-certificate-publisher", make_root_ca},
    {"serviceaccount", make_service_account},
    {"taint-eviction", make_taint_eviction},
};

}  // namespace

struct Controllers::State {
  State(Env env, client::Client& client, client::InformerFactory& informers,
        const Options& options) {
    for (const Known& known : kControllers) {
      if (options.disabled.contains(known.name)) continue;
      // A recorder per controller: events name their source.
      recorders.push_back(std::make_unique<client::EventRecorder>(
          env, client, std::string(known.name) + "-controller"));
      const Context context{env, &client, &informers, recorders.back().get()};
      if (auto controller = known.make(context, options)) running.push_back(std::move(controller));
    }
  }

  std::vector<std::unique_ptr<client::EventRecorder>> recorders;
  std::vector<std::unique_ptr<Controller>> running;
};

Controllers::Controllers(Env env, client::Client& client, client::InformerFactory& informers,
                         Options options)
    : state_(std::make_unique<State>(env, client, informers, options)) {}
Controllers::~Controllers() = default;

void Controllers::start(TaskGroup& group) {
  for (const auto& recorder : state_->recorders) recorder->start(group);
  for (const auto& controller : state_->running) controller->start(group);
}

std::vector<std::string_view> Controllers::names() {
  std::vector<std::string_view> out;
  for (const Known& known : kControllers) out.push_back(known.name);
  return out;
}

}  // namespace skiff::controllers
