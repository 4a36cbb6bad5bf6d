// LIST and GET, history, and the Scale an object is seen through.
#pragma once

#include "core.hpp"

namespace skiff::registry {

Result<ItemPtr> read_one(const Core& core, const Target& target, const ReadOptions& options);
Result<Listing> read_list(const Core& core, const Target& target, const ReadOptions& options);
Result<std::unique_ptr<Watcher>> start_watch(Core& core, const Target& target,
                                             const WatchOptions& options);

// At any revision that is retained: through the log's history where memory does not reach.
Task<Result<ItemPtr>> read_one_at(const Core* core, Target target, ReadOptions options);
Task<Result<Listing>> read_list_at(const Core* core, Target target, ReadOptions options);
// See Registry.
Task<Result<void>> catch_up(Core* core, std::string resource_version,
                            std::vector<std::string>* warnings);
Task<Result<History>> read_history(Core* core, Target target, HistoryOptions options);

// A resourceVersion as given by a client: empty text is 0. bad_request when it is no number.
Result<Revision> parse_revision(std::string_view text);

// The autoscaling/v1 Scale of a workload.
ItemPtr scale_of(const api::Resource& resource, const ItemPtr& item);

}  // namespace skiff::registry
