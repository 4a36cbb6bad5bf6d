// The checkers that simulations rely on find what they are there to find.
#include <catch2/catch_test_macros.hpp>

#include "fixture_shared.hpp"
#include "support/linearizability.hpp"
#include "support/watch_checker.hpp"

namespace skiff::test {
namespace {

using Kind = Operation::Kind;
using Verdict = LinearizabilityResult::Verdict;

Operation known(Kind kind, std::int64_t begin, std::int64_t end, std::int64_t value,
                std::int64_t expect = 0) {
  return {kind, Operation::Outcome::known, begin, end, value, expect, "c"};
}
Operation unknown(Kind kind, std::int64_t begin, std::int64_t value, std::int64_t expect = 0) {
  Operation o = known(kind, begin, begin + 1, value, expect);
  o.outcome = Operation::Outcome::unknown;
  return o;
}
Verdict check(std::vector<Operation> history) {
  return check_linearizable(std::move(history)).verdict;
}

// A register that behaves, used by clients that overlap: each acts at one moment of its span.
std::vector<Operation> honest(SeededRandom& random, int count) {
  std::vector<Operation> out;
  std::int64_t value = 0;
  for (int i = 1; i <= count; ++i) {
    const std::int64_t moment = i * 10;
    const auto before = static_cast<std::int64_t>(random.below(40));
    const auto after = static_cast<std::int64_t>(random.below(40));
    Operation o = known(Kind::read, moment - before, moment + after, value);
    switch (random.below(4)) {
      case 0:
        o.kind = Kind::write;
        break;
      case 1:
        o.kind = random.below(2) == 0 ? Kind::cas : Kind::fail;
        o.expect = o.kind == Kind::cas ? value : value + 1000;
        break;
      default:
        break;
    }
    if (o.kind == Kind::write || o.kind == Kind::cas) {
      value = o.value = i;
      if (random.below(8) == 0) o.outcome = Operation::Outcome::unknown;
    }
    out.push_back(o);
  }
  return out;
}

}  // namespace

TEST_CASE("linearizability by hand") {
  // One after the other.
  CHECK(check({known(Kind::write, 1, 2, 5), known(Kind::read, 3, 4, 5)}) == Verdict::yes);
  CHECK(check({known(Kind::write, 1, 2, 5), known(Kind::read, 3, 4, 0)}) == Verdict::no);
  // At once: either order will do, but two readers one after the other see one order.
  CHECK(check({known(Kind::write, 1, 9, 5), known(Kind::read, 3, 4, 0)}) == Verdict::yes);
  CHECK(check({known(Kind::write, 1, 9, 5), known(Kind::read, 2, 3, 5),
               known(Kind::read, 4, 5, 0)}) == Verdict::no);
  // Two compare-and-swaps of one version cannot both win, and one that lost saw another version.
  CHECK(check({known(Kind::cas, 1, 5, 7, 0), known(Kind::cas, 2, 6, 8, 0)}) == Verdict::no);
  CHECK(check({known(Kind::cas, 1, 5, 7, 0), known(Kind::fail, 2, 6, 0, 0)}) == Verdict::yes);
  CHECK(check({known(Kind::fail, 1, 2, 0, 0), known(Kind::cas, 3, 5, 7, 0)}) == Verdict::no);
  // What is not known may have happened late, or never; not before it was asked for.
  CHECK(check({unknown(Kind::write, 1, 5), known(Kind::read, 20, 21, 0),
               known(Kind::read, 30, 31, 5)}) == Verdict::yes);
  CHECK(check({unknown(Kind::write, 1, 5), known(Kind::read, 20, 21, 0)}) == Verdict::yes);
  CHECK(check({unknown(Kind::write, 10, 5), known(Kind::read, 1, 2, 5)}) == Verdict::no);
  CHECK(check({unknown(Kind::write, 1, 5), known(Kind::read, 20, 21, 5),
               known(Kind::read, 30, 31, 0)}) == Verdict::no);
  CHECK(check({unknown(Kind::cas, 1, 5, 3), known(Kind::read, 20, 21, 5)}) == Verdict::no);
  CHECK(check({}) == Verdict::yes);
}

TEST_CASE("honest histories pass, and any planted fault is found") {
  int planted = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    SeededRandom random(seed);
    const auto history = honest(random, 300);
    const auto result = check_linearizable(history);
    INFO(result.explanation);
    REQUIRE(result.verdict == Verdict::yes);
    // A read of what was overwritten well before it began.
    for (std::size_t i = 100; i < history.size(); ++i) {
      if (history[i].kind != Kind::read || history[i].value == 0) continue;
      auto faulty = history;
      faulty[i].value = 0;  // nothing there: true only at the very beginning
      const auto found = check_linearizable(std::move(faulty));
      CHECK(found.verdict == Verdict::no);
      CHECK(found.explanation.find("none of these could be next") != std::string::npos);
      ++planted;
      break;
    }
    // An acknowledged write that is lost: a reader after it sees what was there long before.
    std::int64_t old = 0;
    for (const Operation& o : history) {
      const bool wrote = o.kind == Kind::write || o.kind == Kind::cas;
      if (wrote && o.outcome == Operation::Outcome::known) old = o.value;
    }
    auto lost = history;
    lost.push_back(known(Kind::write, 10'000, 10'001, 77'777));
    lost.push_back(known(Kind::read, 10'002, 10'003, old));
    CHECK(check_linearizable(std::move(lost)).verdict == Verdict::no);
  }
  CHECK(planted > 50);
}

TEST_CASE("the search gives up at its bound") {
  std::vector<Operation> history;
  for (int i = 1; i <= 40; ++i) history.push_back(known(Kind::write, 1, 100, i));
  history.push_back(known(Kind::read, 200, 201, 99));
  CHECK(check_linearizable(history, 0, 1000).verdict == Verdict::gave_up);
}

namespace {

WatchedChange put(std::int64_t revision, std::string key, std::int64_t previous = 0) {
  return {revision, std::move(key), static_cast<std::uint64_t>(revision), previous, false};
}
bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

struct Watching {
  CommittedChanges committed;
  WatchChecker reader{committed, "/a"};
  Watching() {
    for (const auto& c : {put(2, "/a1"), put(3, "/b"), put(4, "/a2"), put(6, "/a1", 2)}) {
      CHECK(committed.add(c).empty());
    }
    CHECK(reader.started(1).empty());
  }
};

}  // namespace

TEST_CASE("a watch that keeps its promises passes") {
  Watching w;
  CHECK(w.reader.event(put(2, "/a1")).empty());
  CHECK(w.reader.bookmark(3).empty());
  CHECK(w.reader.started(3).empty());
  CHECK(w.reader.event(put(4, "/a2")).empty());
  CHECK(w.reader.event(put(6, "/a1", 2)).empty());
  CHECK(w.reader.listed(9, {{"/a1", 8}}).empty());
  CHECK(w.committed.add(put(8, "/a1", 6)).empty());  // the list covers it
  CHECK(w.reader.event(put(10, "/a1", 8)).empty());
  CHECK(w.reader.finish().empty());
  CHECK(w.reader.events() == 4);
}

TEST_CASE("faults of watches are found") {
  Watching w;
  REQUIRE(w.reader.event(put(2, "/a1")).empty());
  SECTION("repeated") { CHECK(has(w.reader.event(put(2, "/a1")), "repeated")); }
  SECTION("another range") { CHECK(has(w.reader.event(put(3, "/b")), "another range")); }
  SECTION("left out") {
    CHECK(w.reader.event(put(6, "/a1", 2)).empty());
    CHECK(has(w.reader.finish(), "not shown between 1 and 6: put /a2 @4"));
  }
  SECTION("out of order") {
    CHECK(w.reader.event(put(6, "/a1", 2)).empty());
    CHECK(has(w.reader.event(put(4, "/a2")), "out of order"));
  }
  SECTION("a bookmark that promised too much") {
    CHECK(w.reader.bookmark(5).empty());
    CHECK(has(w.reader.finish(), "put /a2 @4"));
  }
  SECTION("one that is learnt of later") {
    CHECK(w.reader.event(put(4, "/a2")).empty());
    CHECK(w.reader.bookmark(5).empty());
    CHECK(w.reader.finish().empty());
    CHECK(w.committed.add(put(5, "/a9")).empty());
    CHECK(has(w.reader.finish(), "put /a9 @5"));
  }
  SECTION("a bookmark from before") { CHECK(has(w.reader.bookmark(1), "after events up to 2")); }
  SECTION("resumed too late") { CHECK(has(w.reader.started(4), "by a reader that is at 2")); }
  SECTION("resumed too early") { CHECK(has(w.reader.started(1), "by a reader that is at 2")); }
  SECTION("something that was not so") {
    auto other = put(4, "/a2");
    other.value = 99;
    CHECK(has(w.reader.event(other), "one revision, two changes"));
  }
  SECTION("a version in between is missing") {
    CHECK(has(w.reader.event(put(7, "/a1", 6)), "the reader has /a1 @2"));
  }
  SECTION("a list from before") { CHECK(has(w.reader.listed(1, {}), "a list at 1")); }
  SECTION("a list with the future") {
    CHECK(has(w.reader.listed(6, {{"/a1", 7}}), "a list at 6 has /a1 @7"));
  }
}

}  // namespace skiff::test
