#include "support/watch_checker.hpp"

#include <algorithm>

namespace skiff::test {
namespace {

std::string number(std::int64_t n) { return std::to_string(n); }

}  // namespace

std::string describe(const WatchedChange& c) {
  std::string out = (c.erase ? "erase " : "put ") + c.key + " @" + number(c.revision);
  if (c.previous != 0) out += " over " + number(c.previous);
  return out + " value " + std::to_string(c.value);
}

std::string CommittedChanges::add(const WatchedChange& change) {
  const auto [it, is_new] = changes_.emplace(change.revision, change);
  if (is_new || it->second == change) return "";
  return "one revision, two changes: " + describe(it->second) + ", and " + describe(change);
}

std::string WatchChecker::listed(std::int64_t revision,
                                 const std::map<std::string, std::int64_t>& seen) {
  if (revision < position_) {
    return "a list at " + number(revision) + " after events up to " + number(position_);
  }
  for (const auto& [key, modified] : seen) {
    if (modified > revision) {
      return "a list at " + number(revision) + " has " + key + " @" + number(modified);
    }
  }
  position_ = revision;
  state_ = seen;
  stretches_.push_back({revision, revision, {}});
  return "";
}

std::string WatchChecker::started(std::int64_t after) {
  if (stretches_.empty()) {
    position_ = after;
    stretches_.push_back({after, after, {}});
    return "";
  }
  if (after == position_) return "";
  return "a watch after " + number(after) + " by a reader that is at " + number(position_);
}

std::string WatchChecker::event(const WatchedChange& change) {
  if (stretches_.empty()) return "an event before the watch began: " + describe(change);
  if (!mine(change.key)) return "an event of another range: " + describe(change);
  if (change.revision <= position_) {
    return "repeated or out of order, at " + number(position_) + ": " + describe(change);
  }
  if (auto wrong = committed_.add(change); !wrong.empty()) return wrong;
  position_ = change.revision;
  ++events_;
  stretches_.back().shown.push_back(change.revision);
  stretches_.back().through = position_;
  const auto known = state_.find(change.key);
  if (known != state_.end() && known->second != change.previous) {
    return "the reader has " + change.key + " @" + number(known->second) +
           ", but the event says: " + describe(change);
  }
  if (change.erase) {
    state_.erase(change.key);
  } else {
    state_[change.key] = change.revision;
  }
  return "";
}

std::string WatchChecker::bookmark(std::int64_t revision) {
  if (stretches_.empty()) return "a bookmark before the watch began";
  if (revision < position_) {
    return "a bookmark at " + number(revision) + " after events up to " + number(position_);
  }
  position_ = revision;
  stretches_.back().through = revision;
  return "";
}

std::string WatchChecker::finish() const {
  const auto& all = committed_.all();
  for (const Stretch& s : stretches_) {
    for (auto it = all.upper_bound(s.from); it != all.end() && it->first <= s.through; ++it) {
      if (!mine(it->second.key)) continue;
      if (std::binary_search(s.shown.begin(), s.shown.end(), it->first)) continue;
      return "not shown between " + number(s.from) + " and " + number(s.through) + ": " +
             describe(it->second);
    }
  }
  return "";
}

}  // namespace skiff::test
