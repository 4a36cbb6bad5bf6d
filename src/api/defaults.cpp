#include "defaults.hpp"

#include <array>
#include <unordered_map>

#include "skiff/api/codec.hpp"
#include "skiff/api/quantity.hpp"

namespace skiff::api {
namespace {

struct Tables {
  std::unordered_map<const Field*, Value> values;  // parsed default_json of the built-in fields
  std::unordered_map<const Type*, DefaultHook> hooks;

  Tables() {
    for (const Type* type : types())
      for (const Field& f : type->fields)
        if (!f.default_json.empty()) values.emplace(&f, parse_json(f.default_json).value());
    for (auto list : {core_defaults(), pod_defaults(), group_defaults()})
      for (const TypeDefault& d : list) hooks.emplace(find_type(d.type), d.hook);
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

Value default_of(const Field& f) {
  if (f.default_json.empty()) return {};
  const auto& known = tables().values;
  if (auto it = known.find(&f); it != known.end()) return it->second;
  auto parsed = parse_json(f.default_json);  // a custom kind's
  return parsed ? std::move(*parsed) : Value();
}

// Amounts finer than a thousandth are rounded up, as upstream has done since they were ints.
void round_amounts(Value& list) {
  for (Member& m : list.mutable_members()) {
    const std::string& text = m.value.as_string();
    if (text.empty() || (text.back() != 'n' && text.back() != 'u')) continue;
    if (auto q = Quantity::parse(text)) m.value = Quantity::milli(q->milli_value()).to_string();
  }
}

void walk(const Type& type, Value& object);

void walk_field(const Field& f, Value& v) {
  if (f.kind == Kind::object && v.is_object()) return walk(*f.type, v);
  if (f.kind == Kind::map && f.element_kind == Kind::quantity && v.is_object())
    return round_amounts(v);
  if (f.element_kind != Kind::object || !f.type) return;
  if (f.kind == Kind::list && v.is_array()) {
    for (Value& item : v.mutable_items())
      if (item.is_object()) walk(*f.type, item);
  } else if (f.kind == Kind::map && v.is_object()) {
    for (Member& m : v.mutable_members())
      if (m.value.is_object()) walk(*f.type, m.value);
  }
}

void walk(const Type& type, Value& object) {
  for (const Field& f : type.fields)
    if (!f.default_json.empty()) default_field(type, object, f.name, Value());
  const auto& hooks = tables().hooks;
  if (auto hook = hooks.find(&type); hook != hooks.end()) hook->second(type, object);
  for (Member& m : object.mutable_members())
    if (const Field* f = type.field(m.name)) walk_field(*f, m.value);
}

bool absent(const Field& f, const Value* v) {
  if (!v || v->is_null()) return true;
  if (f.has_pointer) return false;
  // A plain string or number that is empty counts as absent in Go.
  if (f.kind == Kind::string) return v->as_string().empty();
  if (f.kind == Kind::int32 || f.kind == Kind::int64) return v->as_int() == 0;
  if (f.kind == Kind::list || f.kind == Kind::map) return v->empty();
  return false;
}

}  // namespace

Value& set_field(const Type& type, Value& object, std::string_view name, Value v) {
  if (Value* existing = object.find(name)) return *existing = std::move(v);
  auto& members = object.mutable_members();
  // Members stand in the order of the fields: go along both until the new one's place.
  std::size_t at = 0;
  for (const Field& f : type.fields) {
    if (f.name == name) break;
    if (at < members.size() && members[at].name == f.name) ++at;
  }
  return members
      .insert(members.begin() + static_cast<std::ptrdiff_t>(at), Member{Name(name), std::move(v)})
      ->value;
}

void default_field(const Type& type, Value& object, std::string_view name, Value v) {
  const Field* f = type.field(name);
  if (!f || !absent(*f, object.find(name))) return;
  if (v.is_null()) v = default_of(*f);
  if (absent(*f, &v)) return;  // nothing is what it already has
  set_field(type, object, name, std::move(v));
}

void apply_defaults(const Resource& resource, Value& doc) {
  if (doc.is_object()) walk(*resource.type, doc);
}

}  // namespace skiff::api
