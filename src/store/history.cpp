#include "history.hpp"

#include <algorithm>

namespace skiff::store {
namespace {

std::size_t size_of(const Item& item) {
  return sizeof(Item) + item.key.capacity() + item.value.capacity() + 64 * item.attributes.size();
}

}  // namespace

std::size_t History::cost(const Change& change) {
  std::size_t bytes = sizeof(Change);
  if (const ItemPtr* previous = change.previous()) bytes += size_of(**previous);
  if (change.erase) bytes += size_of(*change.item);
  return bytes;
}

void History::push(Change change) {
  bytes_ += cost(change);
  changes_.push_back(std::move(change));
}

void History::pop_front() {
  bytes_ -= cost(changes_.front());
  changes_.pop_front();
}

std::size_t History::first_after(Revision revision) const {
  if (changes_.empty() || changes_.back().revision() <= revision) return changes_.size();
  const auto it = std::upper_bound(changes_.begin(), changes_.end(), revision,
                                   [](Revision r, const Change& c) { return r < c.revision(); });
  return static_cast<std::size_t>(it - changes_.begin());
}

ItemPtr History::version_at(const Slot& newest, Revision at) const {
  Slot slot = newest;
  while (slot.item && slot.item->modified > at) {
    const std::size_t i = first_after(slot.item->modified - 1);
    SKIFF_ASSERT(i < changes_.size() && changes_[i].item == slot.item,
                 "a version younger than the last compaction has no change");
    slot = changes_[i].replaced;
  }
  return slot.erased ? nullptr : slot.item;
}

}  // namespace skiff::store
