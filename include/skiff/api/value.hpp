// Documents: a JSON value that is easy to read and to build. Object members keep their order;
// lookups in small objects are linear, which beats hashing at the sizes the API has.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "skiff/base/result.hpp"

namespace skiff::api {

struct Member;

// A mutable document. Copying copies deeply. Not thread-safe; a const Value may be read by many.
class Value {
 public:
  enum class Type : std::uint8_t { null, boolean, integer, number, string, array, object };

  Value() noexcept = default;
  Value(std::nullptr_t) noexcept {}                                    // NOLINT
  Value(bool b) noexcept : data_(b) {}                                 // NOLINT
  Value(int v) noexcept : data_(static_cast<std::int64_t>(v)) {}       // NOLINT
  Value(unsigned v) noexcept : data_(static_cast<std::int64_t>(v)) {}  // NOLINT
  Value(std::int64_t v) noexcept : data_(v) {}                         // NOLINT
  Value(double v) noexcept : data_(v) {}                               // NOLINT
  Value(const char* s) : data_(std::string(s)) {}                      // NOLINT
  Value(std::string_view s) : data_(std::string(s)) {}                 // NOLINT
  Value(std::string s) noexcept : data_(std::move(s)) {}               // NOLINT
  Value(const Value& other);
  Value(Value&&) noexcept = default;
  Value& operator=(const Value& other);
  Value& operator=(Value&&) noexcept = default;
  ~Value() = default;

  static Value array(std::initializer_list<Value> items = {});
  static Value object(std::initializer_list<std::pair<std::string_view, Value>> members = {});

  Type type() const noexcept { return static_cast<Type>(data_.index()); }
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

  // Deep equality; objects regardless of member order, 1 equals 1.0.
  bool operator==(const Value& other) const noexcept;

 private:
  using Array = std::unique_ptr<std::vector<Value>>;
  using Object = std::unique_ptr<std::vector<Member>>;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> data_;
};

struct Member {
  std::string name;
  Value value;
};

struct ParseLimits {
  std::size_t max_bytes = 3U << 20U;  // upstream's request limit
  std::size_t max_depth = 1000;       // deeper documents are refused, never recursed into
};

// JSON (RFC 8259; UTF-8 checked; duplicate keys are reported through `duplicates` when given, last
// wins) and YAML 1.2 core schema as sigs.k8s.io/yaml reads it. Errors are bad_request with line and
// column or offset.
Result<Value> parse_json(std::string_view text, ParseLimits limits = {},
                         std::vector<std::string>* duplicate_fields = nullptr);
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
