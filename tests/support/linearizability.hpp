// Was a history of one register linearizable? Operations have a beginning and an end; the question
// is whether each can be given one moment between the two so that every answer is right (Herlihy
// and Wing, 1990). The search is Wing and Gong's with Lowe's memo of states already tried.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace skiff::test {

// What a client did to one key. Values are versions: every write that happens makes a new one, and
// 0 is "not there".
struct Operation {
  enum class Kind : std::uint8_t {
    read,   // saw `value`
    write,  // made `value`, whatever was there
    cas,    // made `value` where `expect` was
    fail,   // a compare-and-swap that was refused: `expect` was not there
  };
  enum class Outcome : std::uint8_t {
    known,
    unknown,  // it may have happened at any time since `begin`, or never
  };
  Kind kind = Kind::read;
  Outcome outcome = Outcome::known;
  std::int64_t begin = 0;
  std::int64_t end = std::numeric_limits<std::int64_t>::max();  // ignored when unknown
  std::int64_t value = 0;
  std::int64_t expect = 0;
  std::string who;  // for the report
};

struct LinearizabilityResult {
  enum class Verdict : std::uint8_t { yes, no, gave_up };  // gave_up: `bound` was reached
  Verdict verdict = Verdict::yes;
  // no: the longest prefix that could be ordered, and who could not come next.
  std::string explanation;
  std::size_t tried = 0;  // states
};

// `initial` is what the key held before. Operations in any order. An unknown read says nothing and
// is left out. At most `bound` states are tried.
LinearizabilityResult check_linearizable(std::vector<Operation> history, std::int64_t initial = 0,
                                         std::size_t bound = 2'000'000);

std::string describe(const Operation& operation);

}  // namespace skiff::test
