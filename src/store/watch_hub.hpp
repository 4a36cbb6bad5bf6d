// Who is told of a change. Watches are found by attribute, by exact key or by range, so that a
// change costs what the watches it concerns cost.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "history.hpp"
#include "skiff/store/store.hpp"

namespace skiff::store {

struct Watcher;

// Watchers that are found together.
struct WatchGroup {
  std::vector<Watcher*> members;
  std::string begin;  // of range groups
  std::string end;
};

struct Watcher {
  enum class Place : std::uint8_t { none, lagging, key, range, attribute };

  Watcher(WatchOptions o, Executor executor) : options(std::move(o)), wake(std::move(executor)) {}

  WatchOptions options;
  std::vector<Event> pending;
  std::optional<Error> over;
  Signal wake;
  Place place = Place::none;
  WatchGroup* group = nullptr;
  std::size_t position = 0;  // in the group's members
  Revision cursor = 0;       // lagging: changes up to here were offered; over: it got up to here
  Revision offered = 0;      // last change offered: one may be found by several attributes
  bool touched = false;      // to be woken at the end of this batch
  bool waiting = false;      // lagging, and what it must read first is not in the history yet
};

// Covers the key space with segments, each knowing which ranges contain it. Looking up a key costs
// one search plus the ranges that match.
class RangeTable {
 public:
  WatchGroup& join(const Range& range);
  void leave(WatchGroup& group);  // call when it has no members left; destroys it

  template <class F>
  void each_covering(std::string_view key, F visit) const {
    auto it = segments_.upper_bound(key);
    if (it == segments_.begin()) return;
    for (WatchGroup* group : std::prev(it)->second.groups) visit(*group);
  }
  // `visit` may empty the group, which takes it off the table.
  template <class F>
  void each_group(F visit) {
    for (auto it = groups_.begin(); it != groups_.end();) visit(*(it++)->second);
  }

 private:
  struct Segment {
    std::vector<WatchGroup*> groups;
    std::size_t edges = 0;  // how many ranges begin or end here
  };
  using Segments = std::map<std::string, Segment, std::less<>>;
  Segments::iterator edge(const std::string& at);
  void drop_edge(const std::string& at);

  Segments segments_;  // by their first key
  std::map<std::pair<std::string, std::string>, std::unique_ptr<WatchGroup>> groups_;
};

// A watch that starts in the past first reads the history (it lags); from the moment it has caught
// up, changes are pushed to it. Lives as long as the store or the longest watch.
class WatchHub : public std::enable_shared_from_this<WatchHub> {
 public:
  WatchHub(Executor executor, const History& history) : executor_(executor), history_(&history) {}

  // `now` is the newest published revision. With `wait` the history does not reach back far enough
  // yet: the watch gets nothing until past_loaded().
  std::unique_ptr<Watch> add(WatchOptions options, Revision now, bool wait);
  // Every change after `start` is in the history, and nothing older will come: watches that wait
  // for more end with expired.
  void past_loaded(Revision start);

  void publish(const Change& change);
  // After the last change of a batch: everything up to `now` was published. Wakes who has news.
  void settle(Revision now);
  // The history is about to forget `change`: lagging watches get it first.
  void before_drop(const Change& change);
  // Ends every watch with `error`: what they read is no longer what happened.
  void end_all(const Error& error);
  // The same, for good: the history may go.
  void close(const Error& error);

  std::size_t size() const noexcept { return watchers_; }
  std::uint64_t events() const noexcept { return events_; }
  std::uint64_t expired() const noexcept { return expired_; }

  // For the Watch handles.
  Result<std::vector<Event>> take(Watcher& watcher);
  Revision progress(const Watcher& watcher) const;
  void remove(Watcher& watcher);

 private:
  struct AttributeHash {
    std::size_t operator()(const std::pair<std::string, std::string>& a) const noexcept {
      return std::hash<std::string>()(a.first) * 31 + std::hash<std::string>()(a.second);
    }
  };

  static bool matches(const Watcher& watcher, const Change& change);
  void offer(Watcher& watcher, const Change& change);
  void offer_attributes(const Change& change, const Attributes& attributes);
  void fail(Watcher& watcher, Error error);
  void finish(Watcher& watcher, Error error);
  void catch_up(Watcher& watcher);
  void enter(Watcher& watcher);  // where its options say
  void join(Watcher& watcher, WatchGroup& group, Watcher::Place place);
  void leave(Watcher& watcher);

  Executor executor_;
  const History* history_;
  Revision now_ = 0;
  std::size_t watchers_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t expired_ = 0;
  RangeTable ranges_;
  std::unordered_map<std::string, WatchGroup> by_key_;
  std::unordered_map<std::pair<std::string, std::string>, WatchGroup, AttributeHash> by_attribute_;
  WatchGroup lagging_;
  std::vector<Watcher*> touched_;
  std::vector<Watcher*> failed_;
};

}  // namespace skiff::store
