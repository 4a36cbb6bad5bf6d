// JSON patch, RFC 6902, with JSON pointers, RFC 6901. Errors follow the wording that API clients
// know from upstream's server.
#include <charconv>
#include <optional>

#include "skiff/api/patch.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kMaxOperations = 10'000;
constexpr std::size_t kMaxDepth = 1000;             // ParseLimits' default
constexpr std::size_t kMaxCopiedBytes = 3U << 20U;  // "copy" could double a document every time

Error refused(std::string message) { return Error{Code::invalid, std::move(message)}; }
Error malformed(std::string message) { return Error{Code::bad_request, std::move(message)}; }

struct Pointer {
  std::string text;
  std::vector<std::string> tokens;

  std::span<const std::string> parent() const {
    return std::span<const std::string>(tokens).first(tokens.size() - 1);
  }
  bool operator==(const Pointer& o) const { return tokens == o.tokens; }
  bool inside(const Pointer& o) const {
    return tokens.size() > o.tokens.size() &&
           std::equal(o.tokens.begin(), o.tokens.end(), tokens.begin());
  }
};

class JsonPatch {
 public:
  explicit JsonPatch(Value& doc) : doc_(doc) {}
  Result<void> apply(const Value& operation);

 private:
  static Result<Pointer> parse_pointer(std::string_view text);
  static Result<Pointer> pointer_of(const Value& operation, std::string_view member,
                                    std::string_view kind);
  static std::optional<std::size_t> index_of(std::string_view token) noexcept;
  Value* find(std::span<const std::string> tokens) noexcept;
  // The array or object that holds the target; null when there is none.
  Value* holder(const Pointer& path) noexcept;

  Result<void> add(const Pointer& path, Value value, std::string_view kind);
  Result<Value> remove(const Pointer& path, std::string_view kind);
  Result<void> replace(const Pointer& path, const Value& value);
  Result<void> test(const Pointer& path, const Value& value);
  Result<void> move(const Pointer& from, const Pointer& path);
  Result<void> copy(const Pointer& from, const Pointer& path);

  Value& doc_;
  std::size_t copied_ = 0;
};

Error missing(std::string_view kind, std::string_view what, const Pointer& path) {
  return refused(std::string(kind) + " operation does not apply: doc is missing " +
                 std::string(what) + ": " + path.text + ": missing value");
}

Error bad_index(std::string_view kind, const Pointer& path) {
  return refused("error in " + std::string(kind) + " for path: '" + path.text +
                 "': Unable to access invalid index: " + path.tokens.back() +
                 ": invalid index referenced");
}

Result<Pointer> JsonPatch::parse_pointer(std::string_view text) {
  Pointer pointer{std::string(text), {}};
  const auto wrong = [&] {
    return malformed("invalid JSON pointer \"" + pointer.text +
                     "\": it must be empty or begin with '/', and '~' must be written '~0'");
  };
  if (!text.empty() && text[0] != '/') return wrong();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '/') {
      pointer.tokens.emplace_back();
    } else if (c == '~') {
      if (i + 1 == text.size() || (text[i + 1] != '0' && text[i + 1] != '1')) return wrong();
      pointer.tokens.back() += text[++i] == '0' ? '~' : '/';
    } else {
      pointer.tokens.back() += c;
    }
  }
  return pointer;
}

Result<Pointer> JsonPatch::pointer_of(const Value& operation, std::string_view member,
                                      std::string_view kind) {
  const Value* pointer = operation.find(member);
  if (pointer == nullptr || !pointer->is_string()) {
    return malformed("a JSON patch operation \"" + std::string(kind) + "\" needs a string \"" +
                     std::string(member) + "\"");
  }
  return parse_pointer(pointer->as_string());
}

// RFC 6901, section 4: digits without a leading zero.
std::optional<std::size_t> JsonPatch::index_of(std::string_view token) noexcept {
  if (token.empty() || (token.size() > 1 && token[0] == '0')) return std::nullopt;
  std::size_t index = 0;
  const char* last = token.data() + token.size();
  const auto [rest, ec] = std::from_chars(token.data(), last, index);
  if (ec != std::errc() || rest != last) return std::nullopt;
  return index;
}

Value* JsonPatch::find(std::span<const std::string> tokens) noexcept {
  Value* at = &doc_;
  for (const std::string& token : tokens) {
    if (at->is_array()) {
      const auto index = index_of(token);
      if (!index || *index >= at->size()) return nullptr;
      at = &at->mutable_items()[*index];
    } else {
      at = at->find(token);
      if (at == nullptr) return nullptr;
    }
  }
  return at;
}

Value* JsonPatch::holder(const Pointer& path) noexcept {
  if (path.tokens.empty()) return nullptr;
  Value* parent = find(path.parent());
  return parent != nullptr && (parent->is_object() || parent->is_array()) ? parent : nullptr;
}

Result<void> JsonPatch::add(const Pointer& path, Value value, std::string_view kind) {
  if (path.tokens.size() + value.depth() > kMaxDepth) {
    return refused(std::string(kind) + " operation does not apply: exceeded max depth");
  }
  if (path.tokens.empty()) {
    doc_ = std::move(value);
    return {};
  }
  Value* parent = holder(path);
  if (parent == nullptr) return missing(kind, kind == "add" ? "path" : "destination path", path);
  const std::string& last = path.tokens.back();
  if (parent->is_object()) {
    parent->set(last, std::move(value));
    return {};
  }
  auto& items = parent->mutable_items();
  const auto index = last == "-" ? std::optional(items.size()) : index_of(last);
  if (!index || *index > items.size()) return bad_index(kind, path);
  items.insert(items.begin() + static_cast<std::ptrdiff_t>(*index), std::move(value));
  return {};
}

Result<Value> JsonPatch::remove(const Pointer& path, std::string_view kind) {
  Value* parent = holder(path);
  if (parent == nullptr) return missing(kind, kind == "move" ? "from path" : "path", path);
  const std::string& last = path.tokens.back();
  if (parent->is_object()) {
    Value* target = parent->find(last);
    if (target == nullptr) {
      return refused("error in " + std::string(kind) + " for path: '" + path.text +
                     "': Unable to remove nonexistent key: " + last + ": missing value");
    }
    Value removed = std::move(*target);
    parent->erase(last);
    return removed;
  }
  auto& items = parent->mutable_items();
  const auto index = index_of(last);
  if (!index || *index >= items.size()) return bad_index(kind, path);
  const auto at = items.begin() + static_cast<std::ptrdiff_t>(*index);
  Value removed = std::move(*at);
  items.erase(at);
  return removed;
}

// Where RFC 6902 wants the target to exist, upstream's server also takes the absent member of an
// object, and clients have come to rely on it.
Result<void> JsonPatch::replace(const Pointer& path, const Value& value) {
  if (path.tokens.size() + value.depth() > kMaxDepth) {
    return refused("replace operation does not apply: exceeded max depth");
  }
  if (path.tokens.empty()) {
    doc_ = value;
    return {};
  }
  Value* parent = holder(path);
  if (parent == nullptr) return missing("replace", "path", path);
  if (parent->is_object()) {
    parent->set(path.tokens.back(), value);
    return {};
  }
  const auto index = index_of(path.tokens.back());
  if (!index || *index >= parent->size()) return missing("replace", "key", path);
  parent->mutable_items()[*index] = value;
  return {};
}

// An absent member equals null, as upstream has it.
Result<void> JsonPatch::test(const Pointer& path, const Value& value) {
  const Value* target = &doc_;
  if (!path.tokens.empty()) {
    const Value* parent = holder(path);
    if (parent == nullptr) return missing("test", "path", path);
    target = find(path.tokens);
    if (target == nullptr && parent->is_array()) return bad_index("test", path);
  }
  if (target == nullptr ? value.is_null() : *target == value) return {};
  return refused("testing value " + path.text + " failed: test failed");
}

Result<void> JsonPatch::move(const Pointer& from, const Pointer& path) {
  if (from == path && find(from.tokens) != nullptr) return {};
  if (path.inside(from)) {
    return refused("move operation does not apply: \"" + from.text +
                   "\" cannot be moved into itself");
  }
  SKIFF_TRY(Value value, remove(from, "move"));
  return add(path, std::move(value), "move");
}

Result<void> JsonPatch::copy(const Pointer& from, const Pointer& path) {
  const Value* source = find(from.tokens);
  if (source == nullptr) return missing("copy", "from path", from);
  copied_ += to_json(*source).size();
  if (copied_ > kMaxCopiedBytes) {
    return refused("Unable to complete the copy, the accumulated size increase of copy is " +
                   std::to_string(copied_) + ", exceeding the limit " +
                   std::to_string(kMaxCopiedBytes));
  }
  return add(path, *source, "copy");
}

Result<void> JsonPatch::apply(const Value& operation) {
  const std::string& kind = operation["op"].as_string();
  SKIFF_TRY(const Pointer path, pointer_of(operation, "path", kind));
  if (kind == "remove") {
    SKIFF_CHECK(remove(path, kind));
    return {};
  }
  if (kind == "move" || kind == "copy") {
    SKIFF_TRY(const Pointer from, pointer_of(operation, "from", kind));
    return kind == "move" ? move(from, path) : copy(from, path);
  }
  if (kind != "add" && kind != "replace" && kind != "test") {
    return malformed("Unexpected kind: " + (kind.empty() ? "unknown" : kind));
  }
  const Value* value = operation.find("value");
  if (value == nullptr) {
    return malformed("a JSON patch operation \"" + kind + "\" needs a \"value\"");
  }
  if (kind == "add") return add(path, *value, kind);
  return kind == "replace" ? replace(path, *value) : test(path, *value);
}

}  // namespace

Result<void> json_patch(Value& doc, const Value& operations) {
  if (!operations.is_array()) return malformed("a JSON patch is an array of operations");
  if (operations.size() > kMaxOperations) {
    return Error{Code::too_large, "The allowed maximum operations in a JSON patch is " +
                                      std::to_string(kMaxOperations) + ", got " +
                                      std::to_string(operations.size())};
  }
  Value result = doc;
  JsonPatch patch(result);
  for (const Value& operation : operations.items()) {
    if (!operation.is_object()) return malformed("a JSON patch operation is an object");
    SKIFF_CHECK(patch.apply(operation));
  }
  doc = std::move(result);
  return {};
}

}  // namespace skiff::api
