#include "diff.hpp"

#include <array>
#include <set>

namespace skiff::cli {
namespace {

using api::Value;

constexpr std::array<std::string_view, 10> kIdentifying = {
    "name", "key",         "containerPort", "port", "mountPath",
    "type", "topologyKey", "uid",           "ip",   "host"};
constexpr std::size_t kMostText = 120;

// The text that tells `element` from its neighbours by `field`; "" when it has none.
std::string identity(const Value& element, std::string_view field) {
  const Value* v = element.find(field);
  if (v == nullptr) return "";
  return v->is_string() ? v->as_string() : api::to_json(*v);
}

bool identifies(const Value& list, std::string_view field) {
  std::set<std::string> seen;
  for (const Value& element : list.items()) {
    if (!element.is_object()) return false;
    const std::string id = identity(element, field);
    if (id.empty() || !seen.insert(id).second) return false;
  }
  return true;
}

// The field by which both lists' elements can be told apart; "" for none.
std::string_view identifying_field(const Value& a, const Value& b) {
  for (const std::string_view field : kIdentifying) {
    if (identifies(a, field) && identifies(b, field)) return field;
  }
  return "";
}

const Value* element_by(const Value& list, std::string_view field, const std::string& id) {
  for (const Value& element : list.items()) {
    if (identity(element, field) == id) return &element;
  }
  return nullptr;
}

std::string member_path(const std::string& path, std::string_view name) {
  if (name.find_first_of("./[]\" ") != std::string_view::npos) {
    return path + "[\"" + std::string(name) + "\"]";
  }
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

void compare(const std::string& path, const Value* a, const Value* b, std::vector<Difference>& out);

void compare_objects(const std::string& path, const Value& a, const Value& b,
                     std::vector<Difference>& out) {
  for (const api::Member& m : a.members()) {
    compare(member_path(path, m.name), &m.value, b.find(m.name), out);
  }
  for (const api::Member& m : b.members()) {
    if (a.find(m.name) == nullptr) compare(member_path(path, m.name), nullptr, &m.value, out);
  }
}

void compare_lists(const std::string& path, const Value& a, const Value& b,
                   std::vector<Difference>& out) {
  const std::string_view field = identifying_field(a, b);
  if (field.empty()) {
    const std::size_t longest = std::max(a.items().size(), b.items().size());
    for (std::size_t i = 0; i < longest; ++i) {
      compare(path + "[" + std::to_string(i) + "]", i < a.items().size() ? &a.items()[i] : nullptr,
              i < b.items().size() ? &b.items()[i] : nullptr, out);
    }
    return;
  }
  const auto place = [&](const std::string& id) {
    return path + "[" + std::string(field) + "=" + id + "]";
  };
  for (const Value& element : a.items()) {
    const std::string id = identity(element, field);
    compare(place(id), &element, element_by(b, field, id), out);
  }
  for (const Value& element : b.items()) {
    const std::string id = identity(element, field);
    if (element_by(a, field, id) == nullptr) compare(place(id), nullptr, &element, out);
  }
}

void compare(const std::string& path, const Value* a, const Value* b,
             std::vector<Difference>& out) {
  if (a != nullptr && b != nullptr) {
    if (*a == *b) return;
    if (a->is_object() && b->is_object()) return compare_objects(path, *a, *b, out);
    if (a->is_array() && b->is_array()) return compare_lists(path, *a, *b, out);
  }
  // Labels, annotations and data are better told one by one.
  const bool map = (a == nullptr && b != nullptr && b->is_object() && !b->members().empty()) ||
                   (b == nullptr && a != nullptr && a->is_object() && !a->members().empty());
  if (map) {
    static const Value empty = Value::object();
    return compare_objects(path, a != nullptr ? *a : empty, b != nullptr ? *b : empty, out);
  }
  out.push_back({path, a, b});
}

std::string shown(const Value& v, bool hidden) {
  if (hidden) {
    return "(" + std::to_string(v.is_string() ? v.as_string().size() : api::to_json(v).size()) +
           " characters, not shown)";
  }
  std::string text = api::to_json(v);
  if (text.size() <= kMostText) return text;
  std::size_t end = kMostText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "... (" + std::to_string(text.size()) + " characters)";
}

}  // namespace

std::vector<Difference> differences(const Value& before, const Value& after) {
  std::vector<Difference> out;
  compare("", &before, &after, out);
  return out;
}

std::string diff_text(const std::vector<Difference>& differences, bool secret) {
  std::string out;
  for (const Difference& d : differences) {
    const bool data = d.path.starts_with("data") || d.path.starts_with("stringData") ||
                      d.path.find("last-applied-configuration") != std::string::npos;
    const bool hidden = secret && data;
    if (d.before == nullptr) {
      out += "  + " + d.path + ": " + shown(*d.after, hidden) + "\n";
    } else if (d.after == nullptr) {
      out += "  - " + d.path + ": " + shown(*d.before, hidden) + "\n";
    } else {
      out += "    " + d.path + ": " + shown(*d.before, hidden) + " \u2192 " +
             shown(*d.after, hidden) + "\n";
    }
  }
  return out;
}

Value without_noise(Value document) {
  document.erase("status");
  Value& metadata = document.member("metadata");
  for (const std::string_view name :
       {"managedFields", "resourceVersion", "generation", "selfLink"}) {
    metadata.erase(name);
  }
  return document;
}

}  // namespace skiff::cli
