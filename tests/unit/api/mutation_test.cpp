// The fuzz target's properties, from seeds.
#include <catch2/catch_test_macros.hpp>

#include "skiff/base/random.hpp"
#include "support/api_objects.hpp"

TEST_CASE("random objects of every kind decode, default and validate soundly") {
  std::vector<std::uint8_t> bytes(1500);
  for (std::uint64_t seed = 0; seed < 4000; ++seed) {
    skiff::SeededRandom random(seed);
    random.fill(bytes);
    std::string wrong = skiff::api::test::check_one(bytes);
    INFO("seed " << seed);
    REQUIRE(wrong == "");
  }
}
