// What differs between two documents, as field paths with old and new values.
#pragma once

#include <string>
#include <vector>

#include "skiff/api/value.hpp"

namespace skiff::cli {

struct Difference {
  std::string path;                    // spec.template.spec.containers[name=web].image
  const api::Value* before = nullptr;  // null: the field was added
  const api::Value* after = nullptr;   // null: it was removed
};

// In document order. List elements are told apart by their name (or key, port, ...) where all have
// one of their own, else by position. The values point into the documents.
std::vector<Difference> differences(const api::Value& before, const api::Value& after);

// "  spec.replicas: 1 -> 3" with a real arrow; one line a difference. Long values are shortened,
// and whatever lies under data or stringData is told by its length alone when `secret`.
std::string diff_text(const std::vector<Difference>& differences, bool secret);

// `document` without what writes leave behind by themselves: managedFields, resourceVersion,
// generation, selfLink, and status.
api::Value without_noise(api::Value document);

}  // namespace skiff::cli
