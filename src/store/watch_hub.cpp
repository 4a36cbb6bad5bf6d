#include "watch_hub.hpp"

#include <algorithm>

namespace skiff::store {
namespace {

// Changes that one look at the history may cost the loop.
constexpr std::size_t kCatchUpStep = 4096;

bool has(const Attributes& attributes, const std::pair<std::string, std::string>& wanted) {
  return std::find(attributes.begin(), attributes.end(), wanted) != attributes.end();
}

bool is_single_key(const Range& range) {
  return range.end.size() == range.begin.size() + 1 && range.end.back() == '\0' &&
         range.end.compare(0, range.begin.size(), range.begin) == 0;
}

class WatchHandle final : public Watch {
 public:
  WatchHandle(std::shared_ptr<WatchHub> hub, std::unique_ptr<Watcher> watcher)
      : hub_(std::move(hub)), watcher_(std::move(watcher)) {}
  ~WatchHandle() override { hub_->remove(*watcher_); }

  Task<Result<std::vector<Event>>> next() override {
    for (;;) {
      auto events = hub_->take(*watcher_);
      if (!events || !events->empty()) co_return events;
      if (watcher_->place == Watcher::Place::lagging && !watcher_->waiting) {
        co_await yield();
      } else {
        co_await watcher_->wake.wait();
      }
    }
  }
  Result<std::vector<Event>> poll() override { return hub_->take(*watcher_); }
  Revision progress() const override { return hub_->progress(*watcher_); }

 private:
  std::shared_ptr<WatchHub> hub_;
  std::unique_ptr<Watcher> watcher_;
};

}  // namespace

RangeTable::Segments::iterator RangeTable::edge(const std::string& at) {
  auto it = segments_.lower_bound(at);
  if (it == segments_.end() || it->first != at) {
    // Cutting a segment: the upper part is covered by the same ranges.
    Segment upper;
    if (it != segments_.begin()) upper.groups = std::prev(it)->second.groups;
    it = segments_.emplace_hint(it, at, std::move(upper));
  }
  ++it->second.edges;
  return it;
}

void RangeTable::drop_edge(const std::string& at) {
  const auto it = segments_.find(at);
  if (--it->second.edges == 0) segments_.erase(it);
}

WatchGroup& RangeTable::join(const Range& range) {
  auto& group = groups_[{range.begin, range.end}];
  if (group) return *group;
  group = std::make_unique<WatchGroup>();
  group->begin = range.begin;
  group->end = range.end;
  const auto last = range.end.empty() ? segments_.end() : edge(range.end);
  for (auto it = edge(range.begin); it != last && it != segments_.end(); ++it) {
    it->second.groups.push_back(group.get());
  }
  return *group;
}

void RangeTable::leave(WatchGroup& group) {
  const auto last = group.end.empty() ? segments_.end() : segments_.find(group.end);
  for (auto it = segments_.find(group.begin); it != last; ++it) {
    std::erase(it->second.groups, &group);
  }
  drop_edge(group.begin);
  if (!group.end.empty()) drop_edge(group.end);
  groups_.erase({group.begin, group.end});
}

std::unique_ptr<Watch> WatchHub::add(WatchOptions options, Revision now, bool wait) {
  now_ = now;
  if (options.after == 0) options.after = now;
  auto watcher = std::make_unique<Watcher>(std::move(options), executor_);
  watcher->cursor = watcher->options.after;
  ++watchers_;
  join(*watcher, lagging_, Watcher::Place::lagging);
  watcher->waiting = wait;
  if (!wait) catch_up(*watcher);
  return std::make_unique<WatchHandle>(shared_from_this(), std::move(watcher));
}

void WatchHub::past_loaded(Revision start) {
  for (Watcher* watcher : lagging_.members) {
    if (!watcher->waiting) continue;
    watcher->waiting = false;
    if (watcher->cursor < start) {
      ++expired_;
      fail(*watcher,
           {Code::expired, "revision " + std::to_string(watcher->cursor) +
                               " is too old to watch from: list again and watch from there"});
    }
    watcher->wake.notify_all();
  }
  settle(now_);
}

void WatchHub::enter(Watcher& watcher) {
  leave(watcher);
  const WatchOptions& options = watcher.options;
  if (options.attribute) {
    join(watcher, by_attribute_[*options.attribute], Watcher::Place::attribute);
  } else if (is_single_key(options.range)) {
    join(watcher, by_key_[options.range.begin], Watcher::Place::key);
  } else {
    join(watcher, ranges_.join(options.range), Watcher::Place::range);
  }
}

void WatchHub::join(Watcher& watcher, WatchGroup& group, Watcher::Place place) {
  watcher.place = place;
  watcher.group = &group;
  watcher.position = group.members.size();
  group.members.push_back(&watcher);
}

void WatchHub::leave(Watcher& watcher) {
  WatchGroup* group = watcher.group;
  if (group == nullptr) return;
  group->members.back()->position = watcher.position;
  group->members[watcher.position] = group->members.back();
  group->members.pop_back();
  if (group->members.empty()) {
    switch (watcher.place) {
      case Watcher::Place::key:
        by_key_.erase(watcher.options.range.begin);
        break;
      case Watcher::Place::attribute:
        by_attribute_.erase(*watcher.options.attribute);
        break;
      case Watcher::Place::range:
        ranges_.leave(*group);
        break;
      case Watcher::Place::lagging:
      case Watcher::Place::none:
        break;
    }
  }
  watcher.group = nullptr;
  watcher.place = Watcher::Place::none;
}

void WatchHub::remove(Watcher& watcher) {
  leave(watcher);
  --watchers_;
}

bool WatchHub::matches(const Watcher& watcher, const Change& change) {
  if (!watcher.options.range.contains(change.item->key)) return false;
  if (!watcher.options.attribute) return true;
  if (has(change.item->attributes, *watcher.options.attribute)) return true;
  const ItemPtr* previous = change.previous();
  return previous != nullptr && has((*previous)->attributes, *watcher.options.attribute);
}

void WatchHub::offer(Watcher& watcher, const Change& change) {
  const Revision revision = change.revision();
  if (watcher.over || revision <= watcher.options.after || revision == watcher.offered) return;
  watcher.offered = revision;
  if (!watcher.touched) {
    watcher.touched = true;
    touched_.push_back(&watcher);
  }
  if (watcher.pending.size() >= watcher.options.max_pending) {
    ++expired_;
    fail(watcher,
         {Code::expired, "the watch fell more than " + std::to_string(watcher.options.max_pending) +
                             " events behind: list again and watch from there"});
    return;
  }
  ++events_;
  watcher.pending.push_back(change.event());
}

void WatchHub::fail(Watcher& watcher, Error error) {
  finish(watcher, std::move(error));
  failed_.push_back(&watcher);  // its group is being walked: it leaves in settle()
}

// What it was not given yet it never will be: nobody may be told that it got further.
void WatchHub::finish(Watcher& watcher, Error error) {
  watcher.cursor = progress(watcher);
  watcher.over = std::move(error);
  watcher.pending = {};
}

void WatchHub::offer_attributes(const Change& change, const Attributes& attributes) {
  for (const auto& attribute : attributes) {
    const auto it = by_attribute_.find(attribute);
    if (it == by_attribute_.end()) continue;
    for (Watcher* watcher : it->second.members) {
      if (watcher->options.range.contains(change.item->key)) offer(*watcher, change);
    }
  }
}

void WatchHub::publish(const Change& change) {
  ranges_.each_covering(change.item->key, [&](WatchGroup& group) {
    for (Watcher* watcher : group.members) offer(*watcher, change);
  });
  if (!by_key_.empty()) {
    const auto it = by_key_.find(change.item->key);
    if (it != by_key_.end()) {
      for (Watcher* watcher : it->second.members) offer(*watcher, change);
    }
  }
  if (by_attribute_.empty()) return;
  offer_attributes(change, change.item->attributes);
  const ItemPtr* previous = change.previous();
  if (previous != nullptr && (*previous)->attributes != change.item->attributes) {
    offer_attributes(change, (*previous)->attributes);
  }
}

void WatchHub::settle(Revision now) {
  now_ = now;
  for (Watcher* watcher : failed_) leave(*watcher);
  failed_.clear();
  for (Watcher* watcher : touched_) {
    watcher->touched = false;
    watcher->wake.notify_all();
  }
  touched_.clear();
}

void WatchHub::before_drop(const Change& change) {
  if (lagging_.members.empty()) return;
  for (Watcher* watcher : lagging_.members) {
    if (watcher->waiting || watcher->cursor >= change.revision()) continue;
    watcher->cursor = change.revision();
    if (matches(*watcher, change)) offer(*watcher, change);
  }
  settle(now_);
}

void WatchHub::catch_up(Watcher& watcher) {
  std::size_t i = history_->first_after(watcher.cursor);
  const std::size_t stop = std::min(history_->size(), i + kCatchUpStep);
  for (; i < stop && watcher.pending.size() < watcher.options.max_pending; ++i) {
    const Change& change = (*history_)[i];
    watcher.cursor = change.revision();
    if (!matches(watcher, change)) continue;
    ++events_;
    watcher.pending.push_back(change.event());
  }
  if (i == history_->size()) enter(watcher);
}

Result<std::vector<Event>> WatchHub::take(Watcher& watcher) {
  if (watcher.over) return *watcher.over;
  if (watcher.pending.empty() && watcher.place == Watcher::Place::lagging && !watcher.waiting) {
    catch_up(watcher);
  }
  return std::exchange(watcher.pending, {});
}

Revision WatchHub::progress(const Watcher& watcher) const {
  const bool behind = watcher.over || watcher.place == Watcher::Place::lagging;
  Revision reached = behind ? watcher.cursor : now_;
  if (!watcher.pending.empty()) reached = watcher.pending.front().revision() - 1;
  return std::max(reached, watcher.options.after);
}

void WatchHub::end_all(const Error& error) {
  const auto end = [&](std::vector<Watcher*> members) {
    for (Watcher* watcher : members) {
      finish(*watcher, error);
      leave(*watcher);
      watcher->wake.notify_all();
    }
  };
  end(lagging_.members);
  while (!by_key_.empty()) end(by_key_.begin()->second.members);
  while (!by_attribute_.empty()) end(by_attribute_.begin()->second.members);
  ranges_.each_group([&](WatchGroup& group) { end(group.members); });
}

void WatchHub::close(const Error& error) {
  end_all(error);
  history_ = nullptr;
}

}  // namespace skiff::store
