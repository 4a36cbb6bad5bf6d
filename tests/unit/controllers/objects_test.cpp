#include "objects.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::controllers;

TEST_CASE("int-or-percent rounds as asked") {
  struct Row {
    Value value;
    std::int64_t total;
    bool up;
    std::int64_t want;
  };
  const std::vector<Row> rows{
      {1, 10, true, 1},          {Value("25%"), 10, true, 3},  {Value("25%"), 10, false, 2},
      {Value("0%"), 5, true, 0}, {Value("100%"), 7, false, 7}, {Value("150%"), 3, true, 5},
      {Value("3"), 10, true, 3}, {Value("x%"), 10, true, 0},   {Value(), 10, true, 42},
  };
  for (const Row& row : rows) {
    INFO(api::to_json(row.value) << " of " << row.total);
    CHECK(int_or_percent(row.value, row.total, row.up, 42) == row.want);
  }
}

TEST_CASE("a template's hash does not depend on the order of members, but on collisions") {
  const Value a =
      *api::parse_json(R"({"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"x":null}})");
  const Value b = *api::parse_json(R"({"spec":{},"metadata":{"labels":{"b":"2","a":"1"}}})");
  CHECK(template_hash(a, std::nullopt) == template_hash(b, std::nullopt));
  CHECK(template_hash(a, 1) != template_hash(a, std::nullopt));
  CHECK(template_hash(a, 1) != template_hash(a, 2));
  const std::string hash = template_hash(a, std::nullopt);
  CHECK(hash.find_first_not_of("bcdfghjklmnpqrstvwxz2456789") == std::string::npos);
}

TEST_CASE("conditions keep their transition time while their status stays") {
  const WallTime t1{std::chrono::seconds(100)};
  const WallTime t2{std::chrono::seconds(200)};
  Value status;
  CHECK(set_condition(status, make_condition("Ready", "True", "A", "", t1)));
  CHECK_FALSE(set_condition(status, make_condition("Ready", "True", "A", "", t2)));
  CHECK(set_condition(status, make_condition("Ready", "True", "B", "", t2)));
  CHECK(condition(status, "Ready")["lastTransitionTime"].as_string() == format_time(t1));
  CHECK(set_condition(status, make_condition("Ready", "False", "B", "", t2)));
  CHECK(condition(status, "Ready")["lastTransitionTime"].as_string() == format_time(t2));
  CHECK(erase_condition(status, "Ready"));
  CHECK_FALSE(erase_condition(status, "Ready"));
  CHECK(condition(status, "Ready").is_null());
}
