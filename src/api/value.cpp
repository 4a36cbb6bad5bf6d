#include "skiff/api/value.hpp"

#include <algorithm>
#include <cmath>

namespace skiff::api {
namespace {

// Below this many levels documents are released by plain recursion.
constexpr unsigned kReleaseDepth = 200;

const Value& shared_null() noexcept {
  static const Value null;
  return null;
}

}  // namespace

Value::Value(std::string_view s) : Value() {
  data_.string = new std::string(s);
  type_ = Type::string;
}

Value::Value(std::string s) : Value() {
  data_.string = new std::string(std::move(s));
  type_ = Type::string;
}

Value::Value(const Value& other) : Value() {
  switch (other.type_) {
    case Type::string:
      data_.string = new std::string(*other.data_.string);
      break;
    case Type::array:
      data_.array = new std::vector<Value>(*other.data_.array);
      break;
    case Type::object:
      data_.object = new std::vector<Member>(*other.data_.object);
      break;
    default:
      data_ = other.data_;
  }
  type_ = other.type_;
}

Value Value::array(std::vector<Value> items) {
  Value v;
  v.data_.array = new std::vector<Value>(std::move(items));
  v.type_ = Type::array;
  return v;
}

Value Value::object(std::vector<Member> members) {
  Value v;
  v.data_.object = new std::vector<Member>(std::move(members));
  v.type_ = Type::object;
  return v;
}

Value Value::array(std::initializer_list<Element> items) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (const Element& item : items) out.push_back(std::move(item.value));
  return array(std::move(out));
}

Value Value::object(std::initializer_list<Entry> members) {
  std::vector<Member> out;
  out.reserve(members.size());
  for (const Entry& m : members) out.push_back({Name(m.name), std::move(m.value)});
  return object(std::move(out));
}

// Containers are released level by level here rather than by the destructors of the vectors, so
// that depth is known and a hostile document cannot overflow the stack.
void Value::release(unsigned level) noexcept {
  const Type type = std::exchange(type_, Type::null);
  if (type == Type::string) {
    delete data_.string;
  } else if (type == Type::array || type == Type::object) {
    if (level == kReleaseDepth) {
      type_ = type;
      release_deep();
      return;
    }
    if (type == Type::array) {
      for (Value& v : *data_.array) {
        if (v.type_ >= Type::string) v.release(level + 1);
      }
      delete data_.array;
    } else {
      for (Member& m : *data_.object) {
        if (m.value.type_ >= Type::string) m.value.release(level + 1);
      }
      delete data_.object;
    }
  }
}

void Value::release_deep() noexcept {
  std::vector<Value> pending;
  pending.push_back(std::move(*this));
  while (!pending.empty()) {
    Value v = std::move(pending.back());
    pending.pop_back();
    if (v.type_ == Type::array) {
      for (Value& child : *v.data_.array) {
        if (child.type_ > Type::string) pending.push_back(std::move(child));
      }
    } else if (v.type_ == Type::object) {
      for (Member& m : *v.data_.object) {
        if (m.value.type_ > Type::string) pending.push_back(std::move(m.value));
      }
    }
  }
}

bool Value::as_bool(bool fallback) const noexcept { return is_bool() ? data_.boolean : fallback; }

std::int64_t Value::as_int(std::int64_t fallback) const noexcept {
  return is_int() ? data_.integer : fallback;
}

double Value::as_double(double fallback) const noexcept {
  if (type_ == Type::number) return data_.number;
  return is_int() ? static_cast<double>(data_.integer) : fallback;
}

const std::string& Value::as_string() const noexcept {
  static const std::string empty;
  return is_string() ? *data_.string : empty;
}

std::string_view Value::as_string_or(std::string_view fallback) const noexcept {
  return is_string() ? std::string_view(*data_.string) : fallback;
}

std::span<const Value> Value::items() const noexcept {
  if (!is_array()) return {};
  return *data_.array;
}

std::vector<Value>& Value::mutable_items() {
  if (is_null()) *this = array();
  SKIFF_ASSERT(is_array(), "items of a value that is not an array");
  return *data_.array;
}

Value& Value::push_back(Value v) { return mutable_items().emplace_back(std::move(v)); }

std::span<const Member> Value::members() const noexcept {
  if (!is_object()) return {};
  return *data_.object;
}

std::vector<Member>& Value::mutable_members() {
  if (is_null()) *this = object();
  SKIFF_ASSERT(is_object(), "members of a value that is not an object");
  return *data_.object;
}

const Value* Value::find(std::string_view key) const noexcept {
  if (!is_object()) return nullptr;
  for (const Member& m : *data_.object) {
    if (m.name == key) return &m.value;
  }
  return nullptr;
}

Value* Value::find(std::string_view key) noexcept {
  return const_cast<Value*>(std::as_const(*this).find(key));
}

const Value& Value::operator[](std::string_view key) const noexcept {
  const Value* found = find(key);
  return found != nullptr ? *found : shared_null();
}

const Value& Value::operator[](std::size_t index) const noexcept {
  if (!is_array() || index >= data_.array->size()) return shared_null();
  return (*data_.array)[index];
}

Value& Value::set(std::string_view key, Value v) {
  Value& slot = member(key);
  slot = std::move(v);
  return slot;
}

Value& Value::member(std::string_view key) {
  std::vector<Member>& all = mutable_members();
  if (Value* found = find(key)) return *found;
  return all.emplace_back(Member{Name(key), Value()}).value;
}

bool Value::erase(std::string_view key) {
  if (!is_object()) return false;
  return std::erase_if(*data_.object, [&](const Member& m) { return m.name == key; }) > 0;
}

std::size_t Value::size() const noexcept {
  if (is_array()) return data_.array->size();
  return is_object() ? data_.object->size() : 0;
}

std::size_t Value::depth() const noexcept {
  std::size_t deepest = 0;
  std::vector<std::pair<const Value*, std::size_t>> pending{{this, 0}};
  while (!pending.empty()) {
    const auto [v, above] = pending.back();
    pending.pop_back();
    if (v->type_ <= Type::string) continue;
    deepest = std::max(deepest, above + 1);
    for (const Value& child : v->items()) {
      if (child.type_ > Type::string) pending.emplace_back(&child, above + 1);
    }
    for (const Member& m : v->members()) {
      if (m.value.type_ > Type::string) pending.emplace_back(&m.value, above + 1);
    }
  }
  return deepest;
}

namespace {

bool numbers_equal(const Value& a, const Value& b) noexcept {
  if (a.is_int() && b.is_int()) return a.as_int() == b.as_int();
  return a.as_double() == b.as_double();
}

using Pairs = std::vector<std::pair<const Value*, const Value*>>;

// Pairs up the members of two objects of equal size; false when a name has no partner. Members
// usually come in the same order; large objects that do not are sorted.
bool pair_members(std::span<const Member> a, std::span<const Member> b, Pairs& pairs) {
  constexpr std::size_t kLinear = 32;
  std::size_t same = 0;
  while (same < a.size() && a[same].name == b[same].name) {
    pairs.emplace_back(&a[same].value, &b[same].value);
    ++same;
  }
  a = a.subspan(same);
  b = b.subspan(same);
  if (a.size() <= kLinear) {
    for (const Member& m : a) {
      auto other = std::find_if(b.begin(), b.end(), [&](auto& o) { return o.name == m.name; });
      if (other == b.end()) return false;
      pairs.emplace_back(&m.value, &other->value);
    }
    return true;
  }
  auto sorted = [](std::span<const Member> members) {
    std::vector<const Member*> out;
    for (const Member& m : members) out.push_back(&m);
    std::sort(out.begin(), out.end(), [](auto* x, auto* y) { return x->name < y->name; });
    return out;
  };
  const auto sa = sorted(a);
  const auto sb = sorted(b);
  for (std::size_t i = 0; i < sa.size(); ++i) {
    if (sa[i]->name != sb[i]->name) return false;
    pairs.emplace_back(&sa[i]->value, &sb[i]->value);
  }
  return true;
}

bool shallow_equal(const Value& a, const Value& b, Pairs& pairs) {
  if (a.is_number()) return b.is_number() && numbers_equal(a, b);
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Value::Type::boolean:
      return a.as_bool() == b.as_bool();
    case Value::Type::string:
      return a.as_string() == b.as_string();
    case Value::Type::array: {
      if (a.size() != b.size()) return false;
      for (std::size_t i = 0; i < a.size(); ++i) pairs.emplace_back(&a[i], &b[i]);
      return true;
    }
    case Value::Type::object:
      return a.size() == b.size() && pair_members(a.members(), b.members(), pairs);
    default:
      return true;
  }
}

}  // namespace

bool Value::operator==(const Value& other) const noexcept {
  Pairs pairs;
  if (!shallow_equal(*this, other, pairs)) return false;
  while (!pairs.empty()) {
    const auto [a, b] = pairs.back();
    pairs.pop_back();
    if (!shallow_equal(*a, *b, pairs)) return false;
  }
  return true;
}

}  // namespace skiff::api
