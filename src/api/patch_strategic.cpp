// Applying a strategic merge patch.
#include <algorithm>
#include <set>

#include "member_index.hpp"
#include "strategic.hpp"

namespace skiff::api {
namespace strategic {
namespace {

Error refused(std::string message) { return Error{Code::invalid, std::move(message)}; }
Error malformed(std::string message) { return Error{Code::bad_request, std::move(message)}; }

Error expected(std::string_view what, const Value& got) {
  return malformed("expected a " + std::string(what) + ", but received " + to_json(got));
}

bool has_prefix(std::string_view name, std::string_view prefix) { return name.starts_with(prefix); }

// The name after the slash of `$setElementOrder/name`.
Result<std::string> target_of(std::string_view member, std::string_view prefix) {
  if (member.size() > prefix.size() + 1 && member[prefix.size()] == '/') {
    return std::string(member.substr(prefix.size() + 1));
  }
  return malformed(prefix == kSetOrder ? "invalid patch format of setElementOrder list"
                                       : "invalid patch format of primitive list");
}

class Merger {
 public:
  explicit Merger(bool on_server) : on_server_(on_server) {}

  Result<Value> object(Value original, Value patch, const Type* type);

 private:
  using List = std::vector<Value>;

  Result<void> retain_keys(Value& original, Value& patch) const;
  Result<void> ordered_lists(Value& original, Value& patch, const Type* type);
  Result<void> ordered_list(Value& original, Value& patch, const Type* type,
                            std::string_view directive, const Value& order);
  Result<void> all_members(Value& original, Value& patch, const Type* type);
  Result<void> member(MemberIndex& original, const Type* type, std::string_view name, Value patch,
                      bool deletes);
  void take(MemberIndex& original, std::string_view name, Value patch) const;

  Result<Value> list(Value original, Value patch, const Strategy& strategy, bool deletes);
  Result<void> special_elements(List& original, List& patch, std::string_view merge_key) const;
  Result<void> merge_maps(List& original, List patch, const Strategy& strategy);

  bool on_server_;
};

// Takes from `v` what a document may not contain: nulls and directives. Where there was nothing to
// merge with, what carries a $patch goes as a whole (`drop`); false when that is `v` itself.
bool strip(Value& v, bool drop) {
  if (v.is_array()) {
    std::erase_if(v.mutable_items(),
                  [drop](Value& item) { return (drop && item.has(kPatch)) || !strip(item, drop); });
  } else if (v.is_object()) {
    if (drop && is_delete(v)) return false;
    std::erase_if(v.mutable_members(), [drop](Member& m) {
      return m.value.is_null() || m.name == kPatch || m.name == kRetainKeys ||
             has_prefix(m.name, kSetOrder) || has_prefix(m.name, kDeleteFrom) ||
             !strip(m.value, drop);
    });
  }
  return true;
}

Result<void> check_order(const Value& list, const Value& order, std::string_view merge_key) {
  std::size_t at = 0;
  for (const Value& element : list.items()) {
    if (!merge_key.empty()) {
      if (!element.is_object()) return expected("map", element);
      if (element.has(kPatch)) continue;
      if (!element.has(merge_key)) return missing_merge_key(element, merge_key);
    }
    const std::string wanted = identity(element, merge_key);
    while (at < order.size() && identity(order[at], merge_key) != wanted) ++at;
    if (at++ < order.size()) continue;
    return refused("The order in patch list:\n" + to_json(list) + "\n doesn't match " +
                   std::string(kSetOrder) + " list:\n" + to_json(order) + "\n");
  }
  return {};
}

Result<void> check_maps(std::span<const Value> list, std::string_view merge_key) {
  for (const Value& element : list) {
    if (!element.is_object()) return expected("map", element);
    if (!element.has(merge_key)) return missing_merge_key(element, merge_key);
  }
  return {};
}

// The elements of `merged` that `wanted` names, in its order, interleaved with the others, which
// keep the order of `live`: each of the others stands before the first wanted one that came after
// it there.
Result<Value> arrange(std::vector<Value> merged, const Order& wanted, const Order& live,
                      std::string_view merge_key) {
  if (!merge_key.empty()) SKIFF_CHECK(check_maps(merged, merge_key));
  std::vector<Value> named;
  std::vector<Value> others;
  for (Value& v : merged) (wanted.contains(v) ? named : others).push_back(std::move(v));
  sort_by(named, wanted);
  sort_by(others, live);
  std::vector<Value> out;
  out.reserve(merged.size());
  auto other = others.begin();
  for (Value& v : named) {
    const std::size_t place = live.index(v);
    while (other != others.end() && place != Order::npos) {
      const std::size_t at = live.index(*other);
      if (at == Order::npos || at >= place) break;
      out.push_back(std::move(*other++));
    }
    out.push_back(std::move(v));
  }
  std::move(other, others.end(), std::back_inserter(out));
  return Value::array(std::move(out));
}

// Which order counts as that of the live list: without what the patch deletes, and with what it
// adds in the places that became free. (Upstream's lists share memory; clients see the effect.)
Order order_before(const Value* live, const Value* added, std::string_view merge_key) {
  std::vector<std::string> names;
  if (live == nullptr) return Order(std::move(names), merge_key);
  std::set<std::string> deleted;
  if (added != nullptr) {
    for (const Value& v : added->items()) {
      if (is_delete(v)) deleted.insert(identity(v, merge_key));
    }
  }
  std::set<std::string> known;
  for (const Value& v : live->items()) {
    std::string name = identity(v, merge_key);
    if (deleted.contains(name)) continue;
    known.insert(name);
    names.push_back(std::move(name));
  }
  if (added != nullptr) {
    for (const Value& v : added->items()) {
      if (names.size() >= live->size()) break;
      std::string name = identity(v, merge_key);
      if (!v.has(kPatch) && known.insert(name).second) names.push_back(std::move(name));
    }
  }
  return Order(std::move(names), merge_key);
}

Result<Value> Merger::object(Value original, Value patch, const Type* type) {
  if (const Value* directive = patch.find(kPatch)) {
    const std::string& kind = directive->as_string();
    if (kind == "replace") {
      patch.erase(kPatch);
      return patch;
    }
    if (kind == "delete") return Value::object();
    if (kind != "merge") {
      return malformed("unknown patch type: " + kind + " in map: " + to_json(patch));
    }
    patch.erase(kPatch);
  }
  if (original.is_null()) original = Value::object();
  SKIFF_CHECK(retain_keys(original, patch));
  SKIFF_CHECK(ordered_lists(original, patch, type));
  SKIFF_CHECK(all_members(original, patch, type));
  return original;
}

Result<void> Merger::all_members(Value& original, Value& patch, const Type* type) {
  MemberIndex members(original);
  // Deletions first: an element that the patch both deletes and adds stays.
  for (Member& m : patch.mutable_members()) {
    if (!has_prefix(m.name, kDeleteFrom)) continue;
    if (!on_server_) {
      members.member(m.name) = std::move(m.value);
      continue;
    }
    SKIFF_TRY(const std::string name, target_of(m.name, kDeleteFrom));
    if (!m.value.is_array()) return malformed("invalid patch format of primitive list");
    SKIFF_CHECK(member(members, type, name, std::move(m.value), true));
  }
  for (Member& m : patch.mutable_members()) {
    if (has_prefix(m.name, kDeleteFrom)) continue;
    SKIFF_CHECK(member(members, type, m.name, std::move(m.value), false));
  }
  return {};
}

Result<void> Merger::retain_keys(Value& original, Value& patch) const {
  const Value* found = patch.find(kRetainKeys);
  if (found == nullptr) return {};
  const Value keys = *found;
  patch.erase(kRetainKeys);
  if (!on_server_) {
    const Value* other = original.find(kRetainKeys);
    if (other != nullptr && *other != keys) {
      return malformed(to_json(*other) + " and " + to_json(keys) +
                       " are not deep equal: this may happen when calculating the 3-way diff "
                       "patch");
    }
    original.set(kRetainKeys, keys);
    return {};
  }
  if (!keys.is_array()) return malformed("invalid patch format of retainKeys");
  std::set<std::string_view> kept;
  for (const Value& key : keys.items()) kept.insert(key.as_string());
  for (const Member& m : patch.members()) {
    if (m.value.is_null() || has_prefix(m.name, kDeleteFrom) || has_prefix(m.name, kSetOrder)) {
      continue;
    }
    if (!kept.contains(m.name)) return malformed("invalid patch format of retainKeys");
  }
  if (original.is_object()) {
    std::erase_if(original.mutable_members(),
                  [&](const Member& m) { return !kept.contains(m.name); });
  }
  return {};
}

// Lists that come with their order are merged here, and leave the patch.
Result<void> Merger::ordered_lists(Value& original, Value& patch, const Type* type) {
  std::vector<Member> orders;
  for (Member& m : patch.mutable_members()) {
    if (has_prefix(m.name, kSetOrder)) orders.push_back({m.name, std::move(m.value)});
  }
  std::erase_if(patch.mutable_members(),
                [](const Member& m) { return has_prefix(m.name, kSetOrder); });
  for (Member& m : orders) {
    if (!on_server_) {
      const Value* other = original.find(m.name);
      if (other != nullptr && *other != m.value) {
        return malformed("invalid patch format of setElementOrder list");
      }
      original.set(m.name, m.value);
    }
    SKIFF_CHECK(ordered_list(original, patch, type, m.name, m.value));
  }
  return {};
}

Result<void> Merger::ordered_list(Value& original, Value& patch, const Type* type,
                                  std::string_view directive, const Value& order) {
  if (!order.is_array()) return malformed("invalid patch format of setElementOrder list");
  SKIFF_TRY(const std::string name, target_of(directive, kSetOrder));
  Value* live = original.find(name);
  Value* added = patch.find(name);
  if (live != nullptr && !live->is_array()) return expected("list", *live);
  if (added != nullptr && !added->is_array()) return expected("list", *added);
  if (live == nullptr && added == nullptr) return {};
  SKIFF_TRY(const Strategy strategy, strategy_of(type, name));
  if (added != nullptr) SKIFF_CHECK(check_order(*added, order, strategy.merge_key));

  if (!strategy.merge_key.empty()) SKIFF_CHECK(check_maps(order.items(), strategy.merge_key));
  const Order before = order_before(live, added, strategy.merge_key);
  Value merged = live != nullptr ? std::move(*live) : Value::array();
  if (added != nullptr) {
    Value elements = std::move(*added);
    patch.erase(name);
    if (live == nullptr) {
      merged = std::move(elements);
    } else {
      SKIFF_TRY(merged, list(std::move(merged), std::move(elements), strategy, false));
    }
  }
  SKIFF_TRY(Value arranged,
            arrange(std::move(merged.mutable_items()), Order(order.items(), strategy.merge_key),
                    before, strategy.merge_key));
  if (on_server_) strip(arranged, true);
  original.set(name, std::move(arranged));
  return {};
}

// What the original has nothing to merge with is taken over.
void Merger::take(MemberIndex& original, std::string_view name, Value patch) const {
  if (on_server_ && !strip(patch, true)) {
    original.erase(name);
  } else {
    original.member(name) = std::move(patch);
  }
}

Result<void> Merger::member(MemberIndex& original, const Type* type, std::string_view name,
                            Value patch, bool deletes) {
  if (patch.is_null()) {
    original.erase(name);
    if (!on_server_) original.member(name);
    return {};
  }
  Value* live = original.find(name);
  const bool mergeable =
      live != nullptr && live->type() == patch.type() && (patch.is_array() || patch.is_object());
  if (!mergeable) {
    if (!deletes) take(original, name, std::move(patch));
    return {};
  }
  SKIFF_TRY(const Strategy strategy, strategy_of(type, name));
  if (patch.is_object()) {
    if (strategy.replace && !patch.has(kPatch)) {
      take(original, name, std::move(patch));
      return {};
    }
    SKIFF_TRY(*live, object(std::move(*live), std::move(patch), strategy.type));
    return {};
  }
  SKIFF_TRY(*live, list(std::move(*live), std::move(patch), strategy, deletes));
  return {};
}

Result<Value> Merger::list(Value original, Value patch, const Strategy& strategy, bool deletes) {
  if (!strategy.merge) {
    if (deletes) return original;
    if (on_server_) strip(patch, false);
    return patch;
  }
  SKIFF_TRY(const Elements kind, elements_of(original.items(), patch.items()));
  if (kind == Elements::none) return original;
  List merged = std::move(original.mutable_items());
  List elements = std::move(patch.mutable_items());
  if (kind == Elements::scalars) {
    const Order wanted(elements, "");
    if (deletes && on_server_) {
      std::erase_if(merged, [&](const Value& v) { return wanted.contains(v); });
      return Value::array(std::move(merged));
    }
    const Order live(merged, "");
    std::set<std::string> seen;
    std::move(elements.begin(), elements.end(), std::back_inserter(merged));
    std::erase_if(merged, [&](const Value& v) { return !seen.insert(identity(v, "")).second; });
    return arrange(std::move(merged), wanted, live, "");
  }
  const std::string_view key = strategy.merge_key;
  if (key.empty()) return refused("cannot merge lists without merge key");
  SKIFF_CHECK(special_elements(merged, elements, key));
  const Order wanted(elements, key);
  const Order live(merged, key);
  SKIFF_CHECK(merge_maps(merged, std::move(elements), strategy));
  return arrange(std::move(merged), wanted, live, key);
}

// Elements with a $patch: `delete` removes the one of the same key, `replace` says that the rest
// of the patch is the new list.
Result<void> Merger::special_elements(List& original, List& patch,
                                      std::string_view merge_key) const {
  bool replace = false;
  std::set<std::string> deleted;
  for (const Value& element : patch) {
    const Value* directive = element.find(kPatch);
    if (directive == nullptr) continue;
    const std::string& kind = directive->as_string();
    if (kind == "delete") {
      if (!element.has(merge_key)) return missing_merge_key(element, merge_key);
      deleted.insert(identity(element, merge_key));
    } else if (kind == "replace") {
      replace = true;
    } else if (kind == "merge") {
      return malformed("merging lists cannot yet be specified in the patch");
    } else {
      return malformed("unknown patch type: " + kind + " in map: " + to_json(element));
    }
  }
  std::erase_if(patch, [](const Value& element) { return element.has(kPatch); });
  if (replace) {
    original = std::move(patch);
    patch.clear();
    if (on_server_) {
      for (Value& v : original) strip(v, false);
    }
  } else if (!deleted.empty()) {
    std::erase_if(original,
                  [&](const Value& v) { return deleted.contains(identity(v, merge_key)); });
  }
  return {};
}

Result<void> Merger::merge_maps(List& original, List patch, const Strategy& strategy) {
  std::unordered_map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < original.size(); ++i) {
    if (original[i].has(strategy.merge_key)) {
      places.emplace(identity(original[i], strategy.merge_key), i);
    }
  }
  for (Value& element : patch) {
    if (!element.has(strategy.merge_key)) return missing_merge_key(element, strategy.merge_key);
    const auto [found, added] =
        places.emplace(identity(element, strategy.merge_key), original.size());
    if (added) {
      original.push_back(std::move(element));
      if (on_server_) strip(original.back(), true);
      continue;
    }
    Value& live = original[found->second];
    SKIFF_TRY(live, object(std::move(live), std::move(element), strategy.type));
  }
  return {};
}

}  // namespace

Result<Value> merge_object(Value original, Value patch, const Type* type, bool on_server) {
  return Merger(on_server).object(std::move(original), std::move(patch), type);
}

}  // namespace strategic

Result<void> strategic_merge_patch(const Type& type, Value& doc, const Value& patch) {
  if (!patch.is_object() || !(doc.is_object() || doc.is_null())) {
    return Error{Code::bad_request, "invalid JSON document"};
  }
  SKIFF_TRY(doc, strategic::merge_object(doc, patch, &type, true));
  return {};
}

}  // namespace skiff::api
