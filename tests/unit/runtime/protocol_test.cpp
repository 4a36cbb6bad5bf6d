#include "protocol.hpp"

#include <catch2/catch_test_macros.hpp>

#include "skiff/base/random.hpp"
#include "steps.hpp"

using namespace skiff;
using namespace skiff::runtime;
using namespace skiff::runtime::protocol;

TEST_CASE("frames survive the journey") {
  Frame frame(Type::start, 77, 2);
  frame.put(Tag::container, "abc").put(Tag::exit_code, std::uint64_t{137});
  frame.put(Tag::message, "").put(Tag::steps, std::string(3000, '\0'));
  std::string bytes = frame.finish() + Frame(Type::ok, 78).finish();
  Message m;
  std::size_t used = 0;
  REQUIRE(parse(bytes, m, used) == Parse::message);
  CHECK(m.type == Type::start);
  CHECK(m.request == 77);
  CHECK(m.descriptors == 2);
  CHECK(m.text(Tag::container) == "abc");
  CHECK(m.number(Tag::exit_code) == 137);
  CHECK(m.has(Tag::message));
  CHECK(m.text(Tag::message).empty());
  CHECK(m.text(Tag::steps).size() == 3000);
  CHECK(!m.has(Tag::pid));
  CHECK(m.number(Tag::pid) == 0);
  CHECK(m.number(Tag::container) == 0);  // not a number's size
  std::string_view rest = std::string_view(bytes).substr(used);
  REQUIRE(parse(rest, m, used) == Parse::message);
  CHECK(m.type == Type::ok);
  CHECK(m.fields.empty());
  CHECK(used == rest.size());
}

TEST_CASE("a frame in pieces is waited for, a damaged one is refused") {
  std::string bytes = Frame(Type::stop, 1).put(Tag::container, "abc").finish();
  Message m;
  std::size_t used = 0;
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CHECK(parse(std::string_view(bytes).substr(0, n), m, used) == Parse::more);
  }
  auto damaged = [&](std::size_t at, char value) {
    std::string copy = bytes;
    copy[at] = value;
    return parse(copy, m, used);
  };
  CHECK(damaged(3, '\x7f') == Parse::damaged);   // longer than any frame
  CHECK(damaged(0, '\x01') == Parse::damaged);   // shorter than a header
  CHECK(damaged(6, '\x40') == Parse::damaged);   // more descriptors than fit
  CHECK(damaged(18, '\x7f') == Parse::damaged);  // a field beyond the frame
}

TEST_CASE("no garbage upsets the parsers") {
  SeededRandom random(7);
  std::string good = Frame(Type::exec, 5).put(Tag::steps, "xyz").put(Tag::port, 80U).finish();
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    if (round % 2 == 0) {
      bytes.resize(random.below(64));
      for (char& c : bytes) c = static_cast<char>(random.below(round % 4 == 0 ? 4 : 256));
    } else {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    Message m;
    std::size_t used = 0;
    if (parse(bytes, m, used) == Parse::message) {
      CHECK(used <= bytes.size());
      (void)m.text(Tag::steps);
      (void)m.number(Tag::port);
    }
    StepReader reader(bytes);
    Step step{};
    std::string_view payload;
    while (reader.next(step, payload)) {
      StepFields fields(payload);
      while (fields.ok() && !fields.done()) {
        if (random.below(2) == 0) {
          fields.number();
        } else {
          CHECK(fields.view().data()[fields.view().size()] == '\0');
        }
      }
      CHECK(!describe(step).empty());
    }
  }
}

TEST_CASE("steps survive the journey") {
  std::string plan = StepWriter()
                         .begin(Step::mount)
                         .text("proc")
                         .number(14)
                         .text("")
                         .begin(Step::session)
                         .begin(Step::umask)
                         .number(022)
                         .finish();
  StepReader reader(plan);
  Step step{};
  std::string_view payload;
  REQUIRE(reader.next(step, payload));
  CHECK(step == Step::mount);
  StepFields f(payload);
  CHECK(std::string_view(f.text()) == "proc");
  CHECK(f.number() == 14);
  CHECK(f.view().empty());
  CHECK(f.ok());
  CHECK(f.done());
  CHECK(f.number() == 0);
  CHECK(!f.ok());
  REQUIRE(reader.next(step, payload));
  CHECK(step == Step::session);
  CHECK(payload.empty());
  REQUIRE(reader.next(step, payload));
  CHECK(!reader.next(step, payload));
  CHECK(!reader.damaged());
  StepReader cut(std::string_view(plan).substr(0, plan.size() - 1));
  while (cut.next(step, payload)) {
  }
  CHECK(cut.damaged());
  CHECK(describe(static_cast<Step>(999)).starts_with("an unknown step"));
}
