#include "skiff/pki/seal.hpp"

#include <catch2/catch_test_macros.hpp>

#include <set>

#include "ok.hpp"

using namespace skiff;
using namespace skiff::pki;

namespace {

SealKeys keys(std::uint64_t seed) {
  SeededRandom random(seed);
  return SealKeys::generate(random);
}

}  // namespace

TEST_CASE("what is sealed opens again, under its own name only") {
  SeededRandom random(1);
  const SealKeys ring = keys(7);
  for (const std::string& value :
       {std::string(), std::string("x"), std::string(100'000, 'v'), std::string("\0\xff", 2)}) {
    const std::string sealed = ring.seal(random, "/core/secrets/a/b", value);
    CHECK(sealed.size() == value.size() + kSealOverhead);
    CHECK(sealed_with(sealed) == ring.ids().front());
    const auto opened = ring.open("/core/secrets/a/b", sealed);
    REQUIRE(ok(opened));
    CHECK(*opened == value);
    for (const char* other : {"/core/secrets/a/c", "/core/secrets/a/", ""}) {
      const auto moved = ring.open(other, sealed);
      REQUIRE_FALSE(moved.has_value());
      CHECK(moved.error().code == Code::invalid);
    }
  }
}

TEST_CASE("the value does not show, and no two envelopes are alike") {
  SeededRandom random(2);
  const SealKeys ring = keys(7);
  const std::string value = "the password is swordfish";
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string sealed = ring.seal(random, "k", value);
    CHECK(sealed.find("swordfish") == std::string::npos);
    CHECK(seen.insert(sealed).second);
  }
}

TEST_CASE("every changed bit and every cut is noticed") {
  SeededRandom random(3);
  const SealKeys ring = keys(7);
  const std::string sealed = ring.seal(random, "k", "value");
  for (std::size_t i = 0; i < sealed.size() * 8; ++i) {
    std::string altered = sealed;
    altered[i / 8] = static_cast<char>(altered[i / 8] ^ (1 << (i % 8)));
    CHECK_FALSE(ring.open("k", altered).has_value());
  }
  for (std::size_t n = 0; n < sealed.size(); ++n)
    CHECK_FALSE(ring.open("k", sealed.substr(0, n)).has_value());
  CHECK_FALSE(ring.open("k", sealed + "x").has_value());
}

TEST_CASE("a new key seals, older ones still open, and a lost one is named") {
  SeededRandom random(4);
  const SealKeys old = keys(7);
  const std::string before = old.seal(random, "k", "value");
  const SealKeys both = old.with_new_key(random);
  CHECK(both.size() == 2);
  CHECK(both.ids()[1] == old.ids()[0]);
  CHECK(ok(both.open("k", before)));
  const std::string after = both.seal(random, "k", "value");
  CHECK(sealed_with(after) == both.ids()[0]);
  const SealKeys only_new = both.keep(1);
  CHECK(only_new.ids() == std::vector<std::string>{both.ids()[0]});
  CHECK(ok(only_new.open("k", after)));
  const auto lost = only_new.open("k", before);
  REQUIRE_FALSE(lost.has_value());
  CHECK(lost.error().code == Code::not_found);
  CHECK(lost.error().message.find(old.ids()[0]) != std::string::npos);
}

TEST_CASE("keys are put beside others, before or after them, once each") {
  const SealKeys a = keys(1);
  const SealKeys b = keys(2);
  const std::string ia = a.ids()[0];
  const std::string ib = b.ids()[0];
  CHECK(a.with(b, true).ids() == std::vector<std::string>{ib, ia});
  CHECK(a.with(b, false).ids() == std::vector<std::string>{ia, ib});
  CHECK(a.with(b, false).with(b, true).ids() == std::vector<std::string>{ib, ia});
  CHECK(a.with(a, false).ids() == std::vector<std::string>{ia});
}

TEST_CASE("a file of keys") {
  const std::string a = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
  const std::string b = "/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
  const auto ring = SealKeys::parse("# since May\n\n  " + a + " \r\n" + b + "\n" + a);
  REQUIRE(ok(ring));
  CHECK(ring->size() == 2);
  CHECK(ring->to_text() == a + "\n" + b + "\n");
  const auto again = SealKeys::parse(ring->to_text());
  REQUIRE(ok(again));
  CHECK(again->ids() == ring->ids());

  struct Row {
    std::string text;
    const char* message;
  };
  const Row rows[] = {
      {"", "there is no key in it"},
      {"# nothing\n", "there is no key in it"},
      {a + "\nhunter2\n", "line 2 is no key: want 32 bytes in base64"},
      {"AAECAwQFBgcICQoLDA0ODw==\n", "line 1 is no key"},
  };
  for (const Row& row : rows) {
    const auto refused = SealKeys::parse(row.text);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.starts_with(row.message));
    CHECK(refused.error().message.find("hunter2") == std::string::npos);
  }
}
