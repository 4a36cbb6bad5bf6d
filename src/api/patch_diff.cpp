// Computing patches from documents.
#include <algorithm>
#include <set>

#include "strategic.hpp"

namespace skiff::api {
namespace strategic {
namespace {

struct DiffOptions {
  bool changes = true;    // what `modified` adds or changes
  bool deletions = true;  // what it lacks
  bool retain_keys = false;
};

Result<Value> diff_objects(const Value& original, const Value& modified, const Type* type,
                           DiffOptions options);

struct ListDiff {
  std::vector<Value> patch;
  std::vector<Value> deleted;  // scalars
  std::vector<Value> order;
};

// Pointers to the elements, ordered by what identifies them.
std::vector<std::pair<std::string, const Value*>> by_identity(std::span<const Value> list,
                                                              std::string_view merge_key) {
  std::vector<std::pair<std::string, const Value*>> out;
  for (const Value& v : list) out.emplace_back(identity(v, merge_key), &v);
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return out;
}

Result<ListDiff> diff_maps(const Value& original, const Value& modified, const Strategy& strategy,
                           DiffOptions options) {
  const std::string_view key = strategy.merge_key;
  for (const Value* list : {&original, &modified}) {
    for (const Value& v : list->items()) {
      if (!v.has(key)) return missing_merge_key(v, key);
    }
  }
  const auto before = by_identity(original.items(), key);
  const auto after = by_identity(modified.items(), key);
  options.retain_keys = strategy.retain_keys;
  ListDiff out;
  std::vector<Value> deletions;
  auto b = before.begin();
  auto a = after.begin();
  while (b != before.end() || a != after.end()) {
    if (b != before.end() && a != after.end() && b->first == a->first) {
      SKIFF_TRY(Value change, diff_objects(*b->second, *a->second, strategy.type, options));
      if (!change.empty()) {
        change.set(key, (*a->second)[key]);
        out.patch.push_back(std::move(change));
      }
      ++a;
      ++b;
    } else if (b == before.end() || (a != after.end() && a->first < b->first)) {
      if (options.changes) out.patch.push_back(*a->second);
      ++a;
    } else {
      if (options.deletions) {
        deletions.push_back(Value::object({{kPatch, "delete"}, {key, (*b->second)[key]}}));
      }
      ++b;
    }
  }
  sort_by(out.patch, Order(modified.items(), key));
  const bool same_order = std::equal(
      original.items().begin(), original.items().end(), modified.items().begin(),
      modified.items().end(), [&](const Value& x, const Value& y) { return x[key] == y[key]; });
  const bool changed = !out.patch.empty() || !deletions.empty();
  std::move(deletions.begin(), deletions.end(), std::back_inserter(out.patch));
  if ((options.changes && (changed || !same_order)) || (options.deletions && changed)) {
    for (const Value& v : modified.items()) out.order.push_back(Value::object({{key, v[key]}}));
  }
  return out;
}

ListDiff diff_scalars(const Value& original, const Value& modified, DiffOptions options) {
  const Order before(original.items(), "");
  const Order after(modified.items(), "");
  ListDiff out;
  if (options.changes) {
    for (const Value& v : modified.items()) {
      if (!before.contains(v)) out.patch.push_back(v);
    }
  }
  if (options.deletions) {
    std::set<std::string> seen;
    for (const Value& v : original.items()) {
      if (!after.contains(v) && seen.insert(identity(v, "")).second) out.deleted.push_back(v);
    }
  }
  if (!out.deleted.empty() || (options.changes && original != modified)) {
    out.order.assign(modified.items().begin(), modified.items().end());
  }
  return out;
}

Result<void> diff_lists(const std::string& name, const Value& original, const Value& modified,
                        const Type* type, DiffOptions options, Value& patch) {
  SKIFF_TRY(const Strategy strategy, strategy_of(type, name));
  if (!strategy.merge) {
    if (options.changes && original != modified) patch.set(name, modified);
    return {};
  }
  if (original.empty()) {
    if (!modified.empty() && options.changes) patch.set(name, modified);
    return {};
  }
  SKIFF_TRY(const Elements kind, elements_of(original.items(), modified.items()));
  ListDiff diff;
  if (kind == Elements::maps) {
    SKIFF_TRY(diff, diff_maps(original, modified, strategy, options));
  } else {
    diff = diff_scalars(original, modified, options);
  }
  if (!diff.order.empty()) {
    patch.set(std::string(kSetOrder) + "/" + name, Value::array(std::move(diff.order)));
  }
  if (!diff.deleted.empty()) {
    patch.set(std::string(kDeleteFrom) + "/" + name, Value::array(std::move(diff.deleted)));
  }
  if (!diff.patch.empty()) patch.set(name, Value::array(std::move(diff.patch)));
  return {};
}

Result<void> diff_member(const Member& after, const Value& before, const Type* type,
                         DiffOptions options, Value& patch) {
  if (before.type() != after.value.type() || !(before.is_object() || before.is_array())) {
    if (options.changes && before != after.value) patch.set(after.name, after.value);
    return {};
  }
  if (before == after.value) return {};
  if (before.is_array()) {
    return diff_lists(after.name, before, after.value, type, options, patch);
  }
  SKIFF_TRY(const Strategy strategy, strategy_of(type, after.name));
  if (strategy.replace) {
    if (options.changes) patch.set(after.name, after.value);
    return {};
  }
  options.retain_keys = strategy.retain_keys;
  SKIFF_TRY(Value change, diff_objects(before, after.value, strategy.type, options));
  if (!change.empty()) patch.set(after.name, std::move(change));
  return {};
}

// Recursion follows documents that were parsed, whose depth is bounded.
Result<Value> diff_objects(const Value& original, const Value& modified, const Type* type,
                           DiffOptions options) {
  Value patch = Value::object();
  std::set<std::string_view> present;
  for (const Member& m : modified.members()) {
    if (!m.value.is_null()) present.insert(m.name);
    const Value* before = original.find(m.name);
    if (before != nullptr) {
      SKIFF_CHECK(diff_member(m, *before, type, options, patch));
    } else if (options.changes) {
      patch.set(m.name, m.value);
    }
  }
  bool lacks = false;
  for (const Member& m : original.members()) {
    if (modified.has(m.name)) continue;
    lacks = lacks || !m.value.is_null();
    if (options.deletions) patch.set(m.name, Value());
  }
  if (options.retain_keys && !present.empty() && (!patch.empty() || lacks)) {
    Value keys = Value::array();
    for (const std::string_view name : present) keys.push_back(name);
    patch.set(kRetainKeys, std::move(keys));
  }
  return patch;
}

}  // namespace
}  // namespace strategic

Result<Value> create_two_way(const Type& type, const Value& original, const Value& modified) {
  return strategic::diff_objects(original, modified, &type, {});
}

Result<Value> strategic_three_way(const Type& type, const Value& original, const Value& modified,
                                  const Value& current) {
  SKIFF_TRY(Value delta, strategic::diff_objects(current, modified, &type, {.deletions = false}));
  SKIFF_TRY(Value deletions,
            strategic::diff_objects(original, modified, &type, {.changes = false}));
  return strategic::merge_object(std::move(deletions), std::move(delta), &type, false);
}

namespace {

// The merge patch from `original` to `modified`, or only its changes or only its deletions.
Value merge_diff(const Value& original, const Value& modified, bool changes, bool deletions) {
  Value patch = Value::object();
  for (const Member& m : modified.members()) {
    const Value* before = original.find(m.name);
    if (before != nullptr && before->is_object() && m.value.is_object()) {
      Value nested = merge_diff(*before, m.value, changes, deletions);
      if (!nested.empty()) patch.set(m.name, std::move(nested));
    } else if (changes && (before == nullptr || *before != m.value)) {
      patch.set(m.name, m.value);
    }
  }
  if (deletions) {
    for (const Member& m : original.members()) {
      if (!modified.has(m.name)) patch.set(m.name, Value());
    }
  }
  return patch;
}

// Lays one patch over another: unlike applying it, nulls stay.
void overlay(Value& below, const Value& above) {
  for (const Member& m : above.members()) {
    Value& slot = below.member(m.name);
    if (slot.is_object() && m.value.is_object()) {
      overlay(slot, m.value);
    } else {
      slot = m.value;
    }
  }
}

}  // namespace

Value create_merge_patch(const Value& original, const Value& modified) {
  return merge_diff(original, modified, true, true);
}

Value merge_three_way(const Value& original, const Value& modified, const Value& current) {
  Value patch = merge_diff(original, modified, false, true);
  overlay(patch, merge_diff(current, modified, true, false));
  return patch;
}

}  // namespace skiff::api
