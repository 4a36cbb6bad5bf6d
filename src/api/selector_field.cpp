#include <algorithm>

#include "skiff/api/selector.hpp"

namespace skiff::api {
namespace {

Error bad(std::string message) { return Error{Code::bad_request, std::move(message)}; }

// Splits at commas that no backslash stands before.
std::vector<std::string_view> split_terms(std::string_view text) {
  std::vector<std::string_view> terms;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == ',') {
      terms.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  if (start < text.size() || !terms.empty()) terms.push_back(text.substr(start));
  return terms;
}

Result<std::string> unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
      if (i == text.size() || (text[i] != '\\' && text[i] != ',' && text[i] != '=')) {
        return bad("invalid field selector: invalid escape sequence: " +
                   std::string(text.substr(i - 1, 2)));
      }
    } else if (text[i] == ',' || text[i] == '=') {
      return bad("invalid field selector: unescaped character in value: " +
                 std::to_string(static_cast<int>(text[i])));
    }
    out += text[i];
  }
  return out;
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == ',' || c == '=') out += '\\';
    out += c;
  }
  return out;
}

// A scalar as text; anything else, and what is absent, reads as "".
std::string text_of(const Value& v) {
  if (v.is_string()) return v.as_string();
  return v.is_bool() || v.is_number() ? to_json(v) : std::string();
}

const Value* at_path(const Value& object, std::string_view path) {
  const Value* at = &object;
  while (at != nullptr) {
    const auto dot = path.find('.');
    at = at->find(path.substr(0, dot));
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
  }
  return at;
}

}  // namespace

Result<FieldSelector> FieldSelector::parse(std::string_view text) {
  FieldSelector selector;
  auto terms = split_terms(text);
  std::sort(terms.begin(), terms.end());
  for (const std::string_view term : terms) {
    if (term.empty()) continue;
    // The operator is the first `!=`, `==` or `=` of the term.
    const auto at = term.find('=');
    if (at == std::string_view::npos) {
      return bad("invalid selector: '" + std::string(text) + "'; can't understand '" +
                 std::string(term) + "'");
    }
    Requirement r;
    r.equal = at == 0 || term[at - 1] != '!';
    r.field = term.substr(0, r.equal ? at : at - 1);
    std::string_view value = term.substr(at + 1);
    if (r.equal && !value.empty() && value[0] == '=') value.remove_prefix(1);
    SKIFF_TRY(r.value, unescape(value));
    if (r.field.empty() && r.value.empty()) continue;
    selector.requirements_.push_back(std::move(r));
  }
  return selector;
}

bool FieldSelector::matches(const Value& object) const {
  return std::all_of(requirements_.begin(), requirements_.end(), [&](const Requirement& r) {
    const Value* v = at_path(object, r.field);
    return ((v == nullptr ? std::string() : text_of(*v)) == r.value) == r.equal;
  });
}

std::string FieldSelector::to_string() const {
  std::string out;
  for (const Requirement& r : requirements_) {
    if (!out.empty()) out += ',';
    out += r.field + (r.equal ? "=" : "!=") + escape(r.value);
  }
  return out;
}

}  // namespace skiff::api
