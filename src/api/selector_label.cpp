#include <algorithm>
#include <charconv>
#include <optional>

#include "label_checks.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::api {
namespace {

using Operator = LabelSelector::Operator;
using Requirement = LabelSelector::Requirement;

Error bad(std::string message) { return Error{Code::bad_request, std::move(message)}; }

std::string quoted(std::string_view s) { return "'" + std::string(s) + "'"; }

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::optional<std::int64_t> to_int(std::string_view s) noexcept {
  if (!s.empty() && s[0] == '+') s.remove_prefix(1);
  std::int64_t v = 0;
  const auto [rest, ec] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (ec != std::errc() || rest != s.data() + s.size()) return std::nullopt;
  return v;
}

// One problem as it is, several in brackets: as upstream joins them.
Result<void> refuse(const std::vector<std::string>& problems) {
  if (problems.empty()) return {};
  return bad(problems.size() == 1 ? problems[0] : "[" + join(problems, ", ") + "]");
}

std::string invalid(std::string_view path, const Value& value, std::string_view why) {
  return std::string(path) + ": Invalid value: " + to_json(value) + ": " + std::string(why);
}

enum class Token : std::uint8_t {
  end,
  close,
  comma,
  bang,
  equals,
  double_equals,
  not_equals,
  greater,
  less,
  identifier,
  in,
  not_in,
  open,
  error,
};

struct Item {
  Token token = Token::end;
  std::string_view text;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) { next_ = lex(); }

  Result<std::vector<Requirement>> parse() {
    std::vector<Requirement> out;
    while (next_.token != Token::end) {
      if (!is_value(next_.token) && next_.token != Token::bang) {
        return bad("found " + quoted(next_.text) + ", expected: !, identifier, or 'end of string'");
      }
      auto r = requirement();
      if (!r) return annotate(r.error(), "unable to parse requirement");
      out.push_back(std::move(*r));
      if (next_.token == Token::end) break;
      if (next_.token != Token::comma) {
        return bad("found " + quoted(next_.text) + ", expected: ',' or 'end of string'");
      }
      take();
      if (!is_value(next_.token) && next_.token != Token::bang) {
        return bad("found " + quoted(next_.text) + ", expected: identifier after ','");
      }
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const Requirement& a, const Requirement& b) { return a.key < b.key; });
    return out;
  }

 private:
  // `in` and `notin` are ordinary words wherever a key or a value stands.
  static bool is_value(Token t) noexcept {
    return t == Token::identifier || t == Token::in || t == Token::not_in;
  }
  static bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  static bool is_special(char c) noexcept {
    return std::string_view("=!(),><").find(c) != std::string_view::npos;
  }

  Item take() {
    const Item item = next_;
    next_ = lex();
    return item;
  }

  Item lex() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    if (at_ == text_.size()) return {};
    const std::size_t start = at_;
    if (is_special(text_[at_])) {
      const bool two = at_ + 1 < text_.size() && text_[at_ + 1] == '=';
      const char c = text_[at_];
      at_ += two && (c == '=' || c == '!') ? 2 : 1;
      return {symbol(c, at_ - start == 2), text_.substr(start, at_ - start)};
    }
    while (at_ < text_.size() && !is_space(text_[at_]) && !is_special(text_[at_])) {
      ++at_;
    }
    const std::string_view word = text_.substr(start, at_ - start);
    if (word == "in") return {Token::in, word};
    return {word == "notin" ? Token::not_in : Token::identifier, word};
  }

  static Token symbol(char c, bool two) noexcept {
    switch (c) {
      case '=':
        return two ? Token::double_equals : Token::equals;
      case '!':
        return two ? Token::not_equals : Token::bang;
      case '(':
        return Token::open;
      case ')':
        return Token::close;
      case ',':
        return Token::comma;
      case '>':
        return Token::greater;
      default:
        return Token::less;
    }
  }

  Result<Requirement> requirement() {
    Requirement r;
    const bool negated = next_.token == Token::bang;
    if (negated) take();
    const Item key = take();
    if (!is_value(key.token)) return bad("found " + quoted(key.text) + ", expected: identifier");
    const auto wrong = label_key_errors(key.text);
    if (!wrong.empty()) return bad(invalid("<nil>", key.text, join(wrong, "; ")));
    r.key = key.text;
    if (negated || next_.token == Token::end || next_.token == Token::comma) {
      r.op = negated ? Operator::not_exists : Operator::exists;
      return r;
    }
    const Item op = take();
    switch (op.token) {
      case Token::in:
        r.op = Operator::in;
        break;
      case Token::not_in:
        r.op = Operator::not_in;
        break;
      case Token::equals:
      case Token::double_equals:
        r.op = Operator::in;
        break;
      case Token::not_equals:
        r.op = Operator::not_in;
        break;
      case Token::greater:
        r.op = Operator::greater;
        break;
      case Token::less:
        r.op = Operator::less;
        break;
      default:
        return bad("found " + quoted(op.text) + ", expected: in, notin, =, ==, !=, gt, lt");
    }
    const bool set_based = op.token == Token::in || op.token == Token::not_in;
    SKIFF_CHECK(set_based ? value_set(r.values) : exact_value(r.values));
    SKIFF_CHECK(LabelSelector::check(r));
    return r;
  }

  // The one value of `=`, `!=`, `>` and `<`; nothing stands for "".
  Result<void> exact_value(std::vector<std::string>& values) {
    if (next_.token == Token::end || next_.token == Token::comma) {
      values.emplace_back();
      return {};
    }
    const Item item = take();
    if (!is_value(item.token)) return bad("found " + quoted(item.text) + ", expected: identifier");
    values.emplace_back(item.text);
    return {};
  }

  // `(a, b)`; an empty place stands for "".
  Result<void> value_set(std::vector<std::string>& values) {
    const Item open = take();
    if (open.token != Token::open) return bad("found " + quoted(open.text) + " expected: '('");
    if (!is_value(next_.token) && next_.token != Token::comma && next_.token != Token::close) {
      return bad("found " + quoted(next_.text) + ", expected: ',', ')' or identifier");
    }
    for (;;) {
      std::string value;
      if (is_value(next_.token)) value = take().text;
      values.push_back(std::move(value));
      const Item item = take();
      if (item.token == Token::close) break;
      if (item.token != Token::comma) {
        return bad("found " + quoted(item.text) + ", expected: ',' or ')'");
      }
      if (!is_value(next_.token) && next_.token != Token::comma && next_.token != Token::close) {
        return bad("found " + quoted(next_.text) + ", expected: ',', or identifier");
      }
    }
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Item next_;
};

bool has_value(const Requirement& r, const std::string& value) {
  return std::find(r.values.begin(), r.values.end(), value) != r.values.end();
}

Result<Operator> operator_of(std::string_view name) {
  if (name == "In") return Operator::in;
  if (name == "NotIn") return Operator::not_in;
  if (name == "Exists") return Operator::exists;
  if (name == "DoesNotExist") return Operator::not_exists;
  if (name == "Gt") return Operator::greater;
  if (name == "Lt") return Operator::less;
  return bad("\"" + std::string(name) + "\" is not a valid label selector operator");
}

}  // namespace

Result<void> LabelSelector::check(const Requirement& r) {
  std::vector<std::string> problems;
  const auto wrong_key = label_key_errors(r.key);
  if (!wrong_key.empty()) problems.push_back(invalid("key", r.key, join(wrong_key, "; ")));
  const auto wrong_values = [&](std::string_view why) {
    Value values = Value::array();
    for (const std::string& v : r.values) values.push_back(v);
    problems.push_back(invalid("values", values, why));
  };
  const auto place = [](std::size_t i) { return "values[" + std::to_string(i) + "]"; };
  switch (r.op) {
    case Operator::in:
    case Operator::not_in:
      if (r.values.empty()) {
        wrong_values("for 'in', 'notin' operators, values set can't be empty");
      }
      break;
    case Operator::exists:
    case Operator::not_exists:
      if (!r.values.empty()) wrong_values("values set must be empty for exists and does not exist");
      break;
    case Operator::greater:
    case Operator::less:
      if (r.values.size() != 1) {
        wrong_values("for 'Gt', 'Lt' operators, exactly one value is required");
      }
      for (std::size_t i = 0; i < r.values.size(); ++i) {
        if (to_int(r.values[i])) continue;
        problems.push_back(invalid(place(i), r.values[i],
                                   "for 'Gt', 'Lt' operators, the value must be an integer"));
      }
      break;
  }
  for (std::size_t i = 0; i < r.values.size(); ++i) {
    const auto errors = label_value_errors(r.values[i]);
    if (errors.empty()) continue;
    problems.push_back(invalid(place(i) + "[" + r.key + "]", r.values[i], join(errors, "; ")));
  }
  return refuse(problems);
}

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  SKIFF_TRY(selector.requirements_, Parser(text).parse());
  return selector;
}

Result<Requirement> LabelSelector::requirement(const Value& expression) {
  Requirement r;
  r.key = expression["key"].as_string();
  SKIFF_TRY(r.op, operator_of(expression["operator"].as_string()));
  for (const Value& v : expression["values"].items()) r.values.push_back(v.as_string());
  SKIFF_CHECK(check(r));
  return r;
}

Result<LabelSelector> LabelSelector::from(const Value& selector) {
  LabelSelector out;
  if (selector.is_null()) {
    out.nothing_ = true;
    return out;
  }
  if (!selector.is_object()) return bad("a label selector must be an object");
  for (const Member& m : selector["matchLabels"].members()) {
    Requirement r{m.name, Operator::in, {m.value.as_string()}};
    SKIFF_CHECK(check(r));
    out.requirements_.push_back(std::move(r));
  }
  for (const Value& expression : selector["matchExpressions"].items()) {
    const std::string& op = expression["operator"].as_string();
    if (op == "Gt" || op == "Lt") {  // only node selectors compare
      return bad("\"" + op + "\" is not a valid label selector operator");
    }
    SKIFF_TRY(Requirement r, requirement(expression));
    out.requirements_.push_back(std::move(r));
  }
  std::stable_sort(out.requirements_.begin(), out.requirements_.end(),
                   [](const Requirement& a, const Requirement& b) { return a.key < b.key; });
  return out;
}

LabelSelector LabelSelector::from_map(const Value& labels) {
  LabelSelector out;
  for (const Member& m : labels.members()) {
    out.requirements_.push_back({m.name, Operator::in, {m.value.as_string()}});
  }
  std::stable_sort(out.requirements_.begin(), out.requirements_.end(),
                   [](const Requirement& a, const Requirement& b) { return a.key < b.key; });
  return out;
}

bool LabelSelector::matches(const Requirement& r, const Value& labels) {
  const Value* label = labels.find(r.key);
  switch (r.op) {
    case Operator::in:
      return label != nullptr && has_value(r, label->as_string());
    case Operator::not_in:
      return label == nullptr || !has_value(r, label->as_string());
    case Operator::exists:
      return label != nullptr;
    case Operator::not_exists:
      return label == nullptr;
    case Operator::greater:
    case Operator::less:
      break;
  }
  if (label == nullptr || r.values.size() != 1) return false;
  const auto actual = to_int(label->as_string());
  const auto bound = to_int(r.values[0]);
  if (!actual || !bound) return false;
  return r.op == Operator::greater ? *actual > *bound : *actual < *bound;
}

bool LabelSelector::matches(const Value& labels) const {
  if (nothing_) return false;
  return std::all_of(requirements_.begin(), requirements_.end(),
                     [&](const Requirement& r) { return matches(r, labels); });
}

std::string LabelSelector::to_string() const {
  std::string out;
  for (const Requirement& r : requirements_) {
    if (!out.empty()) out += ',';
    if (r.op == Operator::not_exists) out += '!';
    out += r.key;
    const bool one = r.values.size() == 1;
    std::vector<std::string> values = r.values;
    std::sort(values.begin(), values.end());
    const std::string all = join(values, ",");
    switch (r.op) {
      case Operator::in:
        out += one ? "=" + all : " in (" + all + ")";
        break;
      case Operator::not_in:
        out += one ? "!=" + all : " notin (" + all + ")";
        break;
      case Operator::greater:
        out += ">" + all;
        break;
      case Operator::less:
        out += "<" + all;
        break;
      case Operator::exists:
      case Operator::not_exists:
        break;
    }
  }
  return out;
}

}  // namespace skiff::api
