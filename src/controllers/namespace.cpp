// Namespace: empties a namespace that is being deleted, then lets go of it.
#include "namespace_plan.hpp"

#include "controller.hpp"
#include "skiff/api/schema.hpp"

namespace skiff::controllers {
namespace {

constexpr std::string_view kFinalizer = "kubernetes";
constexpr std::int64_t kPage = 500;
// Content that is on its way out but held by finalizers or grace periods: pods tell us when they
// are gone, for the rest we look again, ever less often.
constexpr Duration kFirstLook = 500ms;
constexpr Duration kLongestLook = 30s;

bool holds(const Value& ns) {
  return std::ranges::any_of(ns["spec"]["finalizers"].items(),
                             [](const Value& f) { return f.as_string() == kFinalizer; });
}

class NamespaceController final : public LoopController {
 public:
  explicit NamespaceController(Context context)
      : LoopController(context),
        namespaces_(informer(resources::kNamespaces)),
        pods_(informer(resources::kPods)) {}

  std::string_view name() const override { return "namespace"; }

  void watch(WorkQueue& queue) override {
    namespaces_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      if (!current) {
        looks_.erase(previous->name());
      } else if (current->deleting() && holds(current->root())) {
        queue.add(current->key());
      }
    });
    pods_.add_handler([this, &queue](const ObjectPtr& previous, const ObjectPtr& current) {
      if (current) return;
      const ObjectPtr ns = namespaces_.get("", previous->ns());
      if (ns && ns->deleting()) queue.add(ns->key());
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  Task<Result<Remains>> empty(std::string ns);
  Task<Result<void>> empty_one(Ref ref, Remains* remains);
  Task<Result<void>> count(Ref ref, Remains* remains);
  Task<Result<void>> delete_all(Ref ref, std::vector<ObjectPtr> items, Remains* remains);
  Task<Result<void>> finalize(ObjectPtr ns);

  Informer& namespaces_;
  Informer& pods_;
  std::map<std::string, Duration> looks_;  // how long until the next look
};

Task<Result<Outcome>> NamespaceController::reconcile(NamespacedName key) {
  Outcome outcome;
  ObjectPtr ns = namespaces_.get(key);
  if (!ns || !ns->deleting() || !holds(ns->root())) co_return outcome;
  SKIFF_CO_TRY(const Remains remains, co_await empty(ns->name()));
  Value status = namespace_status(ns->root(), remains, now());
  if (!(status == (*ns)["status"])) {
    SKIFF_CO_TRY(const ObjectPtr written,
                 co_await update_status(resources::kNamespaces, ns, std::move(status)));
    outcome.wrote(namespaces_, *written);
    ns = written;
  }
  if (remains.empty()) {
    SKIFF_CO_CHECK(co_await finalize(ns));
    outcome.removed(namespaces_, *ns);
    co_return outcome;
  }
  Duration& look = looks_[ns->name()];
  look = look == Duration{} ? kFirstLook : std::min(look * 2, kLongestLook);
  outcome.again_after = look;
  co_return outcome;
}

// Pods go first and alone (KEP-5080): what they use must not vanish under them.
Task<Result<Remains>> NamespaceController::empty(std::string ns) {
  Remains remains;
  for (const ContentResource& content : namespace_content()) {
    const bool pods = content.group.empty() && content.plural == "pods";
    Ref ref{content.group, content.version, content.plural, ns, "", ""};
    const Result<void> done = co_await empty_one(std::move(ref), &remains);
    if (!done) {
      remains.failure = done.error().message;
      log::warn("controllers", "cannot empty namespace",
                {{"namespace", ns}, {"resource", content.plural}, {"why", done.error()}});
    }
    if (pods && !remains.empty()) break;
  }
  co_return remains;
}

// Deletes everything, then counts what is still there.
Task<Result<void>> NamespaceController::empty_one(Ref ref, Remains* remains) {
  client::ListOptions options;
  options.limit = kPage;
  bool any = false;
  do {
    SKIFF_CO_TRY(client::List page, co_await context_.client->list(ref, options));
    any = any || !page.items.empty();
    options.continue_token = std::move(page.continue_token);
    SKIFF_CO_CHECK(co_await delete_all(ref, std::move(page.items), remains));
  } while (!options.continue_token.empty());
  if (any) co_return co_await count(std::move(ref), remains);
  co_return Result<void>{};
}

Task<Result<void>> NamespaceController::count(Ref ref, Remains* remains) {
  client::ListOptions options;
  options.limit = kPage;
  do {
    SKIFF_CO_TRY(client::List page, co_await context_.client->list(ref, options));
    options.continue_token = std::move(page.continue_token);
    for (const ObjectPtr& object : page.items) {
      ++remains->instances[ref.resource + "." + ref.group];
      for (const Value& f : object->metadata()["finalizers"].items()) {
        ++remains->finalizers[f.as_string()];
      }
    }
  } while (!options.continue_token.empty());
  co_return Result<void>{};
}

Task<Result<void>> NamespaceController::delete_all(Ref ref, std::vector<ObjectPtr> items,
                                                   Remains* remains) {
  std::vector<Write> writes;
  for (const ObjectPtr& object : items) {
    if (object->deleting()) continue;
    Write write;
    write.type = Write::Type::remove;
    write.ref = ref.at(object->key());
    write.delete_options.uid = object->uid();
    write.delete_options.propagation_policy = "Background";
    writes.push_back(std::move(write));
  }
  if (writes.empty()) co_return Result<void>{};
  const auto results = co_await context_.client->batch(std::move(writes));
  for (const auto& result : results) {
    if (result || result.error().code == Code::not_found) continue;
    remains->failure = result.error().message;
  }
  co_return Result<void>{};
}

Task<Result<void>> NamespaceController::finalize(ObjectPtr ns) {
  Value next = ns->root();
  auto& finalizers = next.member("spec").member("finalizers").mutable_items();
  std::erase_if(finalizers, [](const Value& f) { return f.as_string() == kFinalizer; });
  Ref at = resources::kNamespaces.at("", ns->name()).sub("finalize");
  const auto done = co_await update(at, std::move(next));
  if (!done && done.error().code != Code::not_found) co_return done.error();
  co_return Result<void>{};
}

// "pods. has 2 resource instances, configmaps. has 1 resource instances"
std::string join_counts(const std::map<std::string, std::int64_t>& counts, std::string_view between,
                        std::string_view after) {
  std::string out;
  for (const auto& [name, count] : counts) {
    if (!out.empty()) out += ", ";
    out += name;
    out += between;
    out += std::to_string(count);
    out += after;
  }
  return out;
}

}  // namespace

std::vector<ContentResource> namespace_content() {
  std::vector<ContentResource> out;
  for (const api::Resource& r : api::resources()) {
    const bool stored_here = r.storage_group.empty() || r.storage_group == r.group;
    const bool preferred = r.storage_version.empty() || r.storage_version == r.version;
    if (!r.namespaced || !stored_here || !preferred) continue;
    if (!r.allows(api::kList) || !r.allows(api::kDelete)) continue;
    out.push_back({std::string(r.group), std::string(r.version), std::string(r.plural)});
  }
  std::stable_partition(out.begin(), out.end(), [](const ContentResource& c) {
    return c.group.empty() && c.plural == "pods";
  });
  return out;
}

Value namespace_status(const Value& ns, const Remains& remains, WallTime now) {
  Value status = ns["status"];
  status.set("phase", "Terminating");
  const auto say = [&](std::string_view type, bool yes, std::string_view reason,
                       std::string_view message) {
    set_condition(status, make_condition(type, yes ? "True" : "False", reason, message, now));
  };
  say("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered",
      "All resources successfully discovered");
  say("NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions",
      "All legacy kube types successfully parsed");
  if (remains.failure.empty()) {
    say("NamespaceDeletionContentFailure", false, "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization");
  } else {
    say("NamespaceDeletionContentFailure", true, "ContentDeletionFailed",
        "Failed to delete all resource types, 1 remaining: " + remains.failure);
  }
  if (remains.instances.empty()) {
    say("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed");
  } else {
    say("NamespaceContentRemaining", true, "SomeResourcesRemain",
        "Some resources are remaining: " +
            join_counts(remains.instances, " has ", " resource instances"));
  }
  if (remains.finalizers.empty()) {
    say("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers",
        "All content-preserving finalizers finished");
  } else {
    say("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: " +
            join_counts(remains.finalizers, " in ", " resource instances"));
  }
  return status;
}

std::unique_ptr<Controller> make_namespace(Context context, const Options&) {
  return std::make_unique<NamespaceController>(context);
}

}  // namespace skiff::controllers
