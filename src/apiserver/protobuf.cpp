#include "protobuf.hpp"

#include <cmath>

#include "skiff/api/object.hpp"
#include "skiff/base/clock.hpp"
#include "skiff/pki/keys.hpp"

namespace skiff::apiserver::protobuf {
namespace {

using api::Field;
using api::Kind;
using api::Type;
using api::Value;

constexpr std::string_view kMagic("k8s\0", 4);
constexpr int kMaxDepth = 100;

Error malformed(std::string_view what) {
  return {Code::bad_request, "the body is not valid protobuf: " + std::string(what)};
}

enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

// One field as it stands on the wire.
struct Token {
  std::uint32_t number = 0;
  Wire wire = Wire::varint;
  std::uint64_t integer = 0;
  std::string_view bytes;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const noexcept { return rest_.empty(); }

  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return malformed("it ends inside a number");
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    return malformed("a number is too long");
  }

  Result<Token> next() {
    SKIFF_TRY(const std::uint64_t tag, varint());
    Token t;
    t.number = static_cast<std::uint32_t>(tag >> 3U);
    if (t.number == 0 || tag >> 32U != 0) return malformed("a field has no number");
    const auto wire = static_cast<std::uint8_t>(tag & 7U);
    t.wire = static_cast<Wire>(wire);
    if (wire == 0) {
      SKIFF_TRY(t.integer, varint());
    } else if (wire == 1 || wire == 5) {
      SKIFF_TRY(t.integer, fixed(wire == 1 ? 8 : 4));
    } else if (wire == 2) {
      SKIFF_TRY(const std::uint64_t size, varint());
      if (size > rest_.size()) return malformed("a field is longer than the body");
      t.bytes = rest_.substr(0, size);
      rest_.remove_prefix(size);
    } else {
      return malformed("a field has an unknown wire type");
    }
    return t;
  }

 private:
  Result<std::uint64_t> fixed(std::size_t size) {
    if (rest_.size() < size) return malformed("it ends inside a number");
    std::uint64_t value = 0;
    for (std::size_t i = size; i-- > 0;) {
      value = value << 8U | static_cast<std::uint8_t>(rest_[i]);
    }
    rest_.remove_prefix(size);
    return value;
  }
  std::string_view rest_;
};

// The first field `number` of a small message; an absent one reads as zero.
Result<Token> member(std::string_view message, std::uint32_t number) {
  Reader reader(message);
  Token found;
  while (!reader.done()) {
    SKIFF_TRY(const Token t, reader.next());
    if (t.number == number) found = t;
  }
  return found;
}

Result<Value> timestamp(std::string_view message, bool micro) {
  if (message.empty()) return Value();
  SKIFF_TRY(const Token seconds, member(message, 1));
  SKIFF_TRY(const Token nanos, member(message, 2));
  const auto whole = static_cast<std::int64_t>(seconds.integer);
  constexpr std::int64_t kYear10000 = 253'402'300'800;
  if (whole < -62'135'596'800 || whole >= kYear10000) return malformed("a time is out of range");
  const WallTime at{std::chrono::seconds(whole) +
                    std::chrono::microseconds(static_cast<std::int64_t>(nanos.integer) / 1000)};
  return Value(micro ? format_micro_time(at) : format_time(at));
}

// What a JSON document could not hold must not get into one by another road.
Result<Value> text_value(std::string_view text) {
  if (!api::is_utf8(text)) return malformed("a string is not UTF-8");
  return Value(text);
}

// Go's syntax for durations knows nanoseconds, and nothing smaller is sent.
Result<Value> duration(std::string_view message) {
  SKIFF_TRY(const Token t, member(message, 1));
  const auto nanos = static_cast<std::int64_t>(t.integer);
  return Value(std::to_string(nanos) + "ns");
}

Result<Value> int_or_string(std::string_view message) {
  SKIFF_TRY(const Token type, member(message, 1));
  if (type.integer == 0) {
    SKIFF_TRY(const Token number, member(message, 2));
    return Value(static_cast<std::int64_t>(static_cast<std::int32_t>(number.integer)));
  }
  SKIFF_TRY(const Token text, member(message, 3));
  return text_value(text.bytes);
}

Result<Value> list_in_message(std::string_view message) {
  Value out = Value::array();
  Reader reader(message);
  while (!reader.done()) {
    SKIFF_TRY(const Token t, reader.next());
    if (t.number != 1) continue;
    SKIFF_TRY(Value text, text_value(t.bytes));
    out.push_back(std::move(text));
  }
  return out;
}

Wire wire_of(Kind kind) {
  switch (kind) {
    case Kind::boolean:
    case Kind::int32:
    case Kind::int64:
      return Wire::varint;
    case Kind::number:
      return Wire::fixed64;
    default:
      return Wire::bytes;
  }
}

// Which messages of an embedding struct one is in, outermost first.
using Path = std::array<std::uint8_t, 2>;

Result<void> read_fields(const Type& type, std::string_view bytes, Path path, int level,
                         Value& into);

Result<Value> read_value(const Field& f, Kind kind, const Token& t, int level) {
  if (t.wire != wire_of(kind))
    return malformed("field " + std::string(f.name) + " has a wrong type");
  switch (kind) {
    case Kind::boolean:
      return Value(t.integer != 0);
    case Kind::int32:
      return Value(static_cast<std::int64_t>(static_cast<std::int32_t>(t.integer)));
    case Kind::int64:
      return Value(static_cast<std::int64_t>(t.integer));
    case Kind::number: {
      double d = 0;
      std::memcpy(&d, &t.integer, sizeof d);
      if (!std::isfinite(d)) return malformed("a number is not finite");
      return Value(d);
    }
    case Kind::string:
      return text_value(t.bytes);
    case Kind::bytes:
      return Value(pki::base64_encode(t.bytes));
    case Kind::quantity: {
      SKIFF_TRY(const Token text, member(t.bytes, 1));
      return text_value(text.bytes.empty() ? std::string_view("0") : text.bytes);
    }
    case Kind::int_or_string:
      return int_or_string(t.bytes);
    case Kind::time:
      return timestamp(t.bytes, false);
    case Kind::micro_time:
      return timestamp(t.bytes, true);
    case Kind::duration:
      return duration(t.bytes);
    case Kind::any: {
      SKIFF_TRY(const Token raw, member(t.bytes, 1));
      if (raw.bytes.empty()) return Value();
      return api::parse_json(raw.bytes);
    }
    case Kind::list:
      return list_in_message(t.bytes);
    case Kind::object: {
      Value out = Value::object();
      if (level >= kMaxDepth) return malformed("it is nested too deeply");
      if (f.type) SKIFF_CHECK(read_fields(*f.type, t.bytes, {0, 0}, level + 1, out));
      return out;
    }
    case Kind::map:
      return malformed("a map stands where none can");
  }
  return Value();
}

Result<void> read_entry(const Field& f, const Token& t, int level, Value& map) {
  if (t.wire != Wire::bytes) return malformed("field " + std::string(f.name) + " has a wrong type");
  std::string_view key;
  Value value = f.element_kind == Kind::object ? Value::object() : Value("");
  Reader reader(t.bytes);
  while (!reader.done()) {
    SKIFF_TRY(const Token part, reader.next());
    if (part.number == 1) key = part.bytes;
    if (part.number == 2) {
      SKIFF_TRY(value, read_value(f, f.element_kind, part, level));
    }
  }
  if (!api::is_utf8(key)) return malformed("a key is not UTF-8");
  map.set(key, std::move(value));
  return {};
}

// Numbers may come packed into one field.
Result<void> read_element(const Field& f, const Token& t, int level, Value& list) {
  const Wire wire = wire_of(f.element_kind);
  if (t.wire == Wire::bytes && wire == Wire::varint) {
    Reader reader(t.bytes);
    while (!reader.done()) {
      Token one;
      SKIFF_TRY(one.integer, reader.varint());
      SKIFF_TRY(Value v, read_value(f, f.element_kind, one, level));
      list.push_back(std::move(v));
    }
    return {};
  }
  SKIFF_TRY(Value v, read_value(f, f.element_kind, t, level));
  list.push_back(std::move(v));
  return {};
}

// Go writes plain fields even when they are zero; its JSON form leaves them out.
bool is_zero(const Value& v) {
  if (v.is_null()) return true;
  if (v.is_bool()) return !v.as_bool();
  if (v.is_number()) return v.as_double() == 0;
  if (v.is_string()) return v.as_string().empty();
  return v.empty();
}

Result<void> read_field(const Field& f, const Token& t, int level, Value& into) {
  if (f.kind == Kind::list) {
    Value& list = into.member(f.name);
    if (list.is_null()) list = Value::array();
    return read_element(f, t, level, list);
  }
  if (f.kind == Kind::map) {
    Value& map = into.member(f.name);
    if (map.is_null()) map = Value::object();
    return read_entry(f, t, level, map);
  }
  SKIFF_TRY(Value v, read_value(f, f.kind, t, level));
  if (f.has_pointer || f.always || !is_zero(v)) {
    if (!v.is_null()) into.set(f.name, std::move(v));
  }
  return {};
}

Result<void> read_fields(const Type& type, std::string_view bytes, Path path, int level,
                         Value& into) {
  const unsigned depth = path[0] == 0 ? 0 : path[1] == 0 ? 1 : 2;
  Reader reader(bytes);
  while (!reader.done()) {
    SKIFF_TRY(const Token t, reader.next());
    const Field* field = nullptr;
    bool embeds = false;
    for (const Field& f : type.fields) {
      const bool below = std::equal(path.begin(), path.begin() + depth, f.embedded_in);
      if (!below) continue;
      const bool here = depth == 2 || f.embedded_in[depth] == 0;
      if (here && f.number == t.number) field = &f;
      if (!here && f.embedded_in[depth] == t.number) embeds = true;
    }
    if (field) {
      SKIFF_CHECK(read_field(*field, t, level, into));
    } else if (embeds && t.wire == Wire::bytes) {
      Path inner = path;
      inner[depth] = static_cast<std::uint8_t>(t.number);
      SKIFF_CHECK(read_fields(type, t.bytes, inner, level, into));
    }  // else: a field of a newer version, passed over
  }
  return {};
}

const Type* type_of(const api::GroupVersion& gv, std::string_view kind) {
  if (kind == "DeleteOptions") {
    return api::find_type("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
  }
  if (const api::Resource* r = api::find_kind(gv.group, gv.version, kind)) return r->type;
  for (const api::Resource& r : api::resources()) {
    for (const api::Subresource& s : r.subresources) {
      if (s.kind == kind && s.group == gv.group && s.version == gv.version && s.type) return s.type;
    }
  }
  return nullptr;
}

}  // namespace

Result<Value> parse_message(const Type& type, std::string_view bytes) {
  Value out = Value::object();
  SKIFF_CHECK(read_fields(type, bytes, {0, 0}, 0, out));
  return out;
}

Result<Value> parse_body(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) return malformed("it does not begin with the magic number");
  const std::string_view envelope = bytes.substr(kMagic.size());
  SKIFF_TRY(const Token meta, member(envelope, 1));
  SKIFF_TRY(const Token raw, member(envelope, 2));
  SKIFF_TRY(const Token version, member(meta.bytes, 1));
  SKIFF_TRY(const Token kind, member(meta.bytes, 2));
  SKIFF_TRY(const api::GroupVersion gv, api::GroupVersion::parse(version.bytes));
  const Type* type = type_of(gv, kind.bytes);
  if (!type) {
    return Error{Code::bad_request, "no kind \"" + std::string(kind.bytes) +
                                        "\" is registered for version \"" +
                                        std::string(version.bytes) + "\""};
  }
  SKIFF_TRY(Value doc, parse_message(*type, raw.bytes));
  doc.set("kind", kind.bytes);
  doc.set("apiVersion", version.bytes);
  return doc;
}

}  // namespace skiff::apiserver::protobuf
