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

class JsonPatch {
 public:
  explicit JsonPatch(Value& doc) : doc_(doc) {}
  Result<void> apply(const Value& operation);

 private:
  using Tokens = std::vector<std::string>;

  static Result<Tokens> parse_pointer(std::string_view pointer);
  static Result<Tokens> pointer_of(const Value& operation, std::string_view member,
                                   std::string_view kind);
  static std::optional<std::size_t> index_of(std::string_view token) noexcept;
  Value* find(std::span<const std::string> tokens) noexcept;

  Result<void> add(const Tokens& path, Value value, std::string_view kind);
  Result<Value> remove(const Tokens& path, std::string_view kind);
  Result<void> replace(const Tokens& path, const Value& value);
  Result<void> test(const Tokens& path, const Value& value);
  Result<void> move(const Tokens& from, const Tokens& path);
  Result<void> copy(const Tokens& from, const Tokens& path);
  static Error missing(std::string_view kind, const Tokens& path, std::string_view what);

  Value& doc_;
  std::size_t copied_ = 0;
};

std::string join(std::span<const std::string> tokens) {
  std::string out;
  for (const std::string& token : tokens) {
    out += '/';
    for (const char c : token) {
      if (c == '~') {
        out += "~0";
      } else if (c == '/') {
        out += "~1";
      } else {
        out += c;
      }
    }
  }
  return out;
}

Error JsonPatch::missing(std::string_view kind, const Tokens& path, std::string_view what) {
  return refused(std::string(kind) + " operation does not apply: " + std::string(what) + ": \"" +
                 join(path) + "\": missing value");
}

Result<JsonPatch::Tokens> JsonPatch::parse_pointer(std::string_view pointer) {
  Tokens tokens;
  if (pointer.empty()) return tokens;
  const auto wrong = [&] {
    return malformed("invalid JSON pointer \"" + std::string(pointer) +
                     "\": it must be empty or begin with '/', and '~' must be written '~0'");
  };
  if (pointer[0] != '/') return wrong();
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    const char c = pointer[i];
    if (c == '/') {
      tokens.emplace_back();
    } else if (c == '~') {
      if (i + 1 == pointer.size() || (pointer[i + 1] != '0' && pointer[i + 1] != '1')) {
        return wrong();
      }
      tokens.back() += pointer[++i] == '0' ? '~' : '/';
    } else {
      tokens.back() += c;
    }
  }
  return tokens;
}

Result<JsonPatch::Tokens> JsonPatch::pointer_of(const Value& operation, std::string_view member,
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

Result<void> JsonPatch::add(const Tokens& path, Value value, std::string_view kind) {
  if (path.size() + value.depth() > kMaxDepth) {
    return refused(std::string(kind) + " operation does not apply: exceeded max depth");
  }
  if (path.empty()) {
    doc_ = std::move(value);
    return {};
  }
  Value* parent = find(std::span(path).first(path.size() - 1));
  if (parent != nullptr && parent->is_object()) {
    parent->set(path.back(), std::move(value));
    return {};
  }
  if (parent == nullptr || !parent->is_array()) return missing(kind, path, "doc is missing path");
  auto& items = parent->mutable_items();
  const auto index = path.back() == "-" ? std::optional(items.size()) : index_of(path.back());
  if (!index || *index > items.size()) {
    return refused(std::string(kind) + " operation does not apply: error in add for path: '" +
                   join(path) + "': Unable to access invalid index: " + path.back() +
                   ": invalid index referenced");
  }
  items.insert(items.begin() + static_cast<std::ptrdiff_t>(*index), std::move(value));
  return {};
}

Result<Value> JsonPatch::remove(const Tokens& path, std::string_view kind) {
  if (path.empty()) return refused("the whole document cannot be removed");
  Value* parent = find(std::span(path).first(path.size() - 1));
  Value* target = parent == nullptr ? nullptr : find(path);
  if (target == nullptr) return missing(kind, path, "unable to remove nonexistent key");
  Value removed = std::move(*target);
  if (parent->is_array()) {
    auto& items = parent->mutable_items();
    items.erase(items.begin() + (target - items.data()));
  } else {
    parent->erase(path.back());
  }
  return removed;
}

Result<void> JsonPatch::replace(const Tokens& path, const Value& value) {
  Value* target = find(path);
  if (target == nullptr) return missing("replace", path, "doc is missing key");
  if (path.size() + value.depth() > kMaxDepth) {
    return refused("replace operation does not apply: exceeded max depth");
  }
  *target = value;
  return {};
}

Result<void> JsonPatch::test(const Tokens& path, const Value& value) {
  const Value* target = find(path);
  // Upstream: an absent member equals null.
  if (target == nullptr ? value.is_null() : *target == value) return {};
  return refused("testing value " + join(path) + " failed: test failed");
}

Result<void> JsonPatch::move(const Tokens& from, const Tokens& path) {
  if (from == path) {
    return find(from) != nullptr ? Result<void>()
                                 : missing("move", from, "doc is missing from path");
  }
  if (path.size() > from.size() && std::equal(from.begin(), from.end(), path.begin())) {
    return refused("move operation does not apply: \"" + join(from) +
                   "\" cannot be moved into itself");
  }
  SKIFF_TRY(Value value, remove(from, "move"));
  return add(path, std::move(value), "move");
}

Result<void> JsonPatch::copy(const Tokens& from, const Tokens& path) {
  const Value* source = find(from);
  if (source == nullptr) return missing("copy", from, "doc is missing from path");
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
  SKIFF_TRY(const Tokens path, pointer_of(operation, "path", kind));
  if (kind == "remove") {
    SKIFF_CHECK(remove(path, kind));
    return {};
  }
  if (kind == "move" || kind == "copy") {
    SKIFF_TRY(const Tokens from, pointer_of(operation, "from", kind));
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
