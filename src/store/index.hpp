// The newest version of every key, in key order.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "skiff/store/item.hpp"

namespace skiff::store {

// What a key holds. An erased key keeps its last state until compaction has passed it, so that
// older versions can still be found from here.
struct Slot {
  ItemPtr item;
  bool erased = false;
};

// A sorted array cut into leaves. Two levels are enough: with a million keys the upper one is some
// thousand entries, and moving them at a split costs less than the pointers of a deeper tree. Keys
// are not stored apart: they stand in the items. Ranges walk contiguous slots.
class Index {
 public:
  struct Position {
    std::size_t leaf = 0;
    std::size_t slot = 0;
  };

  // Null when the key was never there or is forgotten. Valid until the next change.
  const Slot* find(std::string_view key) const;
  // Puts `slot` under its item's key and returns what was there (item null: nothing).
  Slot replace(Slot slot);
  void remove(std::string_view key);

  std::size_t live() const noexcept { return live_; }  // keys that are not erased

  // First key that is not less.
  Position lower_bound(std::string_view key) const;
  Position end() const noexcept { return {leaves_.size(), 0}; }
  std::size_t count_live(Position from, Position to) const;

  // Calls `visit(slot)` for each slot in [from, to), erased ones too, until it returns false.
  template <class F>
  void scan(Position from, Position to, F visit) const {
    for (; from.leaf <= to.leaf && from.leaf < leaves_.size(); ++from.leaf, from.slot = 0) {
      const auto& slots = leaves_[from.leaf].slots;
      const std::size_t last = from.leaf == to.leaf ? to.slot : slots.size();
      for (; from.slot < last; ++from.slot) {
        if (from.slot + kAhead < last) prefetch(slots[from.slot + kAhead]);
        if (!visit(slots[from.slot])) return;
      }
    }
  }

 private:
  static constexpr std::size_t kCapacity = 256;
  static constexpr std::size_t kAhead = 8;

  struct Leaf {
    std::string_view first;  // the key of slots[0]
    std::vector<Slot> slots;
    std::size_t live = 0;
  };

  // Sharing an item writes its reference count, which stands just before it: asking for those cache
  // lines early is most of the speed of a large range.
  static void prefetch(const Slot& slot) {
    __builtin_prefetch(reinterpret_cast<const char*>(slot.item.get()) - 8, 1);
  }
  std::size_t leaf_of(std::string_view key) const;
  void split(std::size_t leaf, bool at_end);
  void shrink(std::size_t leaf);

  std::vector<Leaf> leaves_;
  std::size_t live_ = 0;
};

}  // namespace skiff::store
