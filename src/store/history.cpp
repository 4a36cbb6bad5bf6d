#include "history.hpp"

#include <algorithm>

namespace skiff::store {

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

void History::push_front(Change change) {
  bytes_ += cost(change);
  changes_.push_front(std::move(change));
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

std::size_t History::maker(const Item& item) const {
  const std::size_t i = first_after(item.modified - 1);
  return i < changes_.size() && changes_[i].revision() == item.modified ? i : changes_.size();
}

ItemPtr History::version_at(const Slot& newest, Revision at) const {
  Slot slot = newest;
  while (slot.item && slot.item->modified > at) {
    const std::size_t i = maker(*slot.item);
    SKIFF_ASSERT(i < changes_.size(), "a version within the window has no change");
    slot = changes_[i].replaced;
  }
  return slot.erased ? nullptr : slot.item;
}

void History::put_before(const Slot& newest, Slot older) {
  const Slot* slot = &newest;
  while (slot->item) {
    const std::size_t i = maker(*slot->item);
    if (i == changes_.size()) return;
    Change& change = changes_[i];
    slot = &change.replaced;
    if (slot->item) continue;
    bytes_ -= cost(change);
    change.replaced = std::move(older);
    bytes_ += cost(change);
    return;
  }
}

}  // namespace skiff::store
