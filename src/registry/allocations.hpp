// What must be unique among the writers of several servers and is part of no key: cluster addresses
// and node ports. The memory of one server cannot settle that. So before a Service is written, each
// address and port it takes is written as a key of its own, which only one writer can create; the
// key goes when the Service gives it up. Only in stores that are shared.
//
// A server that dies between the two leaves a key nobody uses: each server looks for such, old ones
// only, soon after its start and every hour.
#pragma once

#include "core.hpp"

namespace skiff::registry {

// Takes everything `taken` for the Service `owner` ("namespace/name"): all or nothing.
// already_exists: another has one of them.
Task<Result<void>> take_allocations(Core* core, std::vector<std::string> taken, std::string owner);
// Those of `names` that somebody holds count as taken here too, until his Service is seen to go.
void note_taken(Core& core, const std::vector<std::string>& names);
// Gives `names` back.
Task<void> drop_allocations(Core* core, std::vector<std::string> names);

// Keys for the Services of a store that was not shared before.
Task<void> adopt_allocations(Core* core);
// Keeps what this process remembers in step with the Services others write. Runs until cancelled.
Task<void> follow_services(Core* core);
// Removes what nobody uses. Runs until cancelled.
Task<void> repair_allocations(Core* core);

}  // namespace skiff::registry
