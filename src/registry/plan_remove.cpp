// DELETE: grace periods, finalizers and propagation policies ("Garbage Collection" and "Pod
// Lifecycle, termination" of the Kubernetes documentation).
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "plan.hpp"

namespace skiff::registry {
namespace {

constexpr std::string_view kOrphan = "orphan";
constexpr std::string_view kForeground = "foregroundDeletion";

bool has_finalizer(const Value& metadata, std::string_view name) {
  const auto list = metadata["finalizers"].items();
  return std::any_of(list.begin(), list.end(),
                     [&](const Value& f) { return f.as_string() == name; });
}

// The garbage collector's finalizers say what happens to dependents. The caller's word goes before
// what the object carries, that before the kind's default.
void set_collector_finalizers(const Strategy& strategy, const std::string& policy, Value& doc) {
  if (!strategy.collected) return;
  Value& metadata = doc.member("metadata");
  bool orphan = policy == "Orphan";
  bool foreground = policy == "Foreground";
  if (policy.empty()) {
    foreground = has_finalizer(metadata, kForeground);
    orphan = has_finalizer(metadata, kOrphan) || (strategy.orphans && !foreground);
  }
  if (orphan == has_finalizer(metadata, kOrphan) &&
      foreground == has_finalizer(metadata, kForeground)) {
    return;
  }
  Value finalizers = Value::array();
  for (const Value& f : metadata["finalizers"].items()) {
    if (f.as_string() != kOrphan && f.as_string() != kForeground) finalizers.push_back(f);
  }
  if (orphan) finalizers.push_back(kOrphan);
  if (foreground) finalizers.push_back(kForeground);
  if (finalizers.empty()) {
    metadata.erase("finalizers");
  } else {
    metadata.set("finalizers", std::move(finalizers));
  }
}

void bump_generation(Value& metadata) {
  if (const std::int64_t g = metadata["generation"].as_int(); g > 0) {
    metadata.set("generation", g + 1);
  }
}

std::string seconds_later(const WallTime from, std::int64_t seconds) {
  return format_time(from + std::chrono::seconds(seconds));
}

Result<void> check_preconditions(const Call& call, const DeleteOptions& options,
                                 const Value& metadata) {
  const std::string& name = metadata["name"].as_string();
  const std::string& uid = metadata["uid"].as_string();
  const std::string& revision = metadata["resourceVersion"].as_string();
  if (!options.uid.empty() && options.uid != uid) {
    return errors::conflict(call.resource, name,
                            "the UID in the precondition (" + options.uid +
                                ") does not match the UID in record (" + uid +
                                "). The object might have been deleted and then recreated");
  }
  if (!options.resource_version.empty() && options.resource_version != revision) {
    return errors::conflict(call.resource, name,
                            "the ResourceVersion in the precondition (" + options.resource_version +
                                ") does not match the ResourceVersion in record (" + revision +
                                "). The object might have been modified");
  }
  return {};
}

enum class Graceful : std::uint8_t { no, pending, updated };

// Starts or shortens the grace period.
Graceful start_grace(Call& call, const Strategy& strategy, const DeleteOptions& options,
                     Value& doc) {
  if (!strategy.grace) return Graceful::no;
  Value& metadata = doc.member("metadata");
  const auto& asked = options.grace_period_seconds;
  if (!metadata["deletionTimestamp"].is_null()) {
    const Value& current = metadata["deletionGracePeriodSeconds"];
    if (!current.is_int()) return Graceful::no;
    // A deletion under way may only become faster.
    if (!asked || *asked >= current.as_int()) return Graceful::pending;
    const auto deadline = parse_time(metadata["deletionTimestamp"].as_string());
    const std::int64_t seconds = std::max<std::int64_t>(*asked, 0);
    const std::int64_t shift = seconds - current.as_int();
    if (deadline) metadata.set("deletionTimestamp", seconds_later(*deadline, shift));
    metadata.set("deletionGracePeriodSeconds", seconds);
    return Graceful::updated;
  }
  const std::int64_t seconds = strategy.grace(doc, asked);
  metadata.set("deletionTimestamp", seconds_later(call.core.env.clock->wall(), seconds));
  metadata.set("deletionGracePeriodSeconds", seconds);
  bump_generation(metadata);
  return Graceful::updated;
}

void mark_deleted(Call& call, Value& doc) {
  Value& metadata = doc.member("metadata");
  if (metadata["deletionTimestamp"].is_null()) {
    bump_generation(metadata);
    metadata.set("deletionTimestamp", call.core.now());
  }
  metadata.set("deletionGracePeriodSeconds", 0);
}

void keep_for_now(Call& call, const ItemPtr& item, Value doc, Plan& plan) {
  if (doc == object_of(item)->root()) {
    plan.answer = item;
    return;
  }
  plan.ops.push_back(put_op(call.resource, item->key, doc, item->modified));
  plan.document = std::move(doc);
}

// A namespace empties first: its phase tells everyone, its finalizer is the controller's.
bool begin_namespace(Call& call, const ItemPtr& item, const DeleteOptions& options, Value& doc,
                     Plan& plan) {
  if (call.resource.plural != "namespaces" || !call.resource.group.empty()) return false;
  Value& metadata = doc.member("metadata");
  if (metadata["deletionTimestamp"].is_null()) {
    metadata.set("deletionTimestamp", call.core.now());
    doc.member("status").set("phase", "Terminating");
    set_collector_finalizers(strategy_of(call.resource), options.propagation_policy, doc);
  } else if (doc["spec"]["finalizers"].empty() && metadata["finalizers"].empty()) {
    return false;
  }
  keep_for_now(call, item, std::move(doc), plan);
  return true;
}

}  // namespace

Result<void> plan_deletion(Call& call, const ItemPtr& item, Value doc, const DeleteOptions& options,
                           Plan& plan) {
  const Strategy& strategy = strategy_of(call.resource);
  SKIFF_CHECK(check_preconditions(call, options, doc["metadata"]));
  if (strategy.on_remove) SKIFF_CHECK(strategy.on_remove(call, doc));
  if (begin_namespace(call, item, options, doc, plan)) return {};
  const Graceful graceful = start_grace(call, strategy, options, doc);
  if (graceful == Graceful::pending) {
    plan.answer = item;
    return {};
  }
  set_collector_finalizers(strategy, options.propagation_policy, doc);
  const Value& metadata = doc["metadata"];
  const bool held = !metadata["finalizers"].empty();
  if (graceful == Graceful::no && held) mark_deleted(call, doc);
  if (held ||
      (graceful == Graceful::updated && metadata["deletionGracePeriodSeconds"].as_int() > 0)) {
    keep_for_now(call, item, std::move(doc), plan);
    return {};
  }
  if (strategy.on_erase) strategy.on_erase(call, doc);
  plan.ops.push_back(erase_op(call.resource, *item, doc));
  plan.removed = true;
  plan.document = std::move(doc);
  return {};
}

Result<void> plan_remove(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  const Target& target = write.target;
  const api::Resource& served = *target.resource;
  if (!served.allows(api::kDelete)) return errors::method_not_allowed(served, "delete");
  auto item = core.store.get(keys::of(served, target.ns, target.name));
  if (!item) {
    if (item.error().code != Code::not_found) return item.error();
    return errors::not_found(served, target.name);
  }
  Call call{core, target, keys::stored(served), context, plan.reservations};
  plan.pinned = !write.delete_options.resource_version.empty();
  if (call.resource.plural == "jobs" && write.delete_options.propagation_policy.empty()) {
    call.warn(
        "child pods are preserved by default when jobs are deleted; set "
        "propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress "
        "this warning");
  }
  Value doc = object_of(*item)->root();
  return plan_deletion(call, *item, std::move(doc), write.delete_options, plan);
}

Result<DeleteOptions> parse_delete_options(const Value& document) {
  DeleteOptions out;
  if (document.is_null()) return out;
  if (!document.is_object()) return errors::bad_request("DeleteOptions must be a JSON object");
  const std::string& kind = document["kind"].as_string();
  if (!kind.empty() && kind != "DeleteOptions") {
    return errors::bad_request("the body of a delete must be DeleteOptions, not " + kind);
  }
  if (document["gracePeriodSeconds"].is_int()) {
    out.grace_period_seconds = document["gracePeriodSeconds"].as_int();
  }
  out.uid = document["preconditions"]["uid"].as_string();
  out.resource_version = document["preconditions"]["resourceVersion"].as_string();
  out.propagation_policy = document["propagationPolicy"].as_string();
  api::FieldErrors problems;
  const Value& orphan = document["orphanDependents"];
  if (orphan.is_bool() && !out.propagation_policy.empty()) {
    problems.invalid("propagationPolicy", out.propagation_policy,
                     "orphanDependents and deletionPropagation cannot be both set");
  } else if (orphan.is_bool()) {
    out.propagation_policy = orphan.as_bool() ? "Orphan" : "Background";
  } else if (const std::string& p = out.propagation_policy;
             !p.empty() && p != "Orphan" && p != "Background" && p != "Foreground") {
    problems.not_supported("propagationPolicy", p, {"Background", "Foreground", "Orphan"});
  }
  if (!problems.empty()) return problems.to_error("meta.k8s.io", "DeleteOptions", "");
  return out;
}

}  // namespace skiff::registry
