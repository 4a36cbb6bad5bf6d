#include "conversion.hpp"
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "plan.hpp"
#include "strategy.hpp"

namespace skiff::registry {
namespace {

// Generated names keep their suffix: the base gives way.
constexpr std::size_t kMaxNameBase = 58;
constexpr std::size_t kSuffixLength = 5;

Result<void> name_it(Core& core, const Target& target, Value& metadata, Plan& plan) {
  const std::string& name = metadata["name"].as_string();
  if (name.empty()) {
    const std::string base = metadata["generateName"].as_string().substr(0, kMaxNameBase);
    if (base.empty()) return {};  // validation says what is missing
    metadata.set("name", base + core.env.random->name_suffix(kSuffixLength));
    plan.generated = true;
  } else if (!target.name.empty() && name != target.name) {
    return errors::bad_request("the name of the object (" + name +
                               ") does not match the name on the URL (" + target.name + ")");
  }
  return {};
}

void fill_system_fields(Core& core, Value& doc, const Strategy& strategy) {
  Value& metadata = doc.member("metadata");
  metadata.set("uid", core.env.random->uuid());
  metadata.set("creationTimestamp", core.now());
  for (const std::string_view name :
       {"deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"}) {
    metadata.erase(name);
  }
  if (strategy.generation) metadata.set("generation", 1);
}

Result<void> fill_status(const api::Resource& resource, const Strategy& strategy, Value& doc) {
  if (!strategy.initial_status.empty()) {
    SKIFF_TRY(Value status, api::parse_json(strategy.initial_status));
    doc.set("status", std::move(status));
  } else if (!strategy.keeps_status && resource.subresource("status")) {
    doc.erase("status");
  }
  return {};
}

}  // namespace

Result<void> plan_create(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  Target& target = write.target;
  const api::Resource& served = *target.resource;
  const api::Resource& stored = keys::stored(served);
  const Strategy& strategy = strategy_of(stored);
  if (!served.allows(api::kCreate)) return errors::method_not_allowed(served, "create");
  Value& doc = write.document;
  SKIFF_CHECK(read_document(target, *served.type, doc, context, false));
  Value& metadata = doc.member("metadata");
  if (served.namespaced && target.ns.empty()) target.ns = metadata["namespace"].as_string();
  if (served.namespaced && target.ns.empty()) {
    return errors::bad_request("an empty namespace may not be set during creation");
  }
  if (!metadata["resourceVersion"].as_string().empty()) {
    return errors::bad_request("resourceVersion should not be set on objects to be created");
  }
  SKIFF_CHECK(name_it(core, target, metadata, plan));
  if (served.namespaced) {
    SKIFF_CHECK(admission::namespace_usable(core, served, target.ns, metadata["name"].as_string()));
  }
  api::apply_defaults(served, doc);
  if (keys::converts(served)) {
    to_stored(served, doc);
    api::apply_defaults(stored, doc);
  }
  fill_system_fields(core, doc, strategy);
  SKIFF_CHECK(fill_status(stored, strategy, doc));

  Call call{core, target, stored, context, plan.reservations};
  if (strategy.on_create) SKIFF_CHECK(strategy.on_create(call, doc));
  if (strategy.admit) SKIFF_CHECK(strategy.admit(call, doc, nullptr));
  SKIFF_CHECK(check_document(call, doc, nullptr));

  const std::string& name = doc["metadata"]["name"].as_string();
  std::string key = keys::of(stored, target.ns, name);
  if (context.dry_run && core.store.get(key)) return errors::already_exists(served, name);
  plan.ops.push_back(put_op(stored, std::move(key), doc, 0));
  plan.created = true;
  plan.document = std::move(doc);
  return {};
}

}  // namespace skiff::registry
