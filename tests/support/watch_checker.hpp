// What a watch promises, checked against what was committed: events in revision order, each once,
// none left out, bookmarks that keep their word, and resuming that neither skips nor repeats.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace skiff::test {

// One accepted write, or one event of it.
struct WatchedChange {
  std::int64_t revision = 0;
  std::string key;
  std::uint64_t value = 0;    // a hash or a number that tells versions apart
  std::int64_t previous = 0;  // revision of the version it replaced; 0: none
  bool erase = false;
  bool operator==(const WatchedChange&) const = default;
};
std::string describe(const WatchedChange& change);

// Everything that was committed, as the checker learns of it, in any order: from acknowledgements
// and from what watches show. Two different changes with one revision are a violation, reported to
// whoever brings the second.
class CommittedChanges {
 public:
  // A sentence when it contradicts what is known; else empty.
  std::string add(const WatchedChange& change);
  const std::map<std::int64_t, WatchedChange>& all() const { return changes_; }

 private:
  std::map<std::int64_t, WatchedChange> changes_;
};

// Follows one reader of the keys that begin with `prefix`, through all its watches. Every call
// returns a sentence for what is wrong, or nothing.
class WatchChecker {
 public:
  WatchChecker(CommittedChanges& committed, std::string prefix)
      : committed_(committed), prefix_(std::move(prefix)) {}

  // It listed at this revision, and saw these keys at these revisions. What it missed until here
  // cannot be judged, but time must not run backwards.
  std::string listed(std::int64_t revision, const std::map<std::string, std::int64_t>& seen);
  // A watch begins after this revision: the reader's own position, or it would skip or repeat.
  std::string started(std::int64_t after);
  std::string event(const WatchedChange& change);
  std::string bookmark(std::int64_t revision);

  // Every event and bookmark against everything committed. May be asked at any time: what is not
  // known yet is judged when it is.
  std::string finish() const;

  std::int64_t position() const { return position_; }
  std::size_t events() const { return events_; }

 private:
  bool mine(std::string_view key) const { return key.starts_with(prefix_); }
  // A stretch of one reader's time without a list: every change of (from, through] was shown.
  struct Stretch {
    std::int64_t from = 0;
    std::int64_t through = 0;
    std::vector<std::int64_t> shown;
  };

  CommittedChanges& committed_;
  std::string prefix_;
  std::int64_t position_ = 0;
  std::size_t events_ = 0;
  std::map<std::string, std::int64_t> state_;  // key to revision, kept from events alone
  std::vector<Stretch> stretches_;
};

}  // namespace skiff::test
