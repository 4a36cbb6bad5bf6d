#include "plan.hpp"

#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "selection.hpp"
#include "skiff/api/codec.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::registry {
namespace {

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& p : parts) {
    if (!out.empty()) out += ", ";
    out += p;
  }
  return out;
}

// `Deployment in version "v1" cannot be handled as a Deployment: ...`
std::string cannot_handle(const Target& target, const Value& doc, std::string_view why) {
  const std::string_view kind = target.resource->kind;
  const std::string_view given = doc["kind"].as_string().empty() ? kind : doc["kind"].as_string();
  return std::string(given) + " in version \"" + std::string(target.resource->version) +
         "\" cannot be handled as a " + std::string(kind) + ": " + std::string(why);
}

Result<void> report_unknown(const Target& target, const Value& doc,
                            std::vector<std::string> problems, const WriteContext& context,
                            bool patched) {
  problems.insert(problems.end(), context.duplicate_fields.begin(), context.duplicate_fields.end());
  if (problems.empty() || context.field_validation == FieldValidation::ignore) return {};
  if (context.field_validation == FieldValidation::warn) {
    if (context.warnings) {
      context.warnings->insert(context.warnings->end(), problems.begin(), problems.end());
    }
    return {};
  }
  const std::string why = "strict decoding error: " + join(problems);
  if (!patched) return errors::bad_request(cannot_handle(target, doc, why));
  api::FieldErrors causes;
  causes.invalid("patch", api::to_json(doc), why);
  return causes.to_error("", "", "");
}

Result<void> check_kind(const Target& target, Value& doc, std::string_view kind,
                        std::string_view api_version) {
  const std::string& given_version = doc["apiVersion"].as_string();
  if (!given_version.empty() && given_version != api_version) {
    return errors::bad_request("the API version in the data (" + given_version +
                               ") does not match the expected API version (" +
                               std::string(api_version) + ")");
  }
  const std::string& given_kind = doc["kind"].as_string();
  if (!given_kind.empty() && given_kind != kind) {
    return errors::bad_request(cannot_handle(
        target, doc, "the kind in the data (" + given_kind + ") does not match the expected kind"));
  }
  if (given_kind.empty()) doc.set("kind", kind);
  if (given_version.empty()) doc.set("apiVersion", api_version);
  return {};
}

}  // namespace

Result<void> read_document(const Target& target, const api::Type& type, Value& doc,
                           const WriteContext& context, bool patched) {
  const api::Resource& resource = *target.resource;
  if (!doc.is_object()) {
    return errors::bad_request("the object provided is unrecognized (must be of type " +
                               std::string(resource.kind) + "): it is not a JSON object");
  }
  std::string_view kind = resource.kind;
  std::string api_version =
      api::GroupVersion{std::string(resource.group), std::string(resource.version)}.to_string();
  if (const api::Subresource* sub = resource.subresource(target.subresource)) {
    kind = sub->kind;
    if (!sub->version.empty()) {
      api_version =
          api::GroupVersion{std::string(sub->group), std::string(sub->version)}.to_string();
    }
  }
  SKIFF_CHECK(check_kind(target, doc, kind, api_version));
  std::vector<std::string> unknown;
  if (auto ok = api::decode(type, doc, &unknown); !ok) {
    if (ok.error().code != Code::bad_request) return ok.error();
    return errors::bad_request(cannot_handle(target, doc, ok.error().message));
  }
  SKIFF_CHECK(report_unknown(target, doc, std::move(unknown), context, patched));
  Value& metadata = doc.member("metadata");
  if (metadata.is_null()) metadata = Value::object();
  metadata.erase("managedFields");
  metadata.erase("selfLink");
  const std::string& ns = metadata["namespace"].as_string();
  if (!resource.namespaced) {
    metadata.erase("namespace");
  } else if (ns.empty()) {
    if (!target.ns.empty()) metadata.set("namespace", target.ns);
  } else if (!target.ns.empty() && ns != target.ns) {
    return errors::bad_request(
        target.name.empty()
            ? "the namespace of the provided object does not match the namespace sent on the "
              "request"
            : "the namespace of the object (" + ns +
                  ") does not match the namespace on the request (" + target.ns + ")");
  }
  return {};
}

Result<void> check_document(Call& call, const Value& doc, const Value* old) {
  api::FieldErrors problems;
  api::validate(call.resource, doc, old, call.target.subresource, problems);
  const Strategy& strategy = strategy_of(call.resource);
  if (strategy.check) strategy.check(call, doc, old, problems);
  if (problems.empty()) return {};
  const Value& metadata = doc["metadata"];
  return errors::invalid(call.resource, metadata["name"].as_string(), problems);
}

store::Op put_op(const api::Resource& resource, std::string key, const Value& doc,
                 std::optional<Revision> expect) {
  Encoded encoded = encode(doc);
  store::Op op;
  op.key = std::move(key);
  op.value = std::move(encoded.json);
  op.revision_slot = encoded.slot;
  op.expect = expect;
  op.attributes = attributes_of(resource, doc);
  op.is_volatile = resource.is_volatile;
  return op;
}

store::Op erase_op(const api::Resource& resource, const store::Item& item, const Value& last) {
  Encoded encoded = encode(last);
  store::Op op;
  op.type = store::Op::Type::erase;
  op.key = item.key;
  op.value = std::move(encoded.json);
  op.revision_slot = encoded.slot;
  op.expect = item.modified;
  op.attributes = item.attributes;
  op.is_volatile = resource.is_volatile;
  return op;
}

ItemPtr success_status(const Target&, const ItemPtr& item) {
  static const std::string kSuccess =
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201})";
  return make_item(item->key, kSuccess, item->created, item->modified);
}

Result<void> check_version(const api::Resource& resource, Value& doc, const Value& old,
                           Plan& plan) {
  Value& metadata = doc.member("metadata");
  const Value& was = old["metadata"];
  const std::string& name = was["name"].as_string();
  const std::string& uid = metadata["uid"].as_string();
  if (!uid.empty() && uid != was["uid"].as_string()) {
    return errors::conflict(resource, name,
                            "Precondition failed: UID in precondition: " + uid +
                                ", UID in object meta: " + was["uid"].as_string());
  }
  const std::string& revision = metadata["resourceVersion"].as_string();
  if (revision.empty() || revision == "0") return {};
  plan.pinned = true;
  if (revision == was["resourceVersion"].as_string()) return {};
  if (revision.find_first_not_of("0123456789") != std::string::npos) {
    return errors::invalid_field(resource, name, "metadata.resourceVersion", revision,
                                 "must be the resourceVersion of an object that was read");
  }
  return errors::modified(resource, name);
}

std::vector<std::string> keys_to_lock(const Core& core, const Write& write) {
  const Target& t = write.target;
  std::vector<std::string> keys;
  const bool plain_create = write.type == Write::Type::create && t.subresource.empty() &&
                            t.resource->plural != "bindings";
  if (plain_create) return keys;
  if (t.resource->plural == "bindings") {
    keys.push_back(keys::of("", "pods", t.ns, write.document["metadata"]["name"].as_string()));
    return keys;
  }
  keys.push_back(keys::of(*t.resource, t.ns, t.name));
  if (t.subresource != "eviction") return keys;
  const ItemPtr pod = core.find("", "pods", t.ns, t.name);
  if (!pod) return keys;
  const ObjectPtr object = object_of(pod);
  for (const ItemPtr& budget : core.all("policy", "poddisruptionbudgets", t.ns)) {
    const auto selector = api::LabelSelector::from((*object_of(budget))["spec"]["selector"]);
    if (selector && selector->matches(object->labels())) keys.push_back(budget->key);
  }
  return keys;
}

Result<void> make_plan(Core& core, Write& write, const WriteContext& context, Plan& plan) {
  const Target& t = write.target;
  switch (write.type) {
    case Write::Type::create:
      if (t.subresource == "binding" || t.resource->plural == "bindings") {
        return plan_binding(core, write, context, plan);
      }
      if (t.subresource == "eviction") return plan_eviction(core, write, context, plan);
      if (t.subresource == "token") return plan_token(core, write, context, plan);
      if (!t.subresource.empty()) return errors::method_not_allowed(*t.resource, "create");
      return plan_create(core, write, context, plan);
    case Write::Type::update:
      return plan_update(core, write, context, plan);
    case Write::Type::patch:
      return plan_patch(core, write, context, plan);
    case Write::Type::remove:
      if (!t.subresource.empty()) return errors::method_not_allowed(*t.resource, "delete");
      return plan_remove(core, write, context, plan);
  }
  return errors::internal("unknown kind of write");
}

}  // namespace skiff::registry
