// EndpointSlices: of Services with a selector, and mirrors of custom Endpoints.
#include "endpoint_plan.hpp"

#include "service_pods.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kSlicesOf = "service and manager";
constexpr const char* kManager = "endpointslice-controller.k8s.io";
constexpr const char* kMirror = "endpointslicemirroring-controller.k8s.io";
constexpr const char* kSkipMirror = "endpointslice.kubernetes.io/skip-mirror";
constexpr const char* kLeader = "control-plane.alpha.kubernetes.io/leader";

std::string slices_key(const std::string& ns, const std::string& service,
                       const std::string& manager) {
  return ns + "/" + service + " " + manager;
}

std::vector<std::string> slices_keys(const api::Object& slice) {
  const Value& labels = slice.labels();
  const std::string& service = labels[kServiceName].as_string();
  if (service.empty()) return {};
  return {slices_key(slice.ns(), service, labels[kManagedBy].as_string())};
}

// A slice of `owner` without endpoints. Labels that slices use themselves are not taken over.
Value slice_frame(const api::Object& owner, const char* manager, bool is_headless) {
  Value labels = Value::object();
  for (const api::Member& m : owner.labels().members()) {
    if (m.name != kServiceName && m.name != kManagedBy && m.name != kHeadless &&
        m.name != "endpoints.kubernetes.io/managed-by") {
      labels.set(m.name, m.value);
    }
  }
  labels.set(kServiceName, owner.name());
  labels.set(kManagedBy, manager);
  if (is_headless) labels.set(kHeadless, "");
  Value meta = Value::object({{"generateName", owner.name() + "-"},
                              {"namespace", owner.ns()},
                              {"labels", std::move(labels)}});
  meta.member("ownerReferences").push_back(controller_reference(owner));
  return Value::object({{"apiVersion", "discovery.k8s.io/v1"},
                        {"kind", "EndpointSlice"},
                        {"metadata", std::move(meta)}});
}

// What both controllers do with a plan.
class SliceWriter : public LoopController {
 public:
  SliceWriter(Context context, const char* manager)
      : LoopController(context), manager_(manager), slices_(informer(resources::kEndpointSlices)) {
    slices_.add_index(kSlicesOf, slices_keys);
  }

 protected:
  // A slice of ours that somebody else changed or deleted is put right again.
  void watch_slices(WorkQueue& queue) {
    slices_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      for (const ObjectPtr& slice : {previous, current}) {
        if (!slice || slice->labels()[kManagedBy].as_string() != manager_) continue;
        queue.add({slice->ns(), slice->labels()[kServiceName].as_string()});
      }
    });
  }

  std::vector<ObjectPtr> existing(const NamespacedName& key) const {
    return slices_.by_index(kSlicesOf, slices_key(key.ns, key.name, manager_));
  }

  Task<Result<Outcome>> apply(NamespacedName key, SliceChanges changes) {
    Outcome outcome;
    if (changes.empty()) co_return outcome;
    std::vector<Write> writes;
    for (Value& slice : changes.create) {
      Write write;
      write.ref = resources::kEndpointSlices.in(key.ns);
      write.object = std::move(slice);
      writes.push_back(std::move(write));
    }
    for (Value& slice : changes.update) {
      Write write;
      write.type = Write::Type::update;
      write.ref = resources::kEndpointSlices.at(key.ns, slice["metadata"]["name"].as_string());
      write.object = std::move(slice);
      writes.push_back(std::move(write));
    }
    const std::size_t removals_from = writes.size();
    for (const ObjectPtr& slice : changes.remove) {
      Write write;
      write.type = Write::Type::remove;
      write.ref = resources::kEndpointSlices.at(slice->key());
      write.delete_options.uid = slice->uid();
      writes.push_back(std::move(write));
    }
    const auto results = co_await context_.client->batch(std::move(writes));
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!results[i]) {
        const Error& error = results[i].error();
        if (error.code != Code::not_found && !namespace_terminating(error)) outcome.retry = error;
      } else if (i < removals_from) {
        outcome.wrote(slices_, **results[i]);
      } else {
        outcome.removed(slices_, *changes.remove[i - removals_from]);
      }
    }
    co_return outcome;
  }

  const char* manager_;
  Informer& slices_;
};

class EndpointSliceController final : public SliceWriter {
 public:
  explicit EndpointSliceController(Context context)
      : SliceWriter(context, kManager), pods_(context), nodes_(informer(resources::kNodes)) {}

  std::string_view name() const override { return "endpointslice"; }

  void watch(WorkQueue& queue) override {
    pods_.watch(queue);
    watch_slices(queue);
    nodes_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      if (!current) return;
      const Value& before = previous ? previous->labels()[kZone] : Value();
      if (before == current->labels()[kZone]) return;
      for (const auto& [key, service] : pods_.services().all()) queue.add(key);
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override {
    const ObjectPtr service = pods_.services().get(key);
    // The slices of a deleted service are the garbage collector's business.
    if (!service || service->deleting()) co_return Outcome{};
    const Value& spec = (*service)["spec"];
    if (spec["selector"].empty() || spec["type"].as_string() == "ExternalName") {
      co_return Outcome{};
    }
    const ZoneOf zone_of = [this](const std::string& node) {
      const ObjectPtr found = nodes_.get("", node);
      return found ? found->labels()[kZone].as_string() : std::string();
    };
    std::vector<std::string> families;
    for (const Value& f : spec["ipFamilies"].items()) families.push_back(f.as_string());
    const std::vector<ObjectPtr> selected = pods_.of(*service);
    std::vector<EndpointGroup> groups = service_groups(service->root(), selected, zone_of);
    const Value frame = slice_frame(*service, kManager, headless(service->root()));
    SliceChanges changes = plan_slices(std::move(groups), existing(key), frame, families);
    auto applied = co_await apply(key, std::move(changes));
    co_return applied;
  }

 private:
  ServicePods pods_;
  Informer& nodes_;
};

class MirroringController final : public SliceWriter {
 public:
  explicit MirroringController(Context context)
      : SliceWriter(context, kMirror),
        endpoints_(informer(resources::kEndpoints)),
        services_(informer(resources::kServices)) {}

  std::string_view name() const override { return "endpointslicemirroring"; }

  void watch(WorkQueue& queue) override {
    const auto enqueue = [&queue](const ObjectPtr& previous, const ObjectPtr& current) {
      queue.add((current ? current : previous)->key());
    };
    endpoints_.add_handler(enqueue);
    services_.add_handler(enqueue);
    watch_slices(queue);
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override {
    const ObjectPtr endpoints = endpoints_.get(key);
    SliceChanges changes;
    if (endpoints && wanted(*endpoints)) {
      const Value frame = slice_frame(*endpoints, kMirror, false);
      changes = plan_slices(mirrored_groups(endpoints->root()), existing(key), frame, {});
    } else {
      for (ObjectPtr& slice : existing(key)) {
        if (!slice->deleting()) changes.remove.push_back(std::move(slice));
      }
    }
    auto applied = co_await apply(key, std::move(changes));
    co_return applied;
  }

 private:
  bool wanted(const api::Object& endpoints) const {
    if (endpoints.deleting() || endpoints.labels()[kSkipMirror].as_string() == "true" ||
        endpoints.annotations().has(kLeader)) {
      return false;
    }
    const ObjectPtr service = services_.get(endpoints.key());
    return service && (*service)["spec"]["selector"].empty();
  }

  Informer& endpoints_;
  Informer& services_;
};

}  // namespace

std::unique_ptr<Controller> make_endpoint_slice(Context context, const Options&) {
  return std::make_unique<EndpointSliceController>(context);
}

std::unique_ptr<Controller> make_endpoint_slice_mirroring(Context context, const Options&) {
  return std::make_unique<MirroringController>(context);
}

}  // namespace skiff::controllers
