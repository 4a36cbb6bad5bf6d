// Garbage collector: deletes objects whose owners are gone, and carries out foreground and
// orphaning deletion. The rules are upstream's ("Garbage Collection" in the documentation; the
// finalizers foregroundDeletion and orphan are part of the API).
#include "controller.hpp"
#include "objects.hpp"
#include "owner_graph.hpp"
#include "skiff/api/schema.hpp"
#include "skiff/client/reflector.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kForeground = "foregroundDeletion";
constexpr const char* kOrphan = "orphan";
constexpr std::size_t kWorkers = 16;

struct Resource {
  Ref ref;
  std::string kind;
  bool namespaced;
};

// Every kind whose objects can own or be owned. Events are left out: they are many, short-lived and
// never either.
std::vector<Resource> collectable() {
  std::vector<Resource> out;
  constexpr std::uint16_t kNeeded = api::kList | api::kWatch | api::kDelete;
  for (const api::Resource& r : api::resources()) {
    const bool stored_here = (r.storage_group.empty() || r.storage_group == r.group) &&
                             (r.storage_version.empty() || r.storage_version == r.version);
    if ((r.verbs & kNeeded) != kNeeded || !stored_here || r.kind == "Event") continue;
    Ref ref{std::string(r.group), std::string(r.version), std::string(r.plural), "", "", ""};
    out.push_back({std::move(ref), std::string(r.kind), r.namespaced});
  }
  return out;
}

// Owners of an object, by what is to become of the reference.
struct Owners {
  std::vector<std::string> solid;
  std::vector<std::string> dangling;  // the owner is gone
  std::vector<std::string> waiting;   // the owner waits for its dependents to be deleted
};

class GarbageCollector final : public LoopController {
 public:
  explicit GarbageCollector(Context context)
      : LoopController(context), resources_(collectable()), synced_(context.env.executor) {
    for (std::size_t i = 0; i < resources_.size(); ++i) {
      sinks_.push_back(std::make_unique<Sink>(this, static_cast<std::uint16_t>(i)));
    }
  }

  std::string_view name() const override { return "garbagecollector"; }
  void watch(WorkQueue& queue) override { queue_ = &queue; }

  void start(TaskGroup& group) override {
    client::LoopOptions options;
    options.workers = kWorkers;
    client::run_reconciler(context_.env, group, *this, *context_.informers, options);
    for (const auto& sink : sinks_) {
      const Ref& ref = resources_[sink->resource].ref;
      group.spawn("garbage collector " + ref.resource,
                  client::reflect(context_.env, context_.client, ref, {}, sink.get()));
    }
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  // Feeds one resource into the graph.
  struct Sink final : client::WatchSink {
    Sink(GarbageCollector* o, std::uint16_t r) : owner(o), resource(r) {}
    void list_begin() override { present.clear(); }
    void list_page(std::vector<ObjectPtr> objects) override;
    void list_end(std::int64_t) override;
    void changes(std::span<const client::WatchEvent> events) override;
    void reached(std::int64_t) override {}

    GarbageCollector* owner;
    std::uint16_t resource;
    bool synced = false;
    std::set<std::string> present;  // UIDs of a list that is not the first
  };

  void enqueue(const Suspects& suspects) {
    for (const Suspect& s : suspects) queue_->add({s.orphan ? kOrphan : "", s.uid});
  }
  std::optional<std::uint16_t> resource_of(const Value& reference) const;
  Ref at(const GraphNode& node) const { return resources_[node.resource].ref.at(node.key); }

  Task<Result<void>> examine(GraphNode node);
  Task<Result<Owners>> classify(ObjectPtr object, bool namespaced);
  Task<Result<void>> wait_for_dependents(GraphNode node);
  Task<Result<void>> delete_object(Ref ref, ObjectPtr object, std::string policy);
  Task<Result<void>> drop_references(Ref ref, ObjectPtr object, std::vector<std::string> owners);
  Task<Result<void>> unblock(Ref ref, ObjectPtr object);
  Task<Result<void>> orphan_dependents(GraphNode node);
  Task<Result<void>> remove_finalizer(Ref ref, std::string uid, const char* finalizer);

  std::vector<Resource> resources_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  Signal synced_;
  OwnerGraph graph_;
  WorkQueue* queue_ = nullptr;
};

// Whether the graph may care, told from the bytes: most objects have no owner and are never parsed
// for the collector. Both names stand escaped where they are part of a string, and so do not match.
bool looks_interesting(const api::Object& object) {
  const std::string_view json = object.json();
  return json.find("\"ownerReferences\"") != std::string_view::npos ||
         json.find("\"deletionTimestamp\"") != std::string_view::npos;
}

void GarbageCollector::Sink::list_page(std::vector<ObjectPtr> objects) {
  for (const ObjectPtr& object : objects) {
    if (synced) present.insert(object->uid());
    if (!looks_interesting(*object)) continue;
    owner->enqueue(owner->graph_.put(GraphNode::from(resource, *object)));
  }
}

void GarbageCollector::Sink::list_end(std::int64_t) {
  if (synced) {
    owner->enqueue(owner->graph_.replace(resource, present));
    present.clear();
    return;
  }
  synced = true;
  owner->synced_.notify_all();
}

void GarbageCollector::Sink::changes(std::span<const client::WatchEvent> events) {
  for (const client::WatchEvent& event : events) {
    const api::Object& object = *event.object;
    if (event.type == client::WatchEvent::Type::deleted) {
      owner->enqueue(owner->graph_.erase(object.uid()));
    } else if (looks_interesting(object) || owner->graph_.has_any(resource)) {
      owner->enqueue(owner->graph_.put(GraphNode::from(resource, object)));
    }
  }
}

Task<Result<Outcome>> GarbageCollector::reconcile(NamespacedName key) {
  // A graph with gaps would take owners for absent.
  while (!std::ranges::all_of(sinks_, [](const auto& sink) { return sink->synced; })) {
    co_await synced_.wait();
  }
  const GraphNode* node = graph_.find(key.name);
  if (node == nullptr) co_return Outcome{};
  GraphNode copy = *node;
  if (key.ns == kOrphan) {
    SKIFF_CO_CHECK(co_await orphan_dependents(std::move(copy)));
  } else {
    SKIFF_CO_CHECK(co_await examine(std::move(copy)));
  }
  co_return Outcome{};
}

Task<Result<void>> GarbageCollector::examine(GraphNode node) {
  if (node.deleting && !node.foreground) co_return Result<void>{};
  const Ref ref = at(node);
  const auto live = co_await context_.client->get(ref);
  const bool absent = live ? (*live)->uid() != node.uid : live.error().code == Code::not_found;
  if (absent) {
    enqueue(graph_.erase(node.uid));
    co_return Result<void>{};
  }
  if (!live) co_return live.error();
  const ObjectPtr& object = *live;
  if (node.foreground) co_return co_await wait_for_dependents(std::move(node));
  SKIFF_CO_TRY(Owners owners, co_await classify(object, resources_[node.resource].namespaced));
  if (!owners.solid.empty()) {
    std::vector<std::string> drop = std::move(owners.dangling);
    drop.insert(drop.end(), owners.waiting.begin(), owners.waiting.end());
    if (drop.empty()) co_return Result<void>{};
    co_return co_await drop_references(ref, object, std::move(drop));
  }
  if (owners.dangling.empty() && owners.waiting.empty()) co_return Result<void>{};
  const std::vector<const GraphNode*> dependents = graph_.dependents(node.uid);
  if (!owners.waiting.empty() && !dependents.empty()) {
    // A circle of owners that all wait for each other is broken here.
    const bool circle =
        std::ranges::any_of(dependents, [](const GraphNode* d) { return d->foreground; });
    if (circle) co_return co_await unblock(ref, object);
    co_return co_await delete_object(ref, object, "Foreground");
  }
  std::string policy = "Background";
  for (const Value& finalizer : object->metadata()["finalizers"].items()) {
    if (finalizer.as_string() == kOrphan) policy = "Orphan";
    if (finalizer.as_string() == kForeground) policy = "Foreground";
  }
  co_return co_await delete_object(ref, object, std::move(policy));
}

// The resource an owner reference names. Owners may be named in any version of their group.
std::optional<std::uint16_t> GarbageCollector::resource_of(const Value& reference) const {
  const auto version = api::GroupVersion::parse(reference["apiVersion"].as_string());
  if (!version) return std::nullopt;
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    if (resources_[i].kind == reference["kind"].as_string() &&
        resources_[i].ref.group == version->group) {
      return static_cast<std::uint16_t>(i);
    }
  }
  return std::nullopt;
}

Task<Result<Owners>> GarbageCollector::classify(ObjectPtr object, bool namespaced) {
  Owners owners;
  for (const Value& reference : object->metadata()["ownerReferences"].items()) {
    const std::string uid = reference["uid"].as_string();
    const std::optional<std::uint16_t> resource = resource_of(reference);
    // Nothing is deleted for an owner of a kind nobody here knows, nor for a cluster-scoped object
    // whose owner has a namespace that cannot be told.
    if (!resource || (resources_[*resource].namespaced && !namespaced)) {
      owners.solid.push_back(uid);
      continue;
    }
    const std::string ns = resources_[*resource].namespaced ? object->ns() : "";
    Ref owner_at = resources_[*resource].ref.at(ns, reference["name"].as_string());
    const auto owner = co_await context_.client->get(std::move(owner_at));
    if (!owner && owner.error().code != Code::not_found) co_return owner.error();
    if (!owner || (*owner)->uid() != uid) {
      owners.dangling.push_back(uid);
      continue;
    }
    graph_.verified(uid, *resource);
    if (GraphNode::from(*resource, **owner).foreground) {
      owners.waiting.push_back(uid);
    } else {
      owners.solid.push_back(uid);
    }
  }
  co_return owners;
}

// Foreground deletion: the owner goes when nothing that blocks it is left.
Task<Result<void>> GarbageCollector::wait_for_dependents(GraphNode node) {
  const std::vector<const GraphNode*> blocking = graph_.blocking(node.uid);
  if (blocking.empty()) {
    co_return co_await remove_finalizer(at(node), node.uid, kForeground);
  }
  for (const GraphNode* dependent : blocking) {
    if (!dependent->foreground && !dependent->deleting) queue_->add({"", dependent->uid});
  }
  co_return Result<void>{};
}

Task<Result<void>> GarbageCollector::delete_object(Ref ref, ObjectPtr object, std::string policy) {
  client::DeleteOptions options;
  options.propagation_policy = std::move(policy);
  options.uid = object->uid();
  // Should its owners have changed since they were judged, they must be judged again.
  options.resource_version = object->resource_version();
  const auto removed = co_await context_.client->remove(std::move(ref), std::move(options));
  if (!removed && removed.error().code != Code::not_found) co_return removed.error();
  co_return Result<void>{};
}

Task<Result<void>> GarbageCollector::drop_references(Ref ref, ObjectPtr object,
                                                     std::vector<std::string> owners) {
  Value next = object->root();
  Value& meta = next.member("metadata");
  auto& references = meta.member("ownerReferences").mutable_items();
  std::erase_if(references, [&](const Value& r) {
    return std::ranges::find(owners, r["uid"].as_string()) != owners.end();
  });
  if (references.empty()) meta.erase("ownerReferences");
  const auto written = co_await update(std::move(ref), std::move(next));
  if (!written && written.error().code != Code::not_found) co_return written.error();
  co_return Result<void>{};
}

Task<Result<void>> GarbageCollector::unblock(Ref ref, ObjectPtr object) {
  Value next = object->root();
  for (Value& r : next.member("metadata").member("ownerReferences").mutable_items()) {
    if (r["blockOwnerDeletion"].as_bool()) r.set("blockOwnerDeletion", false);
  }
  SKIFF_CO_CHECK(co_await update(ref, std::move(next)));
  SKIFF_CO_TRY(const ObjectPtr fresh, co_await context_.client->get(ref));
  co_return co_await delete_object(ref, fresh, "Foreground");
}

Task<Result<void>> GarbageCollector::orphan_dependents(GraphNode node) {
  std::vector<GraphNode> dependents;
  for (const GraphNode* d : graph_.dependents(node.uid)) dependents.push_back(*d);
  std::vector<std::string> owner{node.uid};
  for (const GraphNode& dependent : dependents) {
    Ref ref = at(dependent);
    const auto live = co_await context_.client->get(ref);
    if (!live && live.error().code == Code::not_found) continue;
    if (!live) co_return live.error();
    if ((*live)->uid() != dependent.uid) continue;
    SKIFF_CO_CHECK(co_await drop_references(ref, *live, owner));
  }
  co_return co_await remove_finalizer(at(node), node.uid, kOrphan);
}

Task<Result<void>> GarbageCollector::remove_finalizer(Ref ref, std::string uid,
                                                      const char* finalizer) {
  const auto live = co_await context_.client->get(ref);
  if (!live && live.error().code == Code::not_found) co_return Result<void>{};
  if (!live) co_return live.error();
  if ((*live)->uid() != uid) co_return Result<void>{};
  Value next = (*live)->root();
  Value& meta = next.member("metadata");
  auto& finalizers = meta.member("finalizers").mutable_items();
  const std::size_t erased =
      std::erase_if(finalizers, [&](const Value& f) { return f.as_string() == finalizer; });
  if (finalizers.empty()) meta.erase("finalizers");
  if (erased == 0) co_return Result<void>{};
  const auto written = co_await update(std::move(ref), std::move(next));
  if (!written && written.error().code != Code::not_found) co_return written.error();
  co_return Result<void>{};
}

}  // namespace

std::unique_ptr<Controller> make_garbage_collector(Context context, const Options&) {
  return std::make_unique<GarbageCollector>(context);
}

}  // namespace skiff::controllers
