// Endpoints: the older form of EndpointSlices, kept for those who still read it.
#include "endpoint_plan.hpp"

#include "service_pods.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kManagedByLabel = "endpoints.kubernetes.io/managed-by";
constexpr const char* kManagerName = "endpoint-controller";
constexpr const char* kOverCapacity = "endpoints.kubernetes.io/over-capacity";

bool ours(const api::Object& endpoints) {
  return endpoints.labels()[kManagedByLabel].as_string() == kManagerName;
}

class EndpointsController final : public LoopController {
 public:
  explicit EndpointsController(Context context)
      : LoopController(context), pods_(context), endpoints_(informer(resources::kEndpoints)) {}

  std::string_view name() const override { return "endpoints"; }

  void watch(WorkQueue& queue) override {
    pods_.watch(queue);
    endpoints_.add_handler([&queue](const ObjectPtr& previous, const ObjectPtr& current) {
      if ((previous && ours(*previous)) || (current && ours(*current))) {
        queue.add((current ? current : previous)->key());
      }
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  Value wanted(const api::Object& service, const ObjectPtr& present) const;

  ServicePods pods_;
  Informer& endpoints_;
};

Value EndpointsController::wanted(const api::Object& service, const ObjectPtr& present) const {
  bool truncated = false;
  const std::vector<ObjectPtr> selected = pods_.of(service);
  Value subsets = endpoint_subsets(service.root(), selected, &truncated);
  Value next =
      present ? present->root() : Value::object({{"apiVersion", "v1"}, {"kind", "Endpoints"}});
  Value& meta = next.member("metadata");
  meta.set("name", service.name());
  meta.set("namespace", service.ns());
  Value labels = Value::object();
  for (const api::Member& m : service.labels().members()) {
    if (m.name != kHeadless) labels.set(m.name, m.value);
  }
  labels.set(kManagedByLabel, kManagerName);
  if (headless(service.root())) labels.set(kHeadless, "");
  meta.set("labels", std::move(labels));
  if (truncated) {
    meta.member("annotations").set(kOverCapacity, "truncated");
  } else if (!meta["annotations"][kOverCapacity].is_null()) {
    meta.member("annotations").erase(kOverCapacity);
  }
  if (subsets.empty()) {
    next.erase("subsets");
  } else {
    next.set("subsets", std::move(subsets));
  }
  return next;
}

Task<Result<Outcome>> EndpointsController::reconcile(NamespacedName key) {
  Outcome outcome;
  const ObjectPtr service = pods_.services().get(key);
  const ObjectPtr present = endpoints_.get(key);
  if (!service) {
    // Custom Endpoints go with their service too.
    if (!present) co_return outcome;
    const auto removed = co_await remove(resources::kEndpoints, present);
    if (!removed && removed.error().code != Code::not_found) co_return removed.error();
    outcome.removed(endpoints_, *present);
    co_return outcome;
  }
  const Value& spec = (*service)["spec"];
  if (service->deleting() || spec["selector"].empty() ||
      spec["type"].as_string() == "ExternalName") {
    co_return outcome;
  }
  Value next = wanted(*service, present);
  if (present && next == present->root()) co_return outcome;
  Ref at = resources::kEndpoints.at(key.ns, present ? key.name : "");
  Result<ObjectPtr> written{Error{}};
  if (present) {
    written = co_await update(at, std::move(next));
  } else {
    written = co_await create(at, std::move(next));
  }
  if (written) {
    outcome.wrote(endpoints_, **written);
  } else if (!namespace_terminating(written.error())) {
    co_return written.error();
  }
  co_return outcome;
}

}  // namespace

std::unique_ptr<Controller> make_endpoints(Context context, const Options&) {
  return std::make_unique<EndpointsController>(context);
}

}  // namespace skiff::controllers
