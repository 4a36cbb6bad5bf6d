// Objects are encoded once: kind, apiVersion and metadata first (so that looking for a label reads
// little), with a gap where the store writes the revision.
#pragma once

#include <string>
#include <string_view>

#include "skiff/api/object.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry {

struct Encoded {
  std::string json;
  std::uint32_t slot = store::kNoSlot;
};

// Any metadata.resourceVersion in `root` is left out in favour of the gap.
Encoded encode(const api::Value& root);

// The bytes of an encoded object with the gap in the place of its revision.
Encoded reopen(std::string_view json);

// The bytes with another revision: what a watcher is shown when an object leaves its selection.
std::string with_revision(std::string_view json, store::Revision revision);

// An item that was never stored: converted objects, dry runs, subresources.
store::ItemPtr make_item(std::string key, std::string value, store::Revision created,
                         store::Revision modified);

}  // namespace skiff::registry
