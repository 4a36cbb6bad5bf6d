#include "openapi_schema.hpp"

namespace skiff::apiserver::openapi {
namespace {

using api::Field;
using api::Kind;
using api::Type;
using api::Value;

constexpr std::string_view kQuantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
constexpr std::string_view kIntOrString = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
constexpr std::string_view kTime = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
constexpr std::string_view kMicroTime = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

std::string_view scalar_name(Kind kind) {
  switch (kind) {
    case Kind::quantity:
      return kQuantity;
    case Kind::int_or_string:
      return kIntOrString;
    case Kind::time:
      return kTime;
    case Kind::micro_time:
      return kMicroTime;
    default:
      return {};
  }
}

Value typed(std::string_view type, std::string_view format = "") {
  Value out = Value::object({{"type", type}});
  if (!format.empty()) out.set("format", format);
  return out;
}

// The schema of a field or element without its annotations.
Value shape(Dialect dialect, Kind kind, const Field& f) {
  switch (kind) {
    case Kind::string:
    case Kind::duration:
      return typed("string");
    case Kind::boolean:
      return typed("boolean");
    case Kind::int32:
      return typed("integer", "int32");
    case Kind::int64:
      return typed("integer", "int64");
    case Kind::number:
      return typed("number", "double");
    case Kind::bytes:
      return typed("string", "byte");
    case Kind::object:
      return f.type ? reference(dialect, f.type->name) : typed("object");
    case Kind::any:
      return typed("object");
    case Kind::list: {
      Value out = typed("array");
      out.set("items", typed("string"));
      return out;
    }
    case Kind::map: {
      Value out = typed("object");
      out.set("additionalProperties", typed("string"));
      return out;
    }
    default:
      return reference(dialect, scalar_name(kind));
  }
}

// In v3 nothing may stand beside a $ref: it is wrapped.
Value wrapped(Dialect dialect, Value schema) {
  if (dialect == Dialect::v2 || !schema.has("$ref")) return schema;
  return Value::object({{"allOf", Value::array({std::move(schema)})}});
}

void add_list_marks(const Field& f, Value& out) {
  if (f.list_type == api::ListType::map) {
    Value keys = Value::array();
    for (const std::string_view k : f.list_keys) keys.push_back(k);
    out.set("x-kubernetes-list-map-keys", std::move(keys));
    out.set("x-kubernetes-list-type", "map");
  } else {
    out.set("x-kubernetes-list-type", f.list_type == api::ListType::set ? "set" : "atomic");
  }
}

void add_marks(const Field& f, Value& out) {
  if (f.kind == Kind::list) add_list_marks(f, out);
  if (!f.merge_key.empty()) out.set("x-kubernetes-patch-merge-key", f.merge_key);
  if (f.merge || f.retain_keys) {
    out.set("x-kubernetes-patch-strategy", f.merge && f.retain_keys ? "merge,retainKeys"
                                           : f.merge                ? "merge"
                                                                    : "retainKeys");
  }
  if (f.atomic && f.kind != Kind::list) out.set("x-kubernetes-map-type", "atomic");
}

Value field_schema(Dialect dialect, const Field& f) {
  Value out;
  if (f.kind == Kind::list) {
    out = typed("array");
    out.set("items", wrapped(dialect, shape(dialect, f.element_kind, f)));
  } else if (f.kind == Kind::map) {
    out = typed("object");
    out.set("additionalProperties", wrapped(dialect, shape(dialect, f.element_kind, f)));
  } else {
    out = wrapped(dialect, shape(dialect, f.kind, f));
  }
  if (!f.description.empty()) out.set("description", f.description);
  if (!f.default_json.empty()) {
    if (auto value = api::parse_json(f.default_json)) out.set("default", std::move(*value));
  }
  if (!f.enums.empty() && f.kind == Kind::string) {
    Value list = Value::array();
    for (const std::string_view e : f.enums) list.push_back(e);
    out.set("enum", std::move(list));
  }
  add_marks(f, out);
  return out;
}

using KindsByType = std::map<const Type*, Value>;

void add_kind(KindsByType& into, const Type* type, std::string_view group, std::string_view version,
              std::string_view kind) {
  if (!type) return;
  Value gvk = Value::object({{"group", group}, {"kind", kind}, {"version", version}});
  Value& list = into[type];
  const auto have = list.items();
  if (std::find(have.begin(), have.end(), gvk) == have.end()) list.push_back(std::move(gvk));
}

const KindsByType& kinds_by_type() {
  static const KindsByType table = [] {
    KindsByType out;
    for (const api::Resource& r : api::resources()) {
      add_kind(out, r.type, r.group, r.version, r.kind);
      add_kind(out, api::list_type(r), r.group, r.version, std::string(r.kind) + "List");
      for (const api::Subresource& s : r.subresources) {
        if (s.type && s.type != r.type) add_kind(out, s.type, s.group, s.version, s.kind);
      }
      for (const std::string_view name : {"DeleteOptions", "WatchEvent"}) {
        const Type* type =
            api::find_type("io.k8s.apimachinery.pkg.apis.meta.v1." + std::string(name));
        add_kind(out, type, r.group, r.version, name);
      }
    }
    const Type* status = api::find_type("io.k8s.apimachinery.pkg.apis.meta.v1.Status");
    add_kind(out, status, "", "v1", "Status");
    return out;
  }();
  return table;
}

Value type_schema(Dialect dialect, const Type& type) {
  Value properties = Value::object();
  Value required = Value::array();
  for (const Field& f : type.fields) {
    properties.set(f.name, field_schema(dialect, f));
    if (f.required) required.push_back(f.name);
  }
  Value out = typed("object");
  if (!type.description.empty()) out.set("description", type.description);
  if (!properties.empty()) out.set("properties", std::move(properties));
  if (!required.empty()) out.set("required", std::move(required));
  if (type.atomic) out.set("x-kubernetes-map-type", "atomic");
  const auto kinds = kinds_by_type().find(&type);
  if (kinds != kinds_by_type().end()) out.set("x-kubernetes-group-version-kind", kinds->second);
  return out;
}

void collect(const Type* type, std::set<const Type*>& seen, std::set<std::string_view>& scalars) {
  if (!type || !seen.insert(type).second) return;
  for (const Field& f : type->fields) {
    for (const Kind kind : {f.kind, f.element_kind}) {
      if (!scalar_name(kind).empty()) scalars.insert(scalar_name(kind));
    }
    collect(f.type, seen, scalars);
  }
}

Value scalar_schema(Dialect dialect, std::string_view name) {
  if (name == kTime || name == kMicroTime) return typed("string", "date-time");
  if (dialect == Dialect::v2) {
    return name == kQuantity ? typed("string") : typed("string", "int-or-string");
  }
  const bool quantity = name == kQuantity;
  Value out = Value::object();
  out.set("oneOf", quantity ? Value::array({typed("string"), typed("number")})
                            : Value::array({typed("integer"), typed("string")}));
  if (!quantity) out.set("format", "int-or-string");
  return out;
}

}  // namespace

Value reference(Dialect dialect, std::string_view name) {
  const std::string_view prefix =
      dialect == Dialect::v2 ? "#/definitions/" : "#/components/schemas/";
  return Value::object({{"$ref", std::string(prefix) + std::string(name)}});
}

Value definitions(Dialect dialect, const std::vector<const Type*>& types) {
  std::set<const Type*> seen;
  std::set<std::string_view> scalars;
  for (const Type* t : types) collect(t, seen, scalars);
  std::map<std::string_view, const Type*> ordered;
  for (const Type* t : seen) ordered.emplace(t->name, t);
  std::vector<api::Member> members;
  for (const auto& [name, type] : ordered) {
    members.push_back({api::Name(name), type_schema(dialect, *type)});
  }
  for (const std::string_view name : scalars) {
    members.push_back({api::Name(name), scalar_schema(dialect, name)});
  }
  return Value::object(std::move(members));
}

std::vector<const Type*> types_of(std::span<const api::Resource* const> resources) {
  std::set<const Type*> out;
  for (const api::Resource* r : resources) {
    out.insert(r->type);
    out.insert(api::list_type(*r));
    for (const api::Subresource& s : r->subresources) out.insert(s.type);
  }
  for (const std::string_view name : {"DeleteOptions", "Status", "WatchEvent", "APIResourceList"}) {
    out.insert(api::find_type("io.k8s.apimachinery.pkg.apis.meta.v1." + std::string(name)));
  }
  out.erase(nullptr);
  return {out.begin(), out.end()};
}

}  // namespace skiff::apiserver::openapi
