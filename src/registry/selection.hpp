// Label and field selectors, decided on stored bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/api/schema.hpp"
#include "skiff/api/selector.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry {

class Selection {
 public:
  // bad_request when a selector does not parse or names a field this kind is not selected by.
  static Result<Selection> make(const api::Resource& served, std::string_view labels,
                                std::string_view fields);

  bool everything() const noexcept { return labels_.empty() && fields_.empty(); }
  bool matches(const store::Item& item) const;

  // Where matching objects can be: one key if the selector names the object.
  store::Range range(const api::Resource& served, std::string_view ns) const;
  // The fact matching items are indexed by, if one is asked for.
  std::optional<std::pair<std::string, std::string>> attribute() const;

 private:
  struct FieldTest {
    std::vector<std::string_view> path;
    std::string_view absent;  // what a missing field reads as
    std::string label;
    std::string value;
    bool equal = true;
  };
  bool labels_match(std::string_view json) const;
  bool fields_match(std::string_view json) const;

  api::LabelSelector labels_;
  std::vector<FieldTest> fields_;
};

// The facts a stored object is indexed by.
store::Attributes attributes_of(const api::Resource& stored, const api::Value& root);

}  // namespace skiff::registry
