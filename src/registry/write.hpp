// The write road from end to end: lock, plan, commit, settle, try again.
#pragma once

#include "plan.hpp"

namespace skiff::registry {

Task<Result<Written>> write_one(Core* core, Write write, WriteContext context);
Task<std::vector<Result<Written>>> write_many(Core* core, std::vector<Write> writes,
                                              WriteContext context);
Task<Result<Listing>> remove_matching(Core* core, Target target, ReadOptions which,
                                      DeleteOptions options, WriteContext context);

}  // namespace skiff::registry
