// What the store keeps: versions of keys.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace skiff::store {

// Counts accepted Ops. 0 is before the first. A number is never given to two Ops, not even when the
// first of them failed to reach the disk; so revisions may have gaps.
using Revision = std::int64_t;

// Small facts about a value that watches are indexed by, e.g. {"spec.nodeName", "node-1"}.
using Attributes = std::vector<std::pair<std::string, std::string>>;

// One version of one key. Immutable, shared by every reader; its bytes were encoded once.
struct Item {
  std::string key;
  std::string value;
  Revision created = 0;   // revision that made the key
  Revision modified = 0;  // revision of this version
  Attributes attributes;
  // What readers of this process made of `value` (the api room's Object), so that they share one
  // copy. Weak: memory is only held while somebody uses it. Belongs to the loop's thread.
  mutable std::weak_ptr<const void> decoded;
};
using ItemPtr = std::shared_ptr<const Item>;

}  // namespace skiff::store
