// PUT and PATCH, also of subresources that show a part of the object.
#include "conversion.hpp"
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "plan.hpp"
#include "read.hpp"
#include "skiff/api/patch.hpp"

namespace skiff::registry {
namespace {

// Members that are neither system data nor status.
bool is_own_data(std::string_view member) {
  return member != "metadata" && member != "status" && member != "kind" && member != "apiVersion";
}

bool own_data_differs(const Value& a, const Value& b) {
  for (const api::Member& m : a.members()) {
    if (is_own_data(m.name) && !(m.value == b[m.name])) return true;
  }
  for (const api::Member& m : b.members()) {
    if (is_own_data(m.name) && !a.has(m.name)) return true;
  }
  return false;
}

void keep(Value& doc, const Value& old, std::string_view member) {
  if (const Value* was = old.find(member)) {
    doc.set(member, *was);
  } else {
    doc.erase(member);
  }
}

// The server's own metadata cannot be written.
void keep_system_fields(Value& doc, const Value& old) {
  Value& metadata = doc.member("metadata");
  const Value& was = old["metadata"];
  for (const std::string_view name :
       {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
        "resourceVersion"}) {
    keep(metadata, was, name);
  }
}

Result<void> check_name(const Target& target, Value& doc) {
  Value& metadata = doc.member("metadata");
  const std::string& name = metadata["name"].as_string();
  if (name.empty()) {
    metadata.set("name", target.name);
  } else if (name != target.name) {
    return errors::bad_request("the name of the object (" + name +
                               ") does not match the name on the URL (" + target.name + ")");
  }
  return {};
}

Result<void> check_finalizers(const api::Resource& resource, const Value& doc, const Value& old) {
  if (old["metadata"]["deletionTimestamp"].is_null()) return {};
  const auto before = old["metadata"]["finalizers"].items();
  std::string added;
  for (const Value& f : doc["metadata"]["finalizers"].items()) {
    if (std::find(before.begin(), before.end(), f) != before.end()) continue;
    if (!added.empty()) added += ", ";
    added += '"' + f.as_string() + '"';
  }
  if (added.empty()) return {};
  api::FieldErrors problems;
  problems.forbidden("metadata.finalizers",
                     "no new finalizers can be added if the object is being deleted, found new "
                     "finalizers []string{" +
                         added + "}");
  return errors::invalid(resource, doc["metadata"]["name"].as_string(), problems);
}

Result<void> update_main(Call& call, const ItemPtr& item, Value doc, Plan& plan) {
  const Strategy& strategy = strategy_of(call.resource);
  const ObjectPtr object = object_of(item);
  const Value& old = object->root();
  keep_system_fields(doc, old);
  if (call.resource.subresource("status") || !strategy.initial_status.empty()) {
    keep(doc, old, "status");
  }
  if (strategy.on_update) SKIFF_CHECK(strategy.on_update(call, doc, old));
  if (strategy.admit) SKIFF_CHECK(strategy.admit(call, doc, &old));
  if (strategy.generation && own_data_differs(doc, old)) {
    doc.member("metadata").set("generation", old["metadata"]["generation"].as_int() + 1);
  }
  SKIFF_CHECK(check_finalizers(call.resource, doc, old));
  if (doc == old) {
    plan.answer = item;
    return {};
  }
  SKIFF_CHECK(check_document(call, doc, &old));
  return replace(call, item, std::move(doc), plan);
}

void keep_all_but(Value& doc, const Value& old, std::string_view member) {
  Value result = old;
  result.set("metadata", doc["metadata"]);
  if (const Value* given = doc.find(member)) {
    result.set(member, *given);
  } else {
    result.erase(member);
  }
  doc = std::move(result);
}

// ephemeralcontainers and resize: one part of a Pod's spec.
void take_spec_part(Value& doc, const Value& old, std::string_view subresource) {
  Value result = old;
  result.set("metadata", doc["metadata"]);
  Value& spec = result.member("spec");
  if (subresource == "ephemeralcontainers") {
    spec.set("ephemeralContainers", doc["spec"]["ephemeralContainers"]);
    if (spec["ephemeralContainers"].empty()) spec.erase("ephemeralContainers");
  } else {
    for (const std::string_view list : {"containers", "initContainers"}) {
      Value* containers = spec.find(list);
      if (!containers) continue;
      std::vector<Value>& items = containers->mutable_items();
      for (std::size_t i = 0; i < items.size(); ++i) {
        const Value& given = doc["spec"][list][i];
        if (given["name"] != items[i]["name"]) continue;
        for (const std::string_view part : {"resources", "resizePolicy"}) {
          keep(items[i], given, part);
        }
      }
    }
  }
  doc = std::move(result);
}

// Ephemeral containers are only ever added (KEP-277).
void check_ephemeral(const Value& doc, const Value& old, api::FieldErrors& problems) {
  constexpr std::string_view kField = "ephemeralContainers";
  for (const Value& was : old["spec"][kField].items()) {
    const std::string& name = was["name"].as_string();
    const auto now = doc["spec"][kField].items();
    const auto at = std::find_if(now.begin(), now.end(),
                                 [&](const Value& c) { return c["name"] == was["name"]; });
    if (at == now.end()) {
      problems.forbidden("spec.ephemeralContainers",
                         "existing ephemeral containers \"" + name + "\" may not be removed");
    } else if (!(*at == was)) {
      problems.forbidden("spec.ephemeralContainers",
                         "existing ephemeral containers \"" + name + "\" may not be changed");
    }
  }
}

}  // namespace

Result<void> replace(Call& call, const ItemPtr& item, Value doc, Plan& plan) {
  const Strategy& strategy = strategy_of(call.resource);
  const Value& metadata = doc["metadata"];
  const bool held = !metadata["finalizers"].empty() || !doc["spec"]["finalizers"].empty() ||
                    metadata["deletionGracePeriodSeconds"].as_int() != 0;
  if (!metadata["deletionTimestamp"].is_null() && !held) {
    if (strategy.on_erase) strategy.on_erase(call, doc);
    plan.ops.push_back(erase_op(call.resource, *item, doc));
    plan.removed = true;
  } else {
    plan.ops.push_back(put_op(call.resource, item->key, doc, item->modified));
  }
  plan.document = std::move(doc);
  return {};
}

Result<void> plan_subresource(Call& call, const ItemPtr& item, Value doc, Plan& plan) {
  const Strategy& strategy = strategy_of(call.resource);
  const ObjectPtr object = object_of(item);
  const Value& old = object->root();
  const std::string& sub = call.target.subresource;
  keep_system_fields(doc, old);
  if (sub == "finalize") {
    const Value finalizers = doc["spec"]["finalizers"];
    keep_all_but(doc, old, "spec");
    keep(doc, old, "spec");
    doc.member("spec").set("finalizers", finalizers);
    if (finalizers.empty()) doc.member("spec").erase("finalizers");
  } else if (sub == "ephemeralcontainers" || sub == "resize") {
    take_spec_part(doc, old, sub);
    api::FieldErrors problems;
    if (sub == "ephemeralcontainers") check_ephemeral(doc, old, problems);
    if (!problems.empty()) return errors::invalid(call.resource, call.target.name, problems);
    if (strategy.generation && own_data_differs(doc, old)) {
      doc.member("metadata").set("generation", old["metadata"]["generation"].as_int() + 1);
    }
  } else {  // status and approval
    keep_all_but(doc, old, "status");
    if (strategy.on_status) strategy.on_status(call, doc, old);
  }
  SKIFF_CHECK(check_finalizers(call.resource, doc, old));
  if (doc == old) {
    plan.answer = item;
    return {};
  }
  SKIFF_CHECK(check_document(call, doc, &old));
  return replace(call, item, std::move(doc), plan);
}

namespace {

// Common end of PUT and PATCH: `doc` is decoded, in its served form.
Result<void> finish_update(Core& core, Write& write, const WriteContext& context, Value doc,
                           const ItemPtr& item, Plan& plan) {
  const Target& target = write.target;
  const api::Resource& served = *target.resource;
  const api::Resource& stored = keys::stored(served);
  SKIFF_CHECK(check_name(target, doc));
  const ObjectPtr object = object_of(item);
  SKIFF_CHECK(check_version(served, doc, object->root(), plan));
  if (target.subresource == "scale") return plan_scale(core, write, std::move(doc), item, plan);
  api::apply_defaults(served, doc);
  if (keys::converts(served)) {
    to_stored(served, doc);
    api::apply_defaults(stored, doc);
  }
  Call call{core, target, stored, context, plan.reservations};
  if (target.subresource.empty()) return update_main(call, item, std::move(doc), plan);
  return plan_subresource(call, item, std::move(doc), plan);
}

Result<const api::Type*> document_type(const Target& target, api::Verb verb,
                                       std::string_view verb_name) {
  const api::Resource& resource = *target.resource;
  if (target.subresource.empty()) {
    if (!resource.allows(verb)) return errors::method_not_allowed(resource, verb_name);
    return resource.type;
  }
  const api::Subresource* sub = resource.subresource(target.subresource);
  if (!sub || (sub->verbs & verb) == 0) {
    return errors::method_not_allowed(resource, verb_name);
  }
  return sub->type ? sub->type : resource.type;
}

}  // namespace

Result<void> plan_update(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  const Target& target = write.target;
  const api::Resource& served = *target.resource;
  SKIFF_TRY(const api::Type* type, document_type(target, api::kUpdate, "update"));
  auto item = core.store.get(keys::of(served, target.ns, target.name));
  if (!item) {
    if (item.error().code != Code::not_found) return item.error();
    const Strategy& strategy = strategy_of(keys::stored(served));
    const Value& metadata = write.document["metadata"];
    const bool may_create = strategy.create_on_update && target.subresource.empty() &&
                            metadata["resourceVersion"].as_string().empty() &&
                            metadata["uid"].as_string().empty();
    if (!may_create) return errors::not_found(served, target.name);
    return plan_create(core, write, context, plan);
  }
  Value doc = std::move(write.document);
  SKIFF_CHECK(read_document(target, *type, doc, context, false));
  const Strategy& strategy = strategy_of(keys::stored(served));
  if (strategy.needs_revision && target.subresource.empty() &&
      doc["metadata"]["resourceVersion"].as_string().empty()) {
    return errors::invalid_field(served, target.name, "metadata.resourceVersion", 0,
                                 "must be specified for an update");
  }
  return finish_update(core, write, context, std::move(doc), *item, plan);
}

namespace {

// Upstream says only that it was the request's fault; what went wrong is told as the cause.
Result<void> patch_json(Value& doc, const Value& patch) {
  const Result<void> done = api::json_patch(doc, patch);
  if (done || done.error().code != Code::invalid) return done;
  auto details = std::make_shared<ErrorDetails>();
  details->causes.push_back({"", done.error().message, ""});
  return Error{Code::invalid, "the server rejected our request due to an error in our request",
               std::move(details)};
}

}  // namespace

Result<void> plan_patch(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  const Target& target = write.target;
  const api::Resource& served = *target.resource;
  SKIFF_TRY(const api::Type* type, document_type(target, api::kPatch, "patch"));
  if (write.patch_type == api::PatchType::apply) {
    return Error{Code::unsupported_media,
                 "server-side apply is not served here - accepted media types include: "
                 "application/json-patch+json, application/merge-patch+json, "
                 "application/strategic-merge-patch+json"};
  }
  auto item = core.store.get(keys::of(served, target.ns, target.name));
  if (!item) {
    if (item.error().code != Code::not_found) return item.error();
    return errors::not_found(served, target.name);
  }
  const bool scale = target.subresource == "scale";
  Value doc = object_of(scale ? scale_of(served, *item) : *item)->root();
  if (!scale) to_served(served, doc);
  const Value& patch = write.document;
  switch (write.patch_type) {
    case api::PatchType::json:
      SKIFF_CHECK(patch_json(doc, patch));
      break;
    case api::PatchType::merge:
      api::merge_patch(doc, patch);
      break;
    default:
      SKIFF_CHECK(api::strategic_merge_patch(*type, doc, patch));
  }
  const bool names_version = patch["metadata"].has("resourceVersion");
  const ObjectPtr base = object_of(*item);
  const std::string& newest = base->resource_version();
  const bool same = doc["metadata"]["resourceVersion"].as_string() == newest;
  SKIFF_CHECK(read_document(target, *type, doc, context, true));
  SKIFF_CHECK(finish_update(core, write, context, std::move(doc), *item, plan));
  // The version that came from the base pins nothing.
  plan.pinned = names_version || !same;
  return {};
}

}  // namespace skiff::registry
