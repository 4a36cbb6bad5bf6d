#include "index.hpp"

#include <algorithm>

#include "skiff/base/result.hpp"

namespace skiff::store {
namespace {

bool slot_less(const Slot& slot, std::string_view key) { return slot.item->key < key; }

}  // namespace

std::size_t Index::leaf_of(std::string_view key) const {
  const auto after =
      std::upper_bound(leaves_.begin(), leaves_.end(), key,
                       [](std::string_view k, const Leaf& leaf) { return k < leaf.first; });
  return after == leaves_.begin() ? 0 : static_cast<std::size_t>(after - leaves_.begin()) - 1;
}

Index::Position Index::lower_bound(std::string_view key) const {
  if (leaves_.empty()) return end();
  const std::size_t leaf = leaf_of(key);
  const auto& slots = leaves_[leaf].slots;
  const auto it = std::lower_bound(slots.begin(), slots.end(), key, slot_less);
  if (it == slots.end()) return {leaf + 1, 0};
  return {leaf, static_cast<std::size_t>(it - slots.begin())};
}

const Slot* Index::find(std::string_view key) const {
  const Position at = lower_bound(key);
  if (at.leaf == leaves_.size()) return nullptr;
  const Slot& slot = leaves_[at.leaf].slots[at.slot];
  return slot.item->key == key ? &slot : nullptr;
}

Slot Index::replace(Slot slot) {
  if (leaves_.empty()) {
    leaves_.emplace_back();
    leaves_.back().slots.reserve(8);
  }
  const std::string_view key = slot.item->key;
  const std::size_t number = leaf_of(key);
  Leaf* leaf = &leaves_[number];
  auto it = std::lower_bound(leaf->slots.begin(), leaf->slots.end(), key, slot_less);
  if (it != leaf->slots.end() && it->item->key == key) {
    const auto change =
        static_cast<std::size_t>(!slot.erased) - static_cast<std::size_t>(!it->erased);
    leaf->live += change;
    live_ += change;
    std::swap(*it, slot);
    leaf->first = leaf->slots.front().item->key;
    return slot;
  }
  if (leaf->slots.size() >= kCapacity) {
    split(number, it == leaf->slots.end());
    return replace(std::move(slot));
  }
  const std::size_t change = slot.erased ? 0 : 1;
  leaf->live += change;
  live_ += change;
  leaf->slots.insert(it, std::move(slot));
  leaf->first = leaf->slots.front().item->key;
  return {};
}

void Index::split(std::size_t number, bool at_end) {
  // Keys that arrive in order would leave every leaf half empty, so an insertion at the end takes
  // little along.
  Leaf upper;
  upper.slots.reserve(kCapacity);
  Leaf& lower = leaves_[number];
  const auto keep = static_cast<std::ptrdiff_t>(at_end ? kCapacity - 4 : kCapacity / 2);
  upper.slots.assign(std::make_move_iterator(lower.slots.begin() + keep),
                     std::make_move_iterator(lower.slots.end()));
  lower.slots.resize(static_cast<std::size_t>(keep));
  upper.live = static_cast<std::size_t>(std::count_if(upper.slots.begin(), upper.slots.end(),
                                                      [](const Slot& s) { return !s.erased; }));
  lower.live -= upper.live;
  upper.first = upper.slots.front().item->key;
  leaves_.insert(leaves_.begin() + static_cast<std::ptrdiff_t>(number) + 1, std::move(upper));
}

void Index::remove(std::string_view key) {
  const Position at = lower_bound(key);
  if (at.leaf == leaves_.size()) return;
  Leaf& leaf = leaves_[at.leaf];
  const auto it = leaf.slots.begin() + static_cast<std::ptrdiff_t>(at.slot);
  if (it->item->key != key) return;
  const std::size_t change = it->erased ? 0 : 1;
  leaf.live -= change;
  live_ -= change;
  leaf.slots.erase(it);
  shrink(at.leaf);
}

// Keeps leaves at least a quarter full where a neighbour has room.
void Index::shrink(std::size_t number) {
  const auto at = leaves_.begin() + static_cast<std::ptrdiff_t>(number);
  if (at->slots.empty()) {
    leaves_.erase(at);
    return;
  }
  at->first = at->slots.front().item->key;
  const auto next = at + 1;
  if (next == leaves_.end() || at->slots.size() + next->slots.size() > kCapacity / 2) return;
  at->slots.insert(at->slots.end(), std::make_move_iterator(next->slots.begin()),
                   std::make_move_iterator(next->slots.end()));
  at->live += next->live;
  leaves_.erase(next);
}

std::size_t Index::count_live(Position from, Position to) const {
  std::size_t count = 0;
  for (; from.leaf <= to.leaf && from.leaf < leaves_.size(); ++from.leaf, from.slot = 0) {
    const Leaf& leaf = leaves_[from.leaf];
    const std::size_t last = from.leaf == to.leaf ? to.slot : leaf.slots.size();
    if (from.slot == 0 && last == leaf.slots.size()) {
      count += leaf.live;
      continue;
    }
    for (std::size_t i = from.slot; i < last; ++i) count += leaf.slots[i].erased ? 0 : 1;
  }
  return count;
}

}  // namespace skiff::store
