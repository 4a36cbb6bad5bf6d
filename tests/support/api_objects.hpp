// Objects of every kind made from the schema and a stream of bytes, mostly well formed, for fuzzing
// and for the test that replays it from seeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "skiff/api/codec.hpp"

namespace skiff::api::test {

// Bytes to decide by; zeros once they have run out.
class Choices {
 public:
  explicit Choices(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  std::uint8_t byte() { return at_ < bytes_.size() ? bytes_[at_++] : std::uint8_t{0}; }
  std::size_t below(std::size_t n) {
    std::size_t v = (static_cast<std::size_t>(byte()) << 8U) | byte();
    return n == 0 ? 0 : v % n;
  }
  bool one_in(std::size_t n) { return below(n) == 0; }
  bool done() const { return at_ >= bytes_.size(); }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

class ObjectMaker {
 public:
  explicit ObjectMaker(Choices& choices) : choices_(choices), wild_(choices.one_in(2)) {}

  Value object(const Type& type, int depth) {
    Value out = Value::object();
    for (const Field& f : type.fields) {
      bool wanted = f.required || f.always || choices_.one_in(depth > 3 ? 6 : 2);
      if (!wanted || depth > 9 || choices_.done()) continue;
      out.set(f.name, field(f, depth));
    }
    if (choices_.one_in(40)) out.set("surprise", anything());
    return out;
  }

 private:
  Value field(const Field& f, int depth) {
    if (wild_ && choices_.one_in(60)) return anything();
    if (!f.enums.empty() && f.kind == Kind::string)
      return Value(f.enums[choices_.below(f.enums.size())]);
    if (f.kind == Kind::list) {
      Value list = Value::array();
      for (std::size_t n = choices_.below(3); n > 0; --n)
        list.push_back(scalar_or_object(f.element_kind, f.type, depth + 1));
      return list;
    }
    if (f.kind == Kind::map) {
      Value map = Value::object();
      for (std::size_t n = choices_.below(3); n > 0; --n)
        map.set(text(), scalar_or_object(f.element_kind, f.type, depth + 1));
      return map;
    }
    return scalar_or_object(f.kind, f.type, depth + 1);
  }

  Value scalar_or_object(Kind kind, const Type* type, int depth) {
    switch (kind) {
      case Kind::object:
        return object(*type, depth);
      case Kind::boolean:
        return choices_.one_in(2);
      case Kind::int32:
      case Kind::int64:
        return number();
      case Kind::number:
        return 0.5;
      case Kind::bytes:
        return wild_ && choices_.one_in(8) ? "!" : "YWJj";
      case Kind::quantity:
        return quantity();
      case Kind::int_or_string:
        return choices_.one_in(2) ? Value(number()) : Value(choices_.one_in(2) ? "25%" : "http");
      case Kind::time:
      case Kind::micro_time:
        return wild_ && choices_.one_in(8) ? "soon" : "2026-01-02T03:04:05Z";
      case Kind::list:
        return Value::array({text()});
      case Kind::any:
        return anything();
      default:
        return text();
    }
  }

  std::int64_t number() {
    static constexpr std::int64_t kNumbers[] = {0, 1, 2, 80, -1, 65536, 2147483647, 1LL << 40U};
    return kNumbers[choices_.below(std::size(kNumbers) - (wild_ ? 0 : 1))];
  }
  const char* quantity() {
    static constexpr const char* kQuantities[] = {"1",   "500m", "1Gi", "0.1", "-1",
                                                  "10u", "1e3",  "x",   ""};
    return kQuantities[choices_.below(std::size(kQuantities) - (wild_ ? 0 : 2))];
  }
  const char* text() {
    static constexpr const char* kTexts[] = {
        "",      "a",     "app",      "example.com/x", "Upper",
        "a b",   "/path", "../up",    "10.0.0.1",      "10.0.0.0/8",
        "*",     "v1",    "Node",     "metadata.name", "limits.cpu",
        "a/b/c", "x.y.z", "0 3 * * *"};
    return kTexts[choices_.below(std::size(kTexts))];
  }
  Value anything() {
    switch (choices_.below(7)) {
      case 0:
        return nullptr;
      case 1:
        return choices_.one_in(2);
      case 2:
        return number();
      case 3:
        return text();
      case 4:
        return Value::array({1, nullptr, "a"});
      case 5:
        return Value::object({{"a", nullptr}, {"b", Value::array({})}});
      default:
        return 1.5;
    }
  }

  Choices& choices_;
  bool wild_;  // also makes what does not decode
};

// Where two texts begin to differ.
inline std::string difference(const std::string& a, const std::string& b) {
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  std::size_t from = i < 80 ? 0 : i - 80;
  return "..." + a.substr(from, 160) + "... | ..." + b.substr(from, 160) + "...";
}

// What holds for any input: nothing crashes; what decodes encodes to the same again; defaulting
// twice changes nothing more; every cause names a field. Returns "" or what does not hold.
inline std::string check_one(std::span<const std::uint8_t> bytes) {
  Choices choices(bytes);
  const Resource& r = resources()[choices.below(resources().size())];
  ObjectMaker maker(choices);
  Value doc = maker.object(*r.type, 0);
  Value old = maker.object(*r.type, 0);
  std::vector<std::string> unknown;
  if (!decode(*r.type, doc, &unknown)) return "";
  bool has_old = decode(*r.type, old, nullptr).has_value();
  std::string json = to_json(doc);
  Value again = parse_json(json).value();
  if (!decode(*r.type, again, &unknown) || to_json(again) != json)
    return "decoding changes what it has decoded: " + difference(json, to_json(again));
  apply_defaults(r, doc);
  json = to_json(doc);
  Value twice = doc;
  apply_defaults(r, twice);
  if (to_json(twice) != json)
    return "defaults are not idempotent: " + difference(json, to_json(twice));
  if (!decode(*r.type, twice, &unknown) || to_json(twice) != json)
    return "defaults are not in canonical form: " + difference(json, to_json(twice));
  if (has_old) apply_defaults(r, old);
  for (const char* subresource : {"", "status", "resize", "ephemeralcontainers"}) {
    FieldErrors errors;
    validate(r, doc, nullptr, subresource, errors);
    if (has_old) validate(r, doc, &old, subresource, errors);
    for (const auto& cause : errors.causes())
      if (cause.field.empty() || cause.message.empty()) return "a cause without a field: " + json;
  }
  return "";
}

}  // namespace skiff::api::test
