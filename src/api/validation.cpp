// Validation driven by the schema, and the way to each kind's own rules.
#include "validation.hpp"

#include <algorithm>
#include <unordered_map>

namespace skiff::api {
namespace {

constexpr std::string_view kObjectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
constexpr std::string_view kLabelSelector = "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector";

// Where the walk is; made into text only for an error.
struct Place {
  const Place* up = nullptr;
  std::string_view name;
  std::size_t index = 0;  // when name is empty
  bool is_key = false;    // name is a map key

  Path text() const {
    Path prefix = up ? up->text() : Path();
    if (is_key) return key(prefix, name);
    return name.empty() ? at(prefix, index) : child(prefix, name);
  }
};

class Walk {
 public:
  explicit Walk(FieldErrors& errors) : errors_(errors) {}

  void object(const Type& type, const Value& v, const Value* old, const Place* up) {
    if (up && type.name == kLabelSelector) return validate_label_selector(errors_, up->text(), v);
    if (type.name == kObjectMeta) return;  // has rules of its own
    for (const Field& f : type.fields) {
      const Value* now = v.find(f.name);
      if (!now && !f.required && !old) continue;
      field(f, now, old ? old->find(f.name) : nullptr, old != nullptr, up);
    }
  }

  void field(const Field& f, const Value* now, const Value* before, bool update, const Place* up) {
    Place place{up, f.name, 0, false};
    if (f.required && missing(f, now)) {
      errors_.required(place.text());
      return;
    }
    static const Value kNull;
    if (update && f.immutable && !same(now, before))
      errors_.invalid(place.text(), now ? *now : kNull, std::string(kImmutable));
    if (!now) return;
    switch (f.kind) {
      case Kind::object:
        return object(*f.type, *now, before, &place);
      case Kind::list:
        return list(f, *now, place);
      case Kind::map:
        return map(f, *now, place);
      default:
        return scalar(f, f.kind, *now, place);
    }
  }

 private:
  static bool missing(const Field& f, const Value* v) {
    if (!v || v->is_null()) return true;
    bool empty_text = (f.kind == Kind::string || f.kind == Kind::bytes) && v->as_string().empty();
    return empty_text || ((f.kind == Kind::list || f.kind == Kind::map) && v->empty());
  }

  static bool same(const Value* a, const Value* b) {
    bool no_a = !a || a->is_null() || ((a->is_object() || a->is_array()) && a->empty());
    bool no_b = !b || b->is_null() || ((b->is_object() || b->is_array()) && b->empty());
    return no_a || no_b ? no_a == no_b : *a == *b;
  }

  void list(const Field& f, const Value& v, const Place& place) {
    std::size_t index = 0;
    for (const Value& item : v.items()) {
      Place here{&place, {}, index++, false};
      if (f.element_kind == Kind::object) {
        object(*f.type, item, nullptr, &here);
      } else {
        scalar(f, f.element_kind, item, here);
      }
    }
  }

  void map(const Field& f, const Value& v, const Place& place) {
    if (f.element_kind != Kind::object) return;
    for (const Member& m : v.members()) {
      Place here{&place, m.name, 0, true};
      object(*f.type, m.value, nullptr, &here);
    }
  }

  void scalar(const Field& f, Kind kind, const Value& v, const Place& place) {
    if (kind == Kind::string) {
      const std::string& text = v.as_string();
      if (!f.enums.empty()) enumeration(f, text, v, place);
      if (!f.format.empty() && !text.empty())
        complain(errors_, place.text(), v, format_errors(f.format, text));
    } else if (kind == Kind::int32 || kind == Kind::int64) {
      range(f, v, place);
    }
  }

  void enumeration(const Field& f, const std::string& text, const Value& v, const Place& place) {
    if (text.empty() && !f.has_pointer) return;  // absent; `required` has looked at it
    if (std::find(f.enums.begin(), f.enums.end(), text) != f.enums.end()) return;
    errors_.not_supported(place.text(), v, {f.enums.begin(), f.enums.end()});
  }

  void range(const Field& f, const Value& v, const Place& place) {
    std::int64_t n = v.as_int();
    if (f.format == "port") {
      if (!port_number_errors(n).empty()) complain(errors_, place.text(), v, port_number_errors(n));
      return;
    }
    if (n >= f.minimum && n <= f.maximum) return;
    if (f.maximum != INT64_MAX)
      return errors_.invalid(place.text(), v, range_text(f.minimum, f.maximum));
    errors_.invalid(place.text(), v, std::string(f.minimum == 0 ? kNotNegative : kPositive));
  }

  FieldErrors& errors_;
};

const std::unordered_multimap<const Type*, const KindRule*>& kind_rules() {
  static const auto rules = [] {
    std::unordered_multimap<const Type*, const KindRule*> map;
    for (auto list : {pod_rules(), service_rules(), workload_rules(), config_rules(),
                      cluster_rules(), network_rules(), storage_rules(), extension_rules()})
      for (const KindRule& r : list) map.emplace(find_type(r.type), &r);
    return map;
  }();
  return rules;
}

// The object itself is looked at without what another route writes.
void walk_object(const Subject& s) {
  Walk walk(s.errors);
  bool own_status = s.resource.subresource("status") != nullptr;
  bool status_only = s.subresource == "status";
  for (const Field& f : s.resource.type->fields) {
    bool is_status = f.name == "status";
    if (status_only ? !is_status : is_status && own_status) continue;
    if (f.kind == Kind::object && f.type->name == kObjectMeta) continue;
    walk.field(f, s.doc.find(f.name), s.before().find(f.name), s.old != nullptr, nullptr);
  }
}

}  // namespace

void complain(FieldErrors& errors, const Path& path, const Value& value,
              const Complaints& complaints) {
  for (const std::string& c : complaints) errors.invalid(path, value, c);
}

void check_required_text(FieldErrors& errors, const Path& path, const Value& value,
                         Complaints (*format)(std::string_view)) {
  if (value.as_string().empty()) return errors.required(path);
  check_text(errors, path, value, format);
}

void check_immutable(FieldErrors& errors, const Path& path, const Value& now, const Value& before) {
  if (now != before) errors.invalid(path, now, std::string(kImmutable));
}

void check_relative_path(FieldErrors& errors, const Path& path, const Value& value) {
  std::string_view text = value.as_string();
  if (text.starts_with('/')) errors.invalid(path, value, "must be a relative path");
  for (;;) {
    auto slash = text.find('/');
    if (text.substr(0, slash) == "..") return errors.invalid(path, value, "must not contain '..'");
    if (slash == std::string_view::npos) return;
    text.remove_prefix(slash + 1);
  }
}

void validate(const Resource& resource, const Value& doc, const Value* old,
              std::string_view subresource, FieldErrors& errors) {
  Subject subject{resource, doc, old, subresource, errors};
  validate_metadata(resource, doc, old, errors);
  walk_object(subject);
  auto [first, last] = kind_rules().equal_range(resource.type);
  for (auto rule = first; rule != last; ++rule)
    if (rule->second->of_status == (subresource == "status")) rule->second->check(subject);
}

}  // namespace skiff::api
