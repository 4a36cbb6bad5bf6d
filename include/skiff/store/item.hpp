// What the store keeps: versions of keys, and what is asked of it.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

// Who wrote something: "USER" or "USER/FIELD-MANAGER". Shared: there are few of them.
using Author = std::shared_ptr<const std::string>;

inline constexpr std::uint32_t kNoSlot = std::numeric_limits<std::uint32_t>::max();

struct Op {
  enum class Type : std::uint8_t { put, erase };
  Type type = Type::put;
  std::string key;
  // put: the new value. erase: the last state that watchers are shown (may be empty: the previous
  // one).
  std::string value;
  // Where in `value` the store writes the revision, in decimal, when it commits: the caller leaves
  // a gap of zero width at this offset. So a value can hold its own revision
  // (metadata.resourceVersion) and still be encoded once.
  std::uint32_t revision_slot = kNoSlot;
  // Compare-and-swap: the modified revision the key must have now; 0: it must not exist; empty:
  // any. Refusals: already_exists when it should not exist, conflict when it has another revision,
  // not_found when it should exist and does not (so too for an erase without expectation).
  std::optional<Revision> expect;
  Attributes attributes;
  // Logged lazily and dropped when superseded: may be lost in a crash (Lease, Event). Within a
  // process it behaves as any other.
  bool is_volatile = false;
  // Who asks, for the history: a user's name, and with what (a field manager). May be null.
  Author author;
};

// Keys in [begin, end). An empty end means to the last key.
struct Range {
  std::string begin;
  std::string end;
  static Range prefix(std::string_view p);  // every key that starts with p
  static Range key(std::string_view k);     // that key alone
  bool contains(std::string_view k) const;
};

}  // namespace skiff::store
