// Questions about who one is and what one may do: nothing is stored.
#include "service.hpp"
#include "skiff/api/codec.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

Value list_of(const std::vector<std::string>& items) {
  Value out = Value::array();
  for (const std::string& i : items) out.push_back(i);
  return out;
}

std::vector<std::string> strings(const Value& list) {
  std::vector<std::string> out;
  for (const Value& v : list.items()) out.push_back(v.as_string());
  return out;
}

Value user_info(const User& user) {
  Value out = Value::object({{"username", user.name}});
  if (!user.uid.empty()) out.set("uid", user.uid);
  if (!user.groups.empty()) out.set("groups", list_of(user.groups));
  for (const auto& [key, values] : user.extra) out.member("extra").set(key, list_of(values));
  return out;
}

// What spec.resourceAttributes or spec.nonResourceAttributes ask about.
Result<Attributes> asked(const Value& spec, std::string_view kind) {
  const Value& r = spec["resourceAttributes"];
  const Value& n = spec["nonResourceAttributes"];
  if (r.is_null() == n.is_null()) {
    api::FieldErrors problems;
    problems.invalid("spec.resourceAttributes", r,
                     r.is_null() ? "exactly one of nonResourceAttributes or resourceAttributes "
                                   "must be specified"
                                 : "cannot be specified in combination with nonResourceAttributes");
    return problems.to_error("authorization.k8s.io", kind, "");
  }
  Attributes a;
  if (!n.is_null()) {
    a.is_resource = false;
    a.path = n["path"].as_string();
    a.verb = n["verb"].as_string();
    return a;
  }
  a.verb = r["verb"].as_string();
  a.group = r["group"].as_string();
  a.resource = r["resource"].as_string();
  a.subresource = r["subresource"].as_string();
  a.ns = r["namespace"].as_string();
  a.name = r["name"].as_string();
  return a;
}

Value rule_value(const PolicyRule& rule) {
  Value out = Value::object({{"verbs", list_of(rule.verbs)}});
  if (!rule.urls.empty()) {
    out.set("nonResourceURLs", list_of(rule.urls));
    return out;
  }
  out.set("apiGroups", list_of(rule.groups));
  out.set("resources", list_of(rule.resources));
  if (!rule.names.empty()) out.set("resourceNames", list_of(rule.names));
  return out;
}

}  // namespace

bool Service::is_review(const api::Resource& resource) const {
  return resource.group == "authorization.k8s.io" || resource.group == "authentication.k8s.io";
}

Result<Value> Service::token_review(Value doc) {
  const std::string token = doc["spec"]["token"].as_string();
  if (token.empty()) {
    api::FieldErrors problems;
    problems.required("spec.token", "token is required for TokenReview in authentication");
    return problems.to_error("authentication.k8s.io", "TokenReview", "");
  }
  std::vector<std::string> audiences = strings(doc["spec"]["audiences"]);
  const auto user = authenticator_.check_token(token, audiences);
  Value status = Value::object();
  if (user) {
    status.set("authenticated", true);
    status.set("user", user_info(**user));
    if (!audiences.empty()) status.set("audiences", list_of(audiences));
  } else {
    status.set("user", Value::object());
    status.set("error", "[invalid bearer token, " + user.error().message + "]");
  }
  doc.set("status", std::move(status));
  return doc;
}

Result<Value> Service::access_review(const Context& c, Value doc) {
  const std::string_view kind = c.resource->kind;
  SKIFF_TRY(Attributes a, asked(doc["spec"], kind));
  User user = *c.user;
  if (kind != "SelfSubjectAccessReview") {
    const Value& spec = doc["spec"];
    user = {spec["user"].as_string(), spec["uid"].as_string(), strings(spec["groups"]), {}};
    if (user.name.empty() && user.groups.empty()) {
      api::FieldErrors problems;
      problems.invalid("spec.user", "", "at least one of user or group must be specified");
      return problems.to_error(c.resource->group, kind, "");
    }
  }
  if (kind == "LocalSubjectAccessReview" && a.ns != c.info.ns) {
    api::FieldErrors problems;
    problems.invalid("spec.resourceAttributes.namespace", a.ns, "must match metadata.namespace");
    return problems.to_error(c.resource->group, kind, "");
  }
  const bool allowed = authorizer_.allows(user, a);
  Value status = Value::object({{"allowed", allowed}});
  if (allowed) status.set("reason", "RBAC: allowed");
  doc.set("status", std::move(status));
  return doc;
}

Result<Value> Service::rules_review(const Context& c, Value doc) {
  const std::string& ns = doc["spec"]["namespace"].as_string();
  if (ns.empty()) return Error{Code::bad_request, "no namespace on request"};
  Value resources = Value::array();
  Value urls = Value::array();
  for (const PolicyRule* rule : authorizer_.rules_for(*c.user, ns)) {
    (rule->urls.empty() ? resources : urls).push_back(rule_value(*rule));
  }
  Value status = Value::object({{"resourceRules", std::move(resources)}});
  status.set("nonResourceRules", std::move(urls));
  status.set("incomplete", false);
  doc.set("status", std::move(status));
  return doc;
}

Result<http::Response> Service::review(Context& c) {
  if (!c.info.name.empty()) {
    return Error{Code::method_not_allowed,
                 "the server does not allow this method on the requested resource"};
  }
  SKIFF_TRY(const Form form, negotiate(c.request, false));
  std::vector<std::string> duplicates;
  SKIFF_TRY(Value doc, parse_body(c.request, c.resource->kind, &duplicates));
  if (!doc.is_object()) {
    return Error{Code::bad_request, "the object provided is unrecognized (must be of type " +
                                        std::string(c.resource->kind) + ")"};
  }
  std::vector<std::string> unknown;
  if (auto ok = api::decode(*c.resource->type, doc, &unknown); !ok) return ok.error();
  doc.set("kind", c.resource->kind);
  doc.set("apiVersion",
          api::GroupVersion{std::string(c.resource->group), std::string(c.resource->version)}
              .to_string());
  if (!doc.has("metadata")) doc.set("metadata", Value::object({{"creationTimestamp", nullptr}}));
  const std::string_view kind = c.resource->kind;
  Result<Value> answered = Error{};
  if (kind == "TokenReview") {
    answered = token_review(std::move(doc));
  } else if (kind == "SelfSubjectReview") {
    doc.member("metadata").set("creationTimestamp", format_time(env_.clock->wall()));
    doc.set("status", Value::object({{"userInfo", user_info(*c.user)}}));
    answered = std::move(doc);
  } else if (kind == "SelfSubjectRulesReview") {
    answered = rules_review(c, std::move(doc));
  } else {
    answered = access_review(c, std::move(doc));
  }
  if (!answered) return answered.error();
  http::Buffers body;
  body.emplace_back(api::to_json(*answered));
  return http::Response::make(201, form.content_type(), encode_as(form, std::move(body)));
}

}  // namespace skiff::apiserver
