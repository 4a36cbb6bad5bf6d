// Subresources that show an object as another kind: Scale and TokenRequest.
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "plan.hpp"
#include "read.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::registry {
namespace {

constexpr std::int64_t kMinTokenSeconds = 600;
constexpr std::int64_t kMaxTokenSeconds = std::int64_t{1} << 32U;
constexpr std::int64_t kDefaultTokenSeconds = 3600;

ItemPtr show_scale(const Target& target, const ItemPtr& item) {
  return scale_of(*target.resource, item);
}

Result<std::int64_t> token_lifetime(const Value& request, const std::string& name) {
  const std::int64_t seconds = request["spec"]["expirationSeconds"].as_int(kDefaultTokenSeconds);
  api::FieldErrors problems;
  if (seconds < kMinTokenSeconds) {
    problems.invalid("spec.expirationSeconds", seconds,
                     "may not specify a duration less than 10 minutes");
  } else if (seconds > kMaxTokenSeconds) {
    problems.invalid("spec.expirationSeconds", seconds,
                     "may not specify a duration larger than 2^32 seconds");
  }
  if (!problems.empty()) return problems.to_error("authentication.k8s.io", "TokenRequest", name);
  return seconds;
}

// A token may be bound to a Pod, Secret or Node: it dies with it.
Result<void> bind_token(const Core& core, const Target& target, const Value& reference,
                        ServiceAccountClaims& claims) {
  const std::string& kind = reference["kind"].as_string();
  if (kind.empty()) return {};
  claims.bound_kind = kind;
  claims.bound_name = reference["name"].as_string();
  const bool node = kind == "Node";
  const std::string_view plural = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : "nodes";
  if (kind != "Pod" && kind != "Secret" && !node) {
    return errors::bad_request("cannot bind token for serviceaccount \"" + target.name +
                               "\" to an object of kind " + kind +
                               "; it must be a Pod, Secret or Node");
  }
  const api::Resource& resource = *api::find_resource("", "v1", plural);
  const ItemPtr item =
      core.find("", plural, node ? std::string_view() : target.ns, claims.bound_name);
  if (!item) return errors::not_found(resource, claims.bound_name);
  claims.bound_uid = scan::text(scan::find(item->value, {"metadata", "uid"}));
  const std::string& uid = reference["uid"].as_string();
  if (!uid.empty() && uid != claims.bound_uid) {
    return errors::conflict(resource, claims.bound_name,
                            "the UID in the bound object reference (" + uid +
                                ") does not match the UID in record. The object might have been "
                                "deleted and then recreated");
  }
  if (kind != "Pod") return {};
  if (scan::text(scan::find(item->value, {"spec", "serviceAccountName"})) != target.name) {
    return errors::bad_request("cannot bind token for serviceaccount \"" + target.name +
                               "\" to pod running with different serviceaccount name.");
  }
  claims.node_name = scan::text(scan::find(item->value, {"spec", "nodeName"}));
  if (const ItemPtr on = core.find("", "nodes", "", claims.node_name)) {
    claims.node_uid = scan::text(scan::find(on->value, {"metadata", "uid"}));
  }
  return {};
}

}  // namespace

Result<void> plan_scale(Core&, Write& write, Value scale, const ItemPtr& item, Plan& plan) {
  const Target& target = write.target;
  const std::int64_t replicas = scale["spec"]["replicas"].as_int();
  if (replicas < 0) {
    api::FieldErrors problems;
    problems.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
    return problems.to_error("autoscaling", "Scale", target.name);
  }
  Value doc = object_of(item)->root();
  if (doc["spec"]["replicas"].as_int() == replicas && doc["spec"].has("replicas")) {
    plan.answer = scale_of(*target.resource, item);
    return {};
  }
  doc.member("spec").set("replicas", replicas);
  Value& metadata = doc.member("metadata");
  metadata.set("generation", metadata["generation"].as_int() + 1);
  const api::Resource& stored = keys::stored(*target.resource);
  plan.ops.push_back(put_op(stored, item->key, doc, item->modified));
  plan.document = std::move(scale);
  plan.render = show_scale;
  return {};
}

Result<void> plan_token(Core& core, Write& write, const WriteContext&, Plan& plan) {
  const Target& target = write.target;
  const ItemPtr account = core.find("", "serviceaccounts", target.ns, target.name);
  if (!account) return errors::not_found(*target.resource, target.name);
  if (!core.options.tokens) {
    return Error{Code::not_found, "the server could not find the requested resource"};
  }
  Value& request = write.document;
  ServiceAccountClaims claims;
  claims.ns = target.ns;
  claims.name = target.name;
  claims.uid = scan::text(scan::find(account->value, {"metadata", "uid"}));
  SKIFF_TRY(claims.expiration_seconds, token_lifetime(request, target.name));
  for (const Value& a : request["spec"]["audiences"].items()) {
    claims.audiences.push_back(a.as_string());
  }
  SKIFF_CHECK(bind_token(core, target, request["spec"]["boundObjectRef"], claims));
  SKIFF_TRY(const IssuedToken issued, core.options.tokens->issue(claims));

  Value answer =
      Value::object({{"kind", "TokenRequest"}, {"apiVersion", "authentication.k8s.io/v1"}});
  Value metadata = Value::object({{"name", target.name}, {"namespace", target.ns}});
  metadata.set("creationTimestamp", core.now());
  answer.set("metadata", std::move(metadata));
  Value spec = request["spec"].is_object() ? request["spec"] : Value::object();
  Value audiences = Value::array();
  for (const std::string& a : issued.audiences) audiences.push_back(a);
  spec.set("audiences", std::move(audiences));
  spec.set("expirationSeconds", claims.expiration_seconds);
  answer.set("spec", std::move(spec));
  Value status = Value::object({{"token", issued.token}});
  status.set("expirationTimestamp", format_time(issued.expires));
  answer.set("status", std::move(status));
  plan.answer = make_item(account->key, api::to_json(answer), 0, 0);
  plan.created = true;
  return {};
}

}  // namespace skiff::registry
