// Decoding, as Go's encoding/json does it for these types, and the canonical form Go encodes to.
#include <algorithm>
#include <array>
#include <cmath>

#include "scalars.hpp"
#include "skiff/api/codec.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kUsualFields = 64;  // structs with more (custom kinds) cost an allocation
constexpr std::size_t kMaxUnknown = 100;  // reported, as upstream

// Where the decoder is: a chain of stack frames, made into text only when something is wrong.
struct Place {
  const Place* up = nullptr;
  std::string_view name;     // field or map key
  std::size_t index = 0;     // array element when name is empty
  const Type* in = nullptr;  // the struct `name` is a field of
};

// `spec.containers[0].image`
void append_path(const Place* place, std::string& out) {
  if (!place || (!place->up && place->name.empty())) return;
  append_path(place->up, out);
  if (place->name.empty()) {
    out += '[' + std::to_string(place->index) + ']';
  } else {
    if (!out.empty()) out += '.';
    out += place->name;
  }
}

// `spec.containers.image`: fields alone, as Go names them.
void append_go_path(const Place* place, std::string& out) {
  if (!place) return;
  append_go_path(place->up, out);
  if (place->in) {
    out += '.';
    out += place->name;
  }
}

// "v1.PodSpec" of "io.k8s.api.core.v1.PodSpec".
std::string_view go_type(const Type& type) {
  auto last = type.name.rfind('.');
  auto before = last == std::string_view::npos ? last : type.name.rfind('.', last - 1);
  return before == std::string_view::npos ? type.name : type.name.substr(before + 1);
}

std::string go_kind(Kind kind, const Type* type) {
  switch (kind) {
    case Kind::boolean:
      return "bool";
    case Kind::int32:
      return "int32";
    case Kind::int64:
      return "int64";
    case Kind::number:
      return "float64";
    case Kind::bytes:
      return "[]uint8";
    case Kind::object:
      return type ? std::string(go_type(*type)) : "object";
    case Kind::quantity:
      return "resource.Quantity";
    case Kind::list:
      return "[]string";
    default:
      return "string";
  }
}

std::string go_kind(const Field& f) {
  if (f.kind == Kind::list) return "[]" + go_kind(f.element_kind, f.type);
  if (f.kind == Kind::map && f.element_kind == Kind::quantity) return "v1.ResourceList";
  if (f.kind == Kind::map) return "map[string]" + go_kind(f.element_kind, f.type);
  return go_kind(f.kind, f.type);
}

bool by_name(const Member& a, const Member& b) {
  return static_cast<std::string_view>(a.name) < static_cast<std::string_view>(b.name);
}

// Nothing in it: what Go leaves out of a field marked omitempty.
bool is_empty(Kind kind, const Value& v) {
  switch (kind) {
    case Kind::string:
    case Kind::bytes:
      return v.as_string().empty();
    case Kind::boolean:
      return !v.as_bool();
    case Kind::int32:
    case Kind::int64:
    case Kind::number:
      return v.as_double() == 0;
    case Kind::list:
    case Kind::map:
      return v.empty();
    default:
      return false;
  }
}

Value zero(Kind kind, const Type* type);

// What Go encodes for an absent field; null: nothing.
Value absent(const Field& f) {
  if (f.has_pointer) return {};
  if (f.kind == Kind::object || f.kind == Kind::quantity || f.kind == Kind::int_or_string ||
      f.always)
    return zero(f.kind, f.type);
  return {};
}

Value zero(Kind kind, const Type* type) {
  switch (kind) {
    case Kind::string:
      return "";
    case Kind::boolean:
      return false;
    case Kind::int32:
    case Kind::int64:
    case Kind::number:
    case Kind::int_or_string:
      return 0;
    case Kind::quantity:
      return "0";
    case Kind::object: {
      Value out = Value::object();
      for (const Field& f : type->fields)
        if (Value v = absent(f); !v.is_null())
          out.mutable_members().push_back({f.name, std::move(v)});
      return out;
    }
    default:
      return {};
  }
}

class Decoder {
 public:
  explicit Decoder(std::vector<std::string>* unknown) : unknown_(unknown) {}

  Result<void> value(Kind kind, const Field* field, const Type* type, Value& v,
                     const Place* place) {
    switch (kind) {
      case Kind::string:
      case Kind::duration:
        return v.is_string() ? Result<void>{} : mismatch(v, kind, field, type, place);
      case Kind::boolean:
        return v.is_bool() ? Result<void>{} : mismatch(v, kind, field, type, place);
      case Kind::int32:
      case Kind::int64:
        return integer(kind, field, v, place);
      case Kind::number:
        return v.is_number() ? Result<void>{} : mismatch(v, kind, field, type, place);
      case Kind::bytes:
        return bytes(field, v, place);
      case Kind::quantity:
        return canonical_quantity(v);
      case Kind::int_or_string:
        return int_or_string(v);
      case Kind::time:
      case Kind::micro_time:
        return canonical_time(v, kind == Kind::micro_time);
      case Kind::object:
        return v.is_object() ? object(*type, v, place) : mismatch(v, kind, field, type, place);
      case Kind::list:
        return list(field, v, place);
      case Kind::map:
        return map(*field, v, place);
      case Kind::any:
        return any(type, v, place);
    }
    return {};
  }

 private:
  Result<void> object(const Type& type, Value& v, const Place* place) {
    auto& members = v.mutable_members();
    std::array<Member*, kUsualFields> usual{};
    std::vector<Member*> many(type.fields.size() > kUsualFields ? type.fields.size() : 0);
    std::span<Member*> slots = many.empty() ? std::span(usual) : std::span(many);
    std::size_t expected = 0;  // documents mostly come in the schema's order
    for (Member& m : members) {
      std::size_t at = index_of(type, m.name, expected);
      if (at == type.fields.size()) {
        report(m.name, place);
        continue;
      }
      expected = at + 1;
      if (m.value.is_null()) continue;
      const Field& f = type.fields[at];
      Place here{place, f.name, 0, &type};
      SKIFF_CHECK(value(f.kind, &f, f.type, m.value, &here));
      if (!f.has_pointer && !f.always && is_empty(f.kind, m.value)) continue;
      slots[at] = &m;
    }
    std::vector<Member> ordered;
    ordered.reserve(members.size());
    for (std::size_t i = 0; i < type.fields.size(); ++i) {
      if (slots[i]) {
        ordered.push_back(std::move(*slots[i]));
      } else if (Value filler = absent(type.fields[i]); !filler.is_null()) {
        ordered.push_back({type.fields[i].name, std::move(filler)});
      }
    }
    members = std::move(ordered);
    return {};
  }

  static std::size_t index_of(const Type& type, std::string_view name, std::size_t expected) {
    std::size_t n = type.fields.size();
    for (std::size_t i = 0; i < n; ++i) {
      std::size_t at = (expected + i) % n;
      if (type.fields[at].name == name) return at;
    }
    return n;
  }

  Result<void> list(const Field* field, Value& v, const Place* place) {
    // Without a field: the lists in maps, which hold strings.
    Kind element = field && field->kind == Kind::list ? field->element_kind : Kind::string;
    const Type* type = field ? field->type : nullptr;
    if (!v.is_array()) return mismatch(v, Kind::list, field, type, place);
    std::size_t index = 0;
    for (Value& item : v.mutable_items()) {
      Place here{place, {}, index++, nullptr};
      if (item.is_null()) {
        if (element != Kind::any) item = zero(element, type);
        continue;
      }
      SKIFF_CHECK(this->element(element, field, type, item, &here));
    }
    return {};
  }

  Result<void> map(const Field& f, Value& v, const Place* place) {
    if (!v.is_object()) return mismatch(v, Kind::map, &f, f.type, place);
    auto& members = v.mutable_members();
    for (Member& m : members) {
      if (m.value.is_null()) {
        if (f.element_kind == Kind::list)
          m.value = Value::array();
        else if (f.element_kind == Kind::bytes)
          m.value = "";
        else if (f.element_kind != Kind::any)
          m.value = zero(f.element_kind, f.type);
        continue;
      }
      Place here{place, m.name, 0, nullptr};
      if (f.element_kind == Kind::list) {
        SKIFF_CHECK(list(nullptr, m.value, &here));
      } else {
        SKIFF_CHECK(element(f.element_kind, &f, f.type, m.value, &here));
      }
    }
    if (!std::is_sorted(members.begin(), members.end(), by_name))
      std::sort(members.begin(), members.end(), by_name);  // as Go encodes maps
    return {};
  }

  // An element's own type is what messages name, not the list's.
  Result<void> element(Kind kind, const Field*, const Type* type, Value& v, const Place* place) {
    return value(kind, nullptr, type, v, place);
  }

  // Objects of a type where other things may stand too (JSONSchemaPropsOrArray and the like).
  Result<void> any(const Type* type, Value& v, const Place* place) {
    if (!type) return {};
    if (v.is_object()) return object(*type, v, place);
    if (!v.is_array()) return {};
    std::size_t index = 0;
    for (Value& item : v.mutable_items()) {
      Place here{place, {}, index++, nullptr};
      if (item.is_object()) SKIFF_CHECK(object(*type, item, &here));
    }
    return {};
  }

  Result<void> integer(Kind kind, const Field* field, const Value& v, const Place* place) {
    bool fits =
        v.is_int() && (kind == Kind::int64 || (v.as_int() >= INT32_MIN && v.as_int() <= INT32_MAX));
    return fits ? Result<void>{} : mismatch(v, kind, field, nullptr, place);
  }

  Result<void> int_or_string(const Value& v) {
    if (v.is_string()) return {};
    if (v.is_int() && v.as_int() >= INT32_MIN && v.as_int() <= INT32_MAX) return {};
    return Error{Code::bad_request, "json: cannot unmarshal " + json_type_name(v, true) +
                                        " into Go value of type int32"};
  }

  Result<void> bytes(const Field* field, Value& v, const Place* place) {
    if (!v.is_string()) return mismatch(v, Kind::bytes, field, nullptr, place);
    if (!check_base64(v.as_string()).bad_offset &&
        v.as_string().find_first_of("\r\n") == std::string::npos)
      return {};
    std::string text = v.as_string();
    SKIFF_CHECK(canonical_bytes(text));
    v = Value(std::move(text));
    return {};
  }

  Error mismatch(const Value& v, Kind kind, const Field* field, const Type* type,
                 const Place* place) {
    bool wants_number = kind == Kind::int32 || kind == Kind::int64;
    std::string go = field && field->kind == kind ? go_kind(*field) : go_kind(kind, type);
    std::string message = "json: cannot unmarshal " + json_type_name(v, wants_number) + " into Go ";
    const Place* inner = place;
    while (inner && !inner->in) inner = inner->up;
    if (inner) {
      auto name = inner->in->name;
      message += "struct field " + std::string(name.substr(name.rfind('.') + 1));
      append_go_path(place, message);
    } else {
      message += "value";
    }
    return Error{Code::bad_request, message + " of type " + go};
  }

  void report(std::string_view name, const Place* place) {
    if (!unknown_ || unknown_->size() >= kMaxUnknown) return;
    Place here{place, name, 0, nullptr};
    std::string path;
    append_path(&here, path);
    unknown_->push_back("unknown field \"" + path + "\"");
  }

  std::vector<std::string>* unknown_;
};

}  // namespace

Result<void> decode(const Type& type, Value& doc, std::vector<std::string>* unknown) {
  return Decoder(unknown).value(Kind::object, nullptr, &type, doc, nullptr);
}

}  // namespace skiff::api
