// YAML to Value on libyaml's events, with an explicit stack. Semantics and error texts follow
// sigs.k8s.io/yaml (go-yaml v2, then JSON).
#include <yaml.h>

#include <cmath>
#include <memory>
#include <optional>
#include <unordered_map>

#include "json_text.hpp"
#include "member_index.hpp"
#include "skiff/api/value.hpp"
#include "yaml_scalar.hpp"

namespace skiff::api {
namespace {

// What anchors and aliases of one stream may copy, in values and 32-byte pieces of strings: ample
// for people, and a bomb goes out at some 25 MB.
constexpr std::size_t kMaxCopied = 250'000;
constexpr std::size_t kLinearMembers = 16;
constexpr std::size_t kMaxDuplicates = 100;
constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

std::size_t weight(const Value& v) {
  std::size_t sum = 1 + v.as_string().size() / 32;
  for (const Value& child : v.items()) sum += weight(child);
  for (const Member& m : v.members()) sum += weight(m.value) + m.name.size() / 32;
  return sum;
}

std::string only_utf8(std::string text) {
  std::string out;
  const char* p = text.data();
  const char* end = p + text.size();
  while (p != end) {
    const std::size_t n = utf8_length(p, end);
    if (n == 0) {
      append_utf8(out, 0xFFFD);
      ++p;
    } else {
      out.append(p, n);
      p += n;
    }
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  int padding = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    constexpr std::string_view kAlphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const auto at = kAlphabet.find(c);
    if (at == std::string_view::npos || padding > 0) return std::nullopt;
    bits = bits << 6U | static_cast<std::uint32_t>(at);
    if (++count % 4 != 1) out += static_cast<char>(bits >> (6U - 2U * ((count - 1) % 4)));
  }
  if ((count + padding) % 4 != 0 || padding > 2) return std::nullopt;
  return out;
}

class Reader {
 public:
  Reader(std::string_view text, ParseLimits limits, std::vector<std::string>* duplicates);
  ~Reader() { yaml_parser_delete(&parser_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // The next document; false at the end of the stream.
  Result<bool> next(Value& document);

 private:
  struct Frame {
    Value container;
    std::string anchor;
    bool has_key = false;
    bool merging = false;  // the value to come belongs to `<<`
    std::string key;
    std::size_t key_line = 0;
    std::vector<Value> merges;
    std::unordered_map<std::string, std::size_t> index;  // of names, once there are many
  };
  using Event = std::unique_ptr<yaml_event_t, void (*)(yaml_event_t*)>;

  Result<bool> pull(yaml_event_t& event);
  Error parser_error() const;
  Error error(const yaml_event_t& event, std::string_view what) const;

  Result<void> handle(const yaml_event_t& event);
  Result<void> open(const yaml_event_t& event, bool is_object);
  Result<void> close();
  Result<void> scalar(const yaml_event_t& event);
  Result<void> alias(const yaml_event_t& event);
  Result<YamlScalar> resolve(const yaml_event_t& event) const;
  Result<void> complete(const yaml_event_t& event, std::string anchor, YamlScalar node);
  Result<void> take_key(const yaml_event_t& event, const YamlScalar& node);
  Result<void> take_merge(const yaml_event_t& event, Value v);
  void set_member(Frame& frame, Value v);
  Result<void> remember(const yaml_event_t& event, const std::string& anchor, const Value& v);
  static void merge_in(Frame& frame);

  yaml_parser_t parser_{};
  ParseLimits limits_;
  std::vector<std::string>* duplicates_;
  std::vector<Frame> frames_;
  std::unordered_map<std::string, std::optional<Value>> anchors_;  // empty: still open
  std::size_t copied_ = 0;
  std::optional<Value> root_;
};

Reader::Reader(std::string_view text, ParseLimits limits, std::vector<std::string>* duplicates)
    : limits_(limits), duplicates_(duplicates) {
  SKIFF_ASSERT(yaml_parser_initialize(&parser_) == 1, "no memory for a YAML parser");
  if (text.empty()) text = "";  // libyaml wants a pointer even to nothing
  yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                               text.size());
}

// go-yaml counts lines from what the parser knew: scanner errors are one off the others.
Error Reader::parser_error() const {
  std::size_t line = 0;
  if (parser_.problem_mark.line != 0) {
    line = parser_.problem_mark.line + (parser_.error == YAML_SCANNER_ERROR ? 1 : 0);
  } else if (parser_.context_mark.line != 0) {
    line = parser_.context_mark.line;
  }
  std::string where = line != 0 ? "line " + std::to_string(line) + ": " : "";
  return Error{Code::bad_request, "yaml: " + where +
                                      (parser_.problem != nullptr ? parser_.problem
                                                                  : "unknown problem parsing YAML "
                                                                    "content")};
}

Error Reader::error(const yaml_event_t& event, std::string_view what) const {
  return Error{Code::bad_request, "yaml: line " + std::to_string(event.start_mark.line + 1) + ": " +
                                      std::string(what)};
}

Result<bool> Reader::pull(yaml_event_t& event) {
  if (yaml_parser_parse(&parser_, &event) != 1) return parser_error();
  return event.type != YAML_NO_EVENT;
}

Result<bool> Reader::next(Value& document) {
  root_.reset();
  anchors_.clear();
  for (;;) {
    yaml_event_t raw{};
    SKIFF_TRY(const bool more, pull(raw));
    const Event event(&raw, yaml_event_delete);
    if (!more || raw.type == YAML_STREAM_END_EVENT) return false;
    if (raw.type == YAML_DOCUMENT_END_EVENT) {
      document = root_ ? std::move(*root_) : Value();
      return true;
    }
    SKIFF_CHECK(handle(raw));
  }
}

Result<void> Reader::handle(const yaml_event_t& event) {
  switch (event.type) {
    case YAML_MAPPING_START_EVENT:
      return open(event, true);
    case YAML_SEQUENCE_START_EVENT:
      return open(event, false);
    case YAML_SCALAR_EVENT:
      return scalar(event);
    case YAML_ALIAS_EVENT:
      return alias(event);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: {
      Frame frame = std::move(frames_.back());
      frames_.pop_back();
      if (event.type == YAML_MAPPING_END_EVENT) merge_in(frame);
      return complete(event, std::move(frame.anchor),
                      {YamlTag::string, std::move(frame.container)});
    }
    default:
      return {};
  }
}

Result<void> Reader::open(const yaml_event_t& event, bool is_object) {
  if (frames_.size() >= limits_.max_depth) {
    return error(event, "exceeded max depth of " + std::to_string(limits_.max_depth));
  }
  if (!frames_.empty()) {
    const Frame& parent = frames_.back();
    if (parent.container.is_object() && !parent.has_key && !parent.merging) {
      return error(event, is_object ? "invalid map key: a map" : "invalid map key: a list");
    }
  }
  Frame frame;
  frame.container = is_object ? Value::object() : Value::array();
  const auto* anchor =
      is_object ? event.data.mapping_start.anchor : event.data.sequence_start.anchor;
  if (anchor != nullptr) {
    frame.anchor = reinterpret_cast<const char*>(anchor);
    anchors_[frame.anchor] = std::nullopt;
  }
  frames_.push_back(std::move(frame));
  return {};
}

Result<YamlScalar> Reader::resolve(const yaml_event_t& event) const {
  const auto& s = event.data.scalar;
  const std::string_view text(reinterpret_cast<const char*>(s.value), s.length);
  if (s.tag == nullptr) {
    if (s.plain_implicit == 0) return YamlScalar{YamlTag::string, text};
    return resolve_yaml(text);
  }
  const std::string_view tag(reinterpret_cast<const char*>(s.tag));
  if (!tag.starts_with(kTagPrefix)) return YamlScalar{YamlTag::string, text};
  const std::string_view kind = tag.substr(kTagPrefix.size());
  if (kind == "binary") {
    auto bytes = from_base64(text);
    if (!bytes) return error(event, "!!binary value contains invalid base64 data");
    return YamlScalar{YamlTag::string, only_utf8(std::move(*bytes))};
  }
  if (kind != "bool" && kind != "int" && kind != "float" && kind != "null" && kind != "timestamp") {
    return YamlScalar{YamlTag::string, text};
  }
  YamlScalar node = resolve_yaml(text);
  const std::string wanted = "!!" + std::string(kind);
  const bool widened = kind == "float" && node.tag == YamlTag::integer;
  if (name_of(node.tag) != wanted && !widened) {
    return error(event, "cannot decode " + std::string(name_of(node.tag)) + " `" +
                            std::string(text) + "` as a " + wanted);
  }
  return node;
}

Result<void> Reader::scalar(const yaml_event_t& event) {
  SKIFF_TRY(YamlScalar node, resolve(event));
  std::string anchor;
  if (event.data.scalar.anchor != nullptr) {
    anchor = reinterpret_cast<const char*>(event.data.scalar.anchor);
  }
  const bool is_value =
      frames_.empty() || frames_.back().has_key || !frames_.back().container.is_object();
  if (is_value && node.value.type() == Value::Type::number &&
      !std::isfinite(node.value.as_double())) {
    const double v = node.value.as_double();
    return error(event, std::string("json: unsupported value: ") + (std::isnan(v) ? "NaN"
                                                                    : v > 0       ? "+Inf"
                                                                                  : "-Inf"));
  }
  return complete(event, std::move(anchor), std::move(node));
}

Result<void> Reader::alias(const yaml_event_t& event) {
  const std::string name(reinterpret_cast<const char*>(event.data.alias.anchor));
  const auto found = anchors_.find(name);
  if (found == anchors_.end()) return error(event, "unknown anchor '" + name + "' referenced");
  if (!found->second) return error(event, "anchor '" + name + "' value contains itself");
  copied_ += weight(*found->second);
  if (copied_ > kMaxCopied) return error(event, "document contains excessive aliasing");
  Value v = *found->second;
  if (frames_.size() + v.depth() > limits_.max_depth) {
    return error(event, "exceeded max depth of " + std::to_string(limits_.max_depth));
  }
  YamlTag tag = YamlTag::string;
  switch (v.type()) {
    case Value::Type::null:
      tag = YamlTag::null;
      break;
    case Value::Type::boolean:
      tag = YamlTag::boolean;
      break;
    case Value::Type::integer:
      tag = YamlTag::integer;
      break;
    case Value::Type::number:
      tag = YamlTag::number;
      break;
    default:
      break;
  }
  return complete(event, {}, {tag, std::move(v)});
}

Result<void> Reader::remember(const yaml_event_t& event, const std::string& anchor,
                              const Value& v) {
  copied_ += weight(v);
  if (copied_ > kMaxCopied) return error(event, "document contains excessive aliasing");
  anchors_[anchor] = v;
  return {};
}

// A node has ended: it is a key, a value or an element of the container around it, or the document.
Result<void> Reader::complete(const yaml_event_t& event, std::string anchor, YamlScalar node) {
  if (!anchor.empty()) SKIFF_CHECK(remember(event, anchor, node.value));
  if (frames_.empty()) {
    root_ = std::move(node.value);
    return {};
  }
  Frame& frame = frames_.back();
  if (frame.container.is_array()) {
    frame.container.push_back(std::move(node.value));
    return {};
  }
  if (frame.merging) return take_merge(event, std::move(node.value));
  if (!frame.has_key) return take_key(event, node);
  set_member(frame, std::move(node.value));
  frame.has_key = false;
  return {};
}

Result<void> Reader::take_key(const yaml_event_t& event, const YamlScalar& node) {
  Frame& frame = frames_.back();
  if (node.tag == YamlTag::merge && event.type == YAML_SCALAR_EVENT) {
    frame.merging = true;
    return {};
  }
  const Value& v = node.value;
  if (v.is_null()) return error(event, "unsupported map key of type null");
  if (v.is_array() || v.is_object()) return error(event, "invalid map key: not a scalar");
  if (v.is_string()) {
    frame.key = v.as_string();
  } else if (node.tag == YamlTag::number) {
    frame.key = go_float_text(v.as_double(), true);  // sigs.k8s.io/yaml: as a 32-bit float
  } else {
    frame.key = to_json(v);
  }
  frame.key_line = event.start_mark.line + 1;
  frame.has_key = true;
  return {};
}

void Reader::set_member(Frame& frame, Value v) {
  auto& members = frame.container.mutable_members();
  Value* existing = nullptr;
  if (members.size() <= kLinearMembers) {
    existing = frame.container.find(frame.key);
  } else {
    for (std::size_t i = frame.index.size(); i < members.size(); ++i) {
      frame.index.emplace(members[i].name, i);
    }
    const auto found = frame.index.find(frame.key);
    if (found != frame.index.end()) existing = &members[found->second].value;
  }
  if (existing == nullptr) {
    members.push_back({Name(frame.key), std::move(v)});
    return;
  }
  *existing = std::move(v);
  if (duplicates_ != nullptr && duplicates_->size() < kMaxDuplicates) {
    duplicates_->push_back("line " + std::to_string(frame.key_line) + ": key " +
                           to_json(Value(frame.key)) + " already set in map");
  }
}

// `<<` takes a map or a list of maps, the earlier ones of which win.
Result<void> Reader::take_merge(const yaml_event_t& event, Value v) {
  Frame& frame = frames_.back();
  frame.merging = false;
  const auto wrong = [&] {
    return error(event, "map merge requires map or sequence of maps as the value");
  };
  if (v.is_object()) {
    frame.merges.push_back(std::move(v));
    return {};
  }
  if (!v.is_array()) return wrong();
  for (Value& item : v.mutable_items()) {
    if (!item.is_object()) return wrong();
    frame.merges.push_back(std::move(item));
  }
  return {};
}

// What the mapping says itself wins over what it merges in (YAML merge key type, 2005).
void Reader::merge_in(Frame& frame) {
  if (frame.merges.empty()) return;
  MemberIndex members(frame.container);
  for (Value& source : frame.merges) {
    for (Member& m : source.mutable_members()) {
      if (members.find(m.name) == nullptr) members.member(m.name) = std::move(m.value);
    }
  }
}

Result<void> check_size(std::string_view text, ParseLimits limits) {
  if (text.size() <= limits.max_bytes) return {};
  return Error{Code::too_large,
               "Request entity too large: limit is " + std::to_string(limits.max_bytes)};
}

}  // namespace

Result<Value> parse_yaml(std::string_view text, ParseLimits limits,
                         std::vector<std::string>* duplicate_fields) {
  SKIFF_CHECK(check_size(text, limits));
  Reader reader(text, limits, duplicate_fields);
  Value document;
  SKIFF_CHECK(reader.next(document));
  return document;
}

Result<std::vector<Value>> parse_yaml_stream(std::string_view text, ParseLimits limits) {
  SKIFF_CHECK(check_size(text, limits));
  Reader reader(text, limits, nullptr);
  std::vector<Value> documents;
  for (;;) {
    Value document;
    SKIFF_TRY(const bool more, reader.next(document));
    if (!more) return documents;
    if (!document.is_null()) documents.push_back(std::move(document));
  }
}

}  // namespace skiff::api
