// The operations of every resource. Clients look here for kinds (`kubectl explain`) and for the
// query parameters a server understands (`kubectl --dry-run=server`).
#include "openapi_schema.hpp"

namespace skiff::apiserver::openapi {
namespace {

using api::Value;

struct Operation {
  std::string_view method;
  std::string_view action;  // x-kubernetes-action
  api::Verb verb;
};

constexpr Operation kCollection[] = {{"get", "list", api::kList},
                                     {"post", "post", api::kCreate},
                                     {"delete", "deletecollection", api::kDeleteCollection}};
constexpr Operation kItem[] = {{"get", "get", api::kGet},
                               {"put", "put", api::kUpdate},
                               {"patch", "patch", api::kPatch},
                               {"delete", "delete", api::kDelete}};
constexpr Operation kSub[] = {{"get", "get", api::kGet},
                              {"post", "post", api::kCreate},
                              {"put", "put", api::kUpdate},
                              {"patch", "patch", api::kPatch}};

struct Parameter {
  std::string_view name;
  std::string_view type;
  std::string_view description;
};

constexpr Parameter kListParameters[] = {
    {"allowWatchBookmarks", "boolean", "Ask for bookmark events in a watch."},
    {"continue", "string", "The token of the page before."},
    {"fieldSelector", "string", "Only objects whose fields match."},
    {"labelSelector", "string", "Only objects whose labels match."},
    {"limit", "integer", "At most so many objects."},
    {"resourceVersion", "string", "Which state to read."},
    {"resourceVersionMatch", "string", "How resourceVersion is meant."},
    {"sendInitialEvents", "boolean", "Begin a watch with the present state."},
    {"timeoutSeconds", "integer", "End the request after so many seconds."},
    {"watch", "boolean", "Stream changes instead of listing."}};
constexpr Parameter kWriteParameters[] = {
    {"dryRun", "string", "All: compute the answer but store nothing."},
    {"fieldManager", "string", "Who makes the change."},
    {"fieldValidation", "string", "What to do about unknown fields: Ignore, Warn or Strict."}};
constexpr Parameter kDeleteParameters[] = {
    {"dryRun", "string", "All: compute the answer but store nothing."},
    {"gracePeriodSeconds", "integer", "How long the object has to end."},
    {"orphanDependents", "boolean", "Superseded by propagationPolicy."},
    {"propagationPolicy", "string", "What happens to dependents."}};

Value parameter(Dialect dialect, std::string_view name, std::string_view in, std::string_view type,
                std::string_view description) {
  Value out = Value::object({{"name", name}, {"in", in}});
  if (!description.empty()) out.set("description", description);
  if (in == "path") out.set("required", true);
  if (dialect == Dialect::v2) {
    out.set("type", type);
    out.set("uniqueItems", true);
  } else {
    out.set("schema", Value::object({{"type", type}, {"uniqueItems", true}}));
  }
  return out;
}

Value query_parameters(Dialect dialect, const Operation& op) {
  Value out = Value::array();
  const auto add = [&](std::span<const Parameter> list) {
    for (const Parameter& p : list) {
      out.push_back(parameter(dialect, p.name, "query", p.type, p.description));
    }
  };
  if (op.action == "list" || op.action == "deletecollection") add(kListParameters);
  if (op.action == "post" || op.action == "put" || op.action == "patch") add(kWriteParameters);
  if (op.action == "patch") {
    out.push_back(parameter(dialect, "force", "query", "boolean", "Take over conflicting fields."));
  }
  if (op.action == "delete" || op.action == "deletecollection") {
    add(op.action == "delete" ? std::span<const Parameter>(kDeleteParameters)
                              : std::span<const Parameter>(kDeleteParameters).subspan(1));
  }
  return out;
}

Value media(Dialect dialect, const api::Type& type) {
  return Value::object({{"schema", reference(dialect, type.name)}});
}

void add_response(Dialect dialect, Value& operation, const api::Type* type) {
  Value ok = Value::object({{"description", "OK"}});
  if (type && dialect == Dialect::v2) ok.set("schema", reference(dialect, type->name));
  if (type && dialect == Dialect::v3) {
    Value content = Value::object();
    for (const std::string_view t : {"application/json", "application/yaml"}) {
      content.set(t, media(dialect, *type));
    }
    ok.set("content", std::move(content));
  }
  Value responses = Value::object({{"200", std::move(ok)}});
  responses.set("401", Value::object({{"description", "Unauthorized"}}));
  operation.set("responses", std::move(responses));
}

void add_body(Dialect dialect, Value& operation, const Operation& op, const api::Type* type) {
  if (op.method == "get" || !type) return;
  static const api::Type* delete_options =
      api::find_type("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
  if (op.method == "delete") type = delete_options;
  if (!type) return;
  const bool patch = op.method == "patch";
  if (dialect == Dialect::v2) {
    Value body = Value::object({{"name", "body"}, {"in", "body"}});
    body.set("schema",
             patch ? Value::object({{"type", "object"}}) : reference(dialect, type->name));
    if (op.method != "delete") body.set("required", true);
    operation.member("parameters").push_back(std::move(body));
    return;
  }
  Value content = Value::object();
  if (patch) {
    for (const std::string_view t : {"application/json-patch+json", "application/merge-patch+json",
                                     "application/strategic-merge-patch+json"}) {
      content.set(t, Value::object({{"schema", Value::object({{"type", "object"}})}}));
    }
  } else {
    content.set("application/json", media(dialect, *type));
  }
  operation.set("requestBody", Value::object({{"content", std::move(content)}}));
}

std::string capitalized(std::string_view text) {
  std::string out;
  bool up = true;
  for (const char c : text) {
    if (c == '.' || c == '-' || c == '/') {
      up = true;
      continue;
    }
    out += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    up = false;
  }
  return out;
}

// "rbac.authorization.k8s.io" is known as rbacAuthorization.
std::string group_word(std::string_view group) {
  if (group.empty()) return "core";
  const auto suffix = group.find(".k8s.io");
  return std::string(group.substr(0, suffix));
}

std::string operation_id(const api::Resource& r, const Operation& op, std::string_view sub,
                         bool all_namespaces) {
  std::string_view verb = op.action;
  if (verb == "get") verb = "read";
  if (verb == "put") verb = "replace";
  if (verb == "post") verb = "create";
  std::string out = verb == "deletecollection" ? "delete" : std::string(verb);
  out += capitalized(group_word(r.group)) + capitalized(r.version);
  if (verb == "deletecollection") out += "Collection";
  if (r.namespaced && !all_namespaces) out += "Namespaced";
  out += r.kind;
  if (!sub.empty()) out += capitalized(sub);
  if (all_namespaces) out += "ForAllNamespaces";
  return out;
}

Value operation(Dialect dialect, const api::Resource& r, const Operation& op,
                const api::Subresource* sub, bool all_namespaces) {
  const api::Type* type = sub ? sub->type : r.type;
  const api::Type* shown = op.action == "list" ? api::list_type(r) : type;
  Value out = Value::object({{"description", std::string(op.action) + " " + std::string(r.kind)}});
  out.set("operationId", operation_id(r, op, sub ? sub->name : "", all_namespaces));
  std::string tag = group_word(r.group) + "_" + std::string(r.version);
  out.set("tags", Value::array({std::move(tag)}));
  Value parameters = query_parameters(dialect, op);
  if (!parameters.empty()) out.set("parameters", std::move(parameters));
  add_body(dialect, out, op, type);
  add_response(dialect, out, shown);
  if (dialect == Dialect::v2) {
    out.set("schemes", Value::array({"https"}));
    out.set("produces", Value::array({"application/json", "application/yaml"}));
  }
  out.set("x-kubernetes-action", op.action);
  const bool own = !sub || sub->version.empty();
  out.set("x-kubernetes-group-version-kind",
          Value::object({{"group", own ? r.group : sub->group},
                         {"kind", sub ? sub->kind : r.kind},
                         {"version", own ? r.version : sub->version}}));
  return out;
}

Value path_item(Dialect dialect, const api::Resource& r, std::span<const Operation> operations,
                std::uint16_t verbs, const api::Subresource* sub, bool named, bool everywhere) {
  Value out = Value::object();
  for (const Operation& op : operations) {
    if ((verbs & op.verb) == 0 || (everywhere && op.verb != api::kList)) continue;
    out.set(op.method, operation(dialect, r, op, sub, everywhere));
  }
  if (out.empty()) return out;
  Value parameters = Value::array();
  if (named) parameters.push_back(parameter(dialect, "name", "path", "string", ""));
  if (r.namespaced && !everywhere) {
    parameters.push_back(parameter(dialect, "namespace", "path", "string", ""));
  }
  if (!parameters.empty()) out.set("parameters", std::move(parameters));
  return out;
}

}  // namespace

Value paths(Dialect dialect, std::span<const api::Resource* const> resources) {
  std::map<std::string, Value> all;
  const auto add = [&](std::string path, Value item) {
    if (!item.empty()) all.emplace(std::move(path), std::move(item));
  };
  for (const api::Resource* resource : resources) {
    const api::Resource& r = *resource;
    const std::string root = (r.group.empty() ? "/api/" : "/apis/" + std::string(r.group) + "/") +
                             std::string(r.version) + "/";
    const std::string plural(r.plural);
    const std::string base =
        r.namespaced ? root + "namespaces/{namespace}/" + plural : root + plural;
    if (r.namespaced) {
      add(root + plural, path_item(dialect, r, kCollection, r.verbs, nullptr, false, true));
    }
    add(base, path_item(dialect, r, kCollection, r.verbs, nullptr, false, false));
    add(base + "/{name}", path_item(dialect, r, kItem, r.verbs, nullptr, true, false));
    for (const api::Subresource& s : r.subresources) {
      add(base + "/{name}/" + std::string(s.name),
          path_item(dialect, r, kSub, s.verbs, &s, true, false));
    }
  }
  std::vector<api::Member> members;
  for (auto& [path, item] : all) members.push_back({api::Name(path), std::move(item)});
  return Value::object(std::move(members));
}

}  // namespace skiff::apiserver::openapi
