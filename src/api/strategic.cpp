#include "strategic.hpp"

#include <algorithm>

namespace skiff::api::strategic {
namespace {

Error refused(std::string message) { return Error{Code::invalid, std::move(message)}; }

// The one field of the API whose patch strategy is "replace" in so many words.
bool replaces(const Type& type, std::string_view member) {
  return member == "selector" && type.name == "io.k8s.api.policy.v1.PodDisruptionBudgetSpec";
}

}  // namespace

Result<Strategy> strategy_of(const Type* type, std::string_view member) {
  if (type == nullptr) return Strategy{};
  const Field* field = type->field(member);
  if (field == nullptr) {
    const auto dot = type->name.rfind('.');
    const auto name = dot == std::string_view::npos ? type->name : type->name.substr(dot + 1);
    return refused("unable to find api field in struct " + std::string(name) +
                   " for the json field " + to_json(Value(member)));
  }
  return Strategy{.type = field->type,
                  .merge = field->merge,
                  .replace = replaces(*type, member),
                  .retain_keys = field->retain_keys,
                  .merge_key = field->merge_key};
}

Result<Elements> elements_of(std::span<const Value> a, std::span<const Value> b) {
  Elements found = Elements::none;
  Value::Type first = Value::Type::null;
  for (const auto list : {a, b}) {
    for (const Value& v : list) {
      if (v.is_array()) return refused("lists of lists are not supported");
      const Value::Type type = v.is_number() ? Value::Type::number : v.type();
      if (found == Elements::none) {
        first = type;
        found = v.is_object() ? Elements::maps : Elements::scalars;
      } else if (type != first) {
        return refused("list element types are not identical: " + to_json(v));
      }
    }
  }
  return found;
}

std::string identity(const Value& element, std::string_view merge_key) {
  return to_json(merge_key.empty() ? element : element[merge_key]);
}

Error missing_merge_key(const Value& element, std::string_view merge_key) {
  return refused("map: " + to_json(element) +
                 " does not contain declared merge key: " + std::string(merge_key));
}

Order::Order(std::span<const Value> list, std::string_view merge_key) : merge_key_(merge_key) {
  for (std::size_t i = 0; i < list.size(); ++i) places_.emplace(identity(list[i], merge_key), i);
}

Order::Order(std::vector<std::string> identities, std::string_view merge_key)
    : merge_key_(merge_key) {
  for (std::size_t i = 0; i < identities.size(); ++i) {
    places_.emplace(std::move(identities[i]), i);
  }
}

std::size_t Order::index(const Value& element) const {
  const auto found = places_.find(identity(element, merge_key_));
  return found == places_.end() ? npos : found->second;
}

bool is_delete(const Value& element) { return element[kPatch].as_string() == "delete"; }

void sort_by(std::vector<Value>& list, const Order& order) {
  struct Place {
    bool deleted;
    std::size_t at;
    Value value;
  };
  std::vector<Place> places;
  places.reserve(list.size());
  for (Value& v : list) {
    const std::size_t at = order.index(v);
    places.push_back({is_delete(v), at, std::move(v)});
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    if (a.deleted != b.deleted) return b.deleted;
    return !a.deleted && a.at < b.at;
  });
  for (std::size_t i = 0; i < list.size(); ++i) list[i] = std::move(places[i].value);
}

}  // namespace skiff::api::strategic
