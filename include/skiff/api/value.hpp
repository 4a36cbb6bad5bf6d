// Documents: a JSON value that is easy to read and to build. Object members keep their order;
// lookups in small objects are linear, which beats hashing at the sizes the API has.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "skiff/base/result.hpp"

namespace skiff::api {

struct Member;

// A member's name. Reads like the std::string_view it is and owns its characters, except that the
// names Kubernetes documents are full of ("metadata", "name", ...) are interned: they cost no
// allocation and live for the whole program.
class Name : public std::string_view {
 public:
  Name() noexcept = default;
  Name(std::string_view text);                                     // NOLINT
  Name(const char* text) : Name(std::string_view(text)) {}         // NOLINT
  Name(const std::string& text) : Name(std::string_view(text)) {}  // NOLINT
  Name(const Name& other) : Name(static_cast<std::string_view>(other)) {}
  Name(Name&& other) noexcept : std::string_view(other) { other.forget(); }
  Name& operator=(Name other) noexcept {
    swap(other);
    return *this;
  }
  ~Name() {
    if (data() != nullptr && !interned()) delete[] data();
  }
  operator std::string() const { return std::string(data(), size()); }  // NOLINT
  void swap(Name& other) noexcept { std::string_view::swap(other); }
  // Interned names hold no character that JSON escapes.
  bool interned() const noexcept {
    return std::less_equal<>()(pool_begin_, data()) && std::less<>()(data(), pool_end_);
  }

 private:
  void forget() noexcept { static_cast<std::string_view&>(*this) = std::string_view(); }
  static const char* const pool_begin_;
  static const char* const pool_end_;
};

// A mutable document, 16 bytes. Copying copies deeply. Not thread-safe; a const Value may be read
// by many. Destruction and comparison of documents of any depth are safe.
class Value {
 public:
  enum class Type : std::uint8_t { null, boolean, integer, number, string, array, object };
  struct Element;  // of the lists that array() and object() take; moved from, not copied
  struct Entry;

  Value() noexcept : type_(Type::null), data_{.integer = 0} {}
  Value(std::nullptr_t) noexcept : Value() {}  // NOLINT
  template <std::same_as<bool> T>
  Value(T b) noexcept : type_(Type::boolean), data_{.boolean = b} {}  // NOLINT
  template <std::integral T>
  requires(!std::same_as<T, bool>) Value(T v)
  noexcept;  // NOLINT: beyond int64 becomes a number
  Value(double v) noexcept : type_(Type::number), data_{.number = v} {}  // NOLINT
  Value(const char* s) : Value(std::string_view(s)) {}                   // NOLINT
  Value(std::string_view s);                                             // NOLINT
  Value(std::string s);                                                  // NOLINT
  Value(const Name& s) : Value(static_cast<std::string_view>(s)) {}      // NOLINT
  Value(const Value& other);
  Value(Value&& other) noexcept : type_(other.type_), data_(other.data_) {
    other.type_ = Type::null;
  }
  Value& operator=(const Value& other) {
    Value copy(other);
    swap(copy);
    return *this;
  }
  Value& operator=(Value&& other) noexcept {  // `other` may be a part of *this
    Value taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Value() {
    if (type_ >= Type::string) release();
  }
  void swap(Value& other) noexcept {
    std::swap(type_, other.type_);
    std::swap(data_, other.data_);
  }

  static Value array(std::initializer_list<Element> items = {});
  static Value object(std::initializer_list<Entry> members = {});
  static Value array(std::vector<Value> items);
  static Value object(std::vector<Member> members);  // names must differ

  Type type() const noexcept { return type_; }
  bool is_null() const noexcept { return type() == Type::null; }
  bool is_bool() const noexcept { return type() == Type::boolean; }
  bool is_int() const noexcept { return type() == Type::integer; }
  bool is_number() const noexcept { return is_int() || type() == Type::number; }
  bool is_string() const noexcept { return type() == Type::string; }
  bool is_array() const noexcept { return type() == Type::array; }
  bool is_object() const noexcept { return type() == Type::object; }

  // Reading: the fallback is returned for a value of another type. as_double() also converts
  // integers.
  bool as_bool(bool fallback = false) const noexcept;
  std::int64_t as_int(std::int64_t fallback = 0) const noexcept;
  double as_double(double fallback = 0) const noexcept;
  const std::string& as_string() const noexcept;  // "" for another type
  std::string_view as_string_or(std::string_view fallback) const noexcept;

  // Arrays. items() is empty for another type. mutable_items() turns null into an array.
  std::span<const Value> items() const noexcept;
  std::vector<Value>& mutable_items();
  Value& push_back(Value v);  // turns null into an array; returns the new element

  // Objects. members() is empty for another type.
  std::span<const Member> members() const noexcept;
  std::vector<Member>& mutable_members();                  // turns null into an object
  const Value* find(std::string_view key) const noexcept;  // null when absent or not an object
  Value* find(std::string_view key) noexcept;
  bool has(std::string_view key) const noexcept { return find(key) != nullptr; }
  // The member, or a shared null: so chains like v["spec"]["replicas"].as_int() are always safe.
  const Value& operator[](std::string_view key) const noexcept;
  const Value& operator[](const char* key) const noexcept { return (*this)[std::string_view(key)]; }
  const Value& operator[](std::size_t index) const noexcept;  // array element or null
  // Inserts or replaces; turns null into an object. Returns the member.
  Value& set(std::string_view key, Value v);
  // The member, inserted as null when absent: v.member("metadata").member("labels").set("a", "b").
  Value& member(std::string_view key);
  bool erase(std::string_view key);
  std::size_t size() const noexcept;  // elements or members; 0 otherwise
  bool empty() const noexcept { return size() == 0; }

  // Levels of arrays and objects: 0 for a scalar.
  std::size_t depth() const noexcept;

  // Deep equality; objects regardless of member order, 1 equals 1.0.
  bool operator==(const Value& other) const noexcept;

 private:
  union Data {
    bool boolean;
    std::int64_t integer;
    double number;
    std::string* string;
    std::vector<Value>* array;
    std::vector<Member>* object;
  };
  void release(unsigned level = 0) noexcept;
  void release_deep() noexcept;

  Type type_;
  Data data_;
};

struct Member {
  Name name;
  Value value;
};

struct Value::Element {
  template <class T>
  requires std::constructible_from<Value, T&&> &&
      (!std::same_as<std::remove_cvref_t<T>, Element>)Element(T&& v)  // NOLINT
      : value(std::forward<T>(v)) {}
  mutable Value value;
};

struct Value::Entry {
  Entry(std::string_view n, Value v) : name(n), value(std::move(v)) {}
  std::string_view name;
  mutable Value value;
};

template <std::integral T>
requires(!std::same_as<T, bool>) Value::Value(T v)
noexcept : Value() {
  if (std::in_range<std::int64_t>(v)) {
    type_ = Type::integer;
    data_.integer = static_cast<std::int64_t>(v);
  } else {
    type_ = Type::number;
    data_.number = static_cast<double>(v);
  }
}

struct ParseLimits {
  std::size_t max_bytes = 3U << 20U;  // upstream's request limit
  std::size_t max_depth = 1000;       // deeper documents are refused, never recursed into
};

// JSON (RFC 8259; UTF-8 is checked; integers beyond int64 become numbers; of duplicate names the
// last wins). Errors are worded as Go's encoding/json words them, with the offset: bad_request, or
// too_large beyond max_bytes. `duplicate_fields` receives the paths of the first 100 duplicates:
// `spec.template.spec.containers[0].image`.
Result<Value> parse_json(std::string_view text, ParseLimits limits = {},
                         std::vector<std::string>* duplicate_fields = nullptr);
// Whether `text` is well-formed UTF-8 (RFC 3629), as every string of a document must be.
bool is_utf8(std::string_view text) noexcept;
// YAML as sigs.k8s.io/yaml reads it (YAML 1.1 scalars, anchors, aliases and merge keys; aliases may
// not blow a document up). Only the first document of a stream. Errors: `yaml: line 3: ...`.
// `duplicate_fields` receives lines such as `line 3: key "paused" already set in map`.
Result<Value> parse_yaml(std::string_view text, ParseLimits limits = {},
                         std::vector<std::string>* duplicate_fields = nullptr);
// Every document of a stream (`---`), empty ones skipped.
Result<std::vector<Value>> parse_yaml_stream(std::string_view text, ParseLimits limits = {});

// Compact JSON; appends. HTML characters are not escaped. indent > 0 pretty-prints.
void append_json(std::string& out, const Value& v);
std::string to_json(const Value& v, int indent = 0);
// YAML as kubectl prints it: members sorted, two spaces.
std::string to_yaml(const Value& v);

}  // namespace skiff::api
