// What happened within the window, in revision order: serves reads at older revisions and watches
// that resume.
#pragma once

#include <deque>

#include "index.hpp"
#include "skiff/store/store.hpp"

namespace skiff::store {

// One published Op.
struct Change {
  ItemPtr item;
  Slot replaced;  // what the key held before; item null: nothing
  bool erase = false;
  bool is_volatile = false;
  WallTime time{};
  Author author;

  Revision revision() const { return item->modified; }
  const ItemPtr* previous() const {
    return replaced.item && !replaced.erased ? &replaced.item : nullptr;
  }
  Event event() const {
    return {erase ? Event::Type::erase : Event::Type::put, item,
            replaced.erased ? nullptr : replaced.item};
  }
  Record record() const {
    const ItemPtr* before = previous();
    return {item, before != nullptr ? (*before)->modified : 0, erase, is_volatile, time, author};
  }
};

// A key's version chain costs nothing of its own: a version leads to the change that made it, and
// that change to the version before.
class History {
 public:
  void push(Change change);
  // A change older than all: what the log remembers, read back.
  void push_front(Change change);
  // The oldest change, which must exist.
  const Change& front() const { return changes_.front(); }
  void pop_front();

  bool empty() const noexcept { return changes_.empty(); }
  std::size_t size() const noexcept { return changes_.size(); }
  const Change& operator[](std::size_t i) const { return changes_[i]; }
  // Number of the first change with a greater revision; size() when there is none.
  std::size_t first_after(Revision revision) const;

  // The version that the key of `newest` had at revision `at`; null when it had none.
  ItemPtr version_at(const Slot& newest, Revision at) const;
  // Puts `older` before all versions of the key of `newest`, unless something is known there.
  void put_before(const Slot& newest, Slot older);

  // Memory that is held for the past only.
  std::size_t bytes() const noexcept { return bytes_; }
  static std::size_t cost(const Change& change);
  static std::size_t size_of(const Item& item) {
    return sizeof(Item) + item.key.capacity() + item.value.capacity() + 64 * item.attributes.size();
  }

 private:
  // The change that made that version.
  std::size_t maker(const Item& item) const;

  std::deque<Change> changes_;
  std::size_t bytes_ = 0;
};

}  // namespace skiff::store
