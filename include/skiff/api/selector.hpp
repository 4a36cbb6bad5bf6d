// Label and field selectors (API conventions, "label and field selectors"), with the grammar and
// the error texts of k8s.io/apimachinery's labels and fields packages. Errors are bad_request.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/api/value.hpp"

namespace skiff::api {

class LabelSelector {
 public:
  enum class Operator : std::uint8_t { in, not_in, exists, not_exists, greater, less };
  struct Requirement {
    std::string key;
    Operator op = Operator::exists;
    std::vector<std::string> values;
  };
  // `a=b,c!=d,e in (f,g),h,!i`. Empty text selects everything.
  static Result<LabelSelector> parse(std::string_view text);
  // A metav1.LabelSelector document. Null selects nothing, {} selects everything.
  static Result<LabelSelector> from(const Value& selector);
  // A plain map (Service.spec.selector, matchLabels).
  static LabelSelector from_map(const Value& labels);

  // The requirement of a metav1.LabelSelectorRequirement or NodeSelectorRequirement document
  // ({key, operator: In|NotIn|Exists|DoesNotExist|Gt|Lt, values}), checked.
  static Result<Requirement> requirement(const Value& expression);
  // The rules both forms share: a qualified name as key, label values, how many values.
  static Result<void> check(const Requirement& r);

  bool matches(const Value& labels) const;  // an object of strings, or null
  static bool matches(const Requirement& r, const Value& labels);
  bool empty() const noexcept { return requirements_.empty() && !nothing_; }
  bool selects_nothing() const noexcept { return nothing_; }
  std::span<const Requirement> requirements() const noexcept { return requirements_; }
  std::string to_string() const;  // parse() reads it back
  void add(Requirement r) { requirements_.push_back(std::move(r)); }

 private:
  std::vector<Requirement> requirements_;
  bool nothing_ = false;
};

// `metadata.name=x,spec.nodeName!=y`; `\\`, `\,` and `\=` stand for themselves in values.
class FieldSelector {
 public:
  struct Requirement {
    std::string field;
    bool equal = true;
    std::string value;
  };
  static Result<FieldSelector> parse(std::string_view text);
  bool matches(
      const Value& object) const;  // absent fields read as ""; numbers and booleans as text
  bool empty() const noexcept { return requirements_.empty(); }
  std::span<const Requirement> requirements() const noexcept { return requirements_; }
  std::string to_string() const;  // parse() reads it back
  void add(Requirement r) { requirements_.push_back(std::move(r)); }

 private:
  std::vector<Requirement> requirements_;
};

}  // namespace skiff::api
