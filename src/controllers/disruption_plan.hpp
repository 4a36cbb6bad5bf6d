// The pure part of the disruption controller.
#pragma once

#include <optional>
#include <span>

#include "objects.hpp"

namespace skiff::controllers {

// Whether the budget is relative to what the owners of its pods want.
bool needs_scale(const Value& budget);

struct BudgetPlan {
  Value status;
  std::optional<Duration> look_again;  // when an eviction that never happened is forgotten
};

// `pods`: all that the budget selects. `scale`: how many pods their owners want together.
BudgetPlan plan_budget(const Value& budget, std::span<const ObjectPtr> pods, std::int64_t scale,
                       WallTime now);

}  // namespace skiff::controllers
