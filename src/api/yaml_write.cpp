// Value to YAML as kubectl prints it: libyaml's emitter (which go-yaml v2 is a port of) with
// go-yaml's choice of styles and its order of keys.
#include <yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "skiff/api/value.hpp"
#include "yaml_scalar.hpp"

namespace skiff::api {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<signed char>(c) < 0;
}

std::string_view digits_at(std::string_view s, std::size_t i) noexcept {
  std::size_t end = i;
  while (end < s.size() && is_digit(s[end])) ++end;
  return s.substr(i, end - i);
}

// go-yaml's order of keys: numbers inside them count as numbers ("a2" before "a10"), and letters
// come after everything else.
bool key_less(std::string_view a, std::string_view b) noexcept {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (a[i] == b[i]) continue;
    const bool la = is_letter(a[i]);
    const bool lb = is_letter(b[i]);
    if (la && lb) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[i]);
    if (la || lb) return lb;
    std::string_view na = digits_at(a, i);
    std::string_view nb = digits_at(b, i);
    const std::size_t da = na.size();
    const std::size_t db = nb.size();
    const bool leading_zero = a[i] == '0' || b[i] == '0';
    bool significant = false;  // a digit other than 0 before: zeros count
    if (leading_zero) {
      for (std::size_t j = i; j > 0 && is_digit(a[j - 1]); --j) significant |= a[j - 1] != '0';
    }
    if (!significant) {
      while (!na.empty() && na[0] == '0') na.remove_prefix(1);
      while (!nb.empty() && nb[0] == '0') nb.remove_prefix(1);
    }
    if (na.size() != nb.size()) return na.size() < nb.size();
    if (na != nb) return na < nb;
    if (da != db) return da < db;
    return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[i]);
  }
  return a.size() < b.size();
}

// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: a base 60 number to YAML 1.1 readers.
bool is_base60(std::string_view s) noexcept {
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.remove_prefix(1);
  if (s.empty() || !is_digit(s[0])) return false;
  std::size_t i = 1;
  while (i < s.size() && (is_digit(s[i]) || s[i] == '_')) ++i;
  if (i == s.size() || s[i] != ':') return false;
  while (i < s.size() && s[i] == ':') {
    const std::string_view part = digits_at(s, i + 1);
    if (part.empty() || part.size() > 2 || (part.size() == 2 && part[0] > '5')) return false;
    i += 1 + part.size();
  }
  if (i < s.size() && s[i] == '.') {
    ++i;
    while (i < s.size() && (is_digit(s[i]) || s[i] == '_')) ++i;
  }
  return i == s.size();
}

// Whole numbers as JSON has them, others as Go's %g.
std::string number_text(double v) {
  if (!std::isfinite(v)) return "null";
  const bool whole = v == std::trunc(v) && std::fabs(v) < 1e21;
  return whole ? to_json(Value(v)) : go_float_text(v, false);
}

// NEL, LS and PS: line breaks to YAML 1.1, which only escapes carry through safely.
bool has_wide_break(std::string_view s) noexcept {
  for (const std::string_view wide : {"\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9"}) {
    if (s.find(wide) != std::string_view::npos) return true;
  }
  return false;
}

class Emitter {
 public:
  explicit Emitter(std::string& out) {
    SKIFF_ASSERT(yaml_emitter_initialize(&emitter_) == 1, "no memory for a YAML emitter");
    yaml_emitter_set_output(&emitter_, &Emitter::append, &out);
    yaml_emitter_set_unicode(&emitter_, 1);
  }
  ~Emitter() { yaml_emitter_delete(&emitter_); }
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void document(const Value& v) {
    yaml_event_t e{};
    yaml_stream_start_event_initialize(&e, YAML_UTF8_ENCODING);
    emit(e);
    yaml_document_start_event_initialize(&e, nullptr, nullptr, nullptr, 1);
    emit(e);
    node(v);
    yaml_document_end_event_initialize(&e, 1);
    emit(e);
    emitter_.open_ended = 0;  // no "..." after a block that ends in blank lines, as go-yaml
    yaml_stream_end_event_initialize(&e);
    emit(e);
  }

 private:
  static int append(void* out, unsigned char* bytes, std::size_t n) {
    static_cast<std::string*>(out)->append(reinterpret_cast<const char*>(bytes), n);
    return 1;
  }

  void emit(yaml_event_t& e) {
    SKIFF_ASSERT(yaml_emitter_emit(&emitter_, &e) == 1,
                 emitter_.problem != nullptr ? emitter_.problem : "cannot write YAML");
  }

  void node(const Value& v) {
    switch (v.type()) {
      case Value::Type::null:
        plain("null");
        break;
      case Value::Type::boolean:
      case Value::Type::integer:
        plain(to_json(v));
        break;
      case Value::Type::number:
        plain(number_text(v.as_double()));
        break;
      case Value::Type::string:
        string(v.as_string());
        break;
      case Value::Type::array:
        sequence(v.items());
        break;
      case Value::Type::object:
        mapping(v.members());
        break;
    }
  }

  void sequence(std::span<const Value> items) {
    yaml_event_t e{};
    yaml_sequence_start_event_initialize(&e, nullptr, nullptr, 1, YAML_BLOCK_SEQUENCE_STYLE);
    emit(e);
    for (const Value& item : items) node(item);
    yaml_sequence_end_event_initialize(&e);
    emit(e);
  }

  void mapping(std::span<const Member> members) {
    std::vector<const Member*> sorted;
    for (const Member& m : members) sorted.push_back(&m);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Member* a, const Member* b) { return key_less(a->name, b->name); });
    yaml_event_t e{};
    yaml_mapping_start_event_initialize(&e, nullptr, nullptr, 1, YAML_BLOCK_MAPPING_STYLE);
    emit(e);
    for (const Member* m : sorted) {
      string(m->name);
      node(m->value);
    }
    yaml_mapping_end_event_initialize(&e);
    emit(e);
  }

  void string(std::string_view s) {
    const YamlTag tag = resolve_yaml(s).tag;
    const bool plain = tag == YamlTag::string && !is_base60(s);
    const bool lines = s.find('\n') != std::string_view::npos;
    scalar(s, has_wide_break(s) ? YAML_DOUBLE_QUOTED_SCALAR_STYLE
              : lines           ? YAML_LITERAL_SCALAR_STYLE
              : plain           ? YAML_PLAIN_SCALAR_STYLE
                                : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
  }

  void plain(std::string_view s) { scalar(s, YAML_PLAIN_SCALAR_STYLE); }

  void scalar(std::string_view s, yaml_scalar_style_t style) {
    if (s.data() == nullptr) s = "";
    yaml_event_t e{};
    const int ok = yaml_scalar_event_initialize(&e, nullptr, nullptr,
                                                reinterpret_cast<const unsigned char*>(s.data()),
                                                static_cast<int>(s.size()), 1, 1, style);
    SKIFF_ASSERT(ok == 1, "a document holds text that is not UTF-8");
    emit(e);
  }

  yaml_emitter_t emitter_{};
};

}  // namespace

std::string to_yaml(const Value& v) {
  std::string out;
  Emitter(out).document(v);
  return out;
}

}  // namespace skiff::api
