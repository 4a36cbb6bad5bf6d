// What applying and computing strategic merge patches share.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "skiff/api/patch.hpp"

namespace skiff::api::strategic {

inline constexpr std::string_view kPatch = "$patch";
inline constexpr std::string_view kRetainKeys = "$retainKeys";
inline constexpr std::string_view kSetOrder = "$setElementOrder";
inline constexpr std::string_view kDeleteFrom = "$deleteFromPrimitiveList";

// How the member of an object is patched. `type` is that of the member's objects (itself, its
// elements), null where there is no schema: then objects merge and lists are replaced.
struct Strategy {
  const Type* type = nullptr;
  bool merge = false;    // a list: by merge_key, or as a set of scalars
  bool replace = false;  // an object: whole
  bool retain_keys = false;
  std::string_view merge_key;
};

// A field of `type` (null: of a map, or of something without schema). Unknown fields are an error.
Result<Strategy> strategy_of(const Type* type, std::string_view member);

// What the elements of lists are; a mix, and lists of lists, are errors.
enum class Elements : std::uint8_t { none, maps, scalars };
Result<Elements> elements_of(std::span<const Value> a, std::span<const Value> b);

// The text that identifies an element: its merge key's value, or itself when `merge_key` is empty.
// Values of different types never have the same text.
std::string identity(const Value& element, std::string_view merge_key);

Error missing_merge_key(const Value& element, std::string_view merge_key);

// Where each identity first stands in a list.
class Order {
 public:
  Order(std::span<const Value> list, std::string_view merge_key);
  // Of identities, for elements that were merged under `merge_key`.
  Order(std::vector<std::string> identities, std::string_view merge_key);
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);
  std::size_t index(const Value& element) const;
  bool contains(const Value& element) const { return index(element) != npos; }

 private:
  std::string_view merge_key_;
  std::unordered_map<std::string, std::size_t> places_;
};

// Sorts `list` by `order`; elements to be deleted ($patch: delete) go last.
void sort_by(std::vector<Value>& list, const Order& order);

bool is_delete(const Value& element);

// Applies `patch` to `original`. `on_server` false merges two patches into one: directives and
// unmatched nulls are kept.
Result<Value> merge_object(Value original, Value patch, const Type* type, bool on_server);

}  // namespace skiff::api::strategic
