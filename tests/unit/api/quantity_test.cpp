#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "skiff/api/quantity.hpp"

using namespace skiff;
using namespace skiff::api;

// Rows agree with k8s.io/apimachinery v0.35 pkg/api/resource.
TEST_CASE("quantities take their canonical form") {
  struct Row {
    std::string_view in;
    std::string_view canonical;
    std::string_view kept = "";  // what a document keeps, where it differs
  };
  const Row rows[] = {
      {"0", "0"},
      {"-0", "0"},
      {"0Gi", "0"},
      {"0e5", "0"},
      {"000", "0"},
      {"1", "1"},
      {"+1", "1", "+1"},
      {"-1", "-1"},
      {"00012", "12", "00012"},
      {"5.", "5", "5."},
      {".5", "500m"},
      {"0.5", "500m"},
      {"1.5", "1500m"},
      {"1.50", "1500m"},
      {"1.500", "1500m", "1.500"},
      {"-1.5", "-1500m"},
      {"10.0", "10"},
      {"1000m", "1"},
      {"1500m", "1500m"},
      {"1m", "1m"},
      {"1u", "1u"},
      {"1n", "1n"},
      {"0.1n", "1n"},
      {"0.9n", "1n"},
      {"-0.1n", "-1n"},
      {"1.0000000001", "1000000001n"},
      {"0.0001u", "1n"},
      {"1.2345", "1234500u"},
      {"100k", "100k"},
      {"1000k", "1M"},
      {"1024k", "1024k"},
      {"1M", "1M"},
      {"1G", "1G"},
      {"1T", "1T"},
      {"1P", "1P"},
      {"1E", "1E"},
      {"1000E", "1e21"},
      {"8.893418T", "8893418M", "8.893418T"},
      {"1e3", "1e3"},
      {"1E3", "1e3", "1E3"},
      {"1e+3", "1e3", "1e+3"},
      {"1e-3", "1e-3"},
      {"1e0", "1", "1e0"},
      {"12e6", "12e6"},
      {"100e3", "100e3"},
      {"1.5e3", "1500"},
      {"1e1", "10"},
      {"1e-10", "1e-9"},
      {"1e21", "1e21"},
      {"1Ki", "1Ki"},
      {"1023", "1023"},
      {"1024", "1024"},
      {"1024Ki", "1Mi"},
      {"1024Mi", "1Gi"},
      {"0.5Gi", "512Mi"},
      {"1.5Gi", "1536Mi"},
      {"0.5Ki", "512"},
      {"0.1Ki", "102400m"},
      {"1.3Ki", "1331200m"},
      {"-1Ki", "-1Ki"},
      {"-0.5Gi", "-512Mi"},
      {"2047Mi", "2047Mi"},
      {"2048Mi", "2Gi"},
      {"1025Ki", "1025Ki"},
      {"7Ei", "7Ei"},
      {"8Ei", "9223372036854775807"},
      {"9955Ei", "9223372036854775807"},
      {"9223372036854775807", "9223372036854775807"},
      {"9223372036854775808", "9223372036854775808"},
      {"123456789012345678901", "123456789012345678901"},
      {"0.00000000000000000001Ei", "11529216n"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto q = Quantity::parse(row.in);
    REQUIRE(q.has_value());
    CHECK(q->to_string() == row.canonical);
    CHECK(*Quantity::canonicalize(row.in) == (row.kept.empty() ? row.canonical : row.kept));
    CHECK(*Quantity::parse(q->to_string()) == *q);
    CHECK(Quantity::parse(q->to_string())->to_string() == row.canonical);
  }
}

TEST_CASE("what is not a quantity is refused") {
  const std::string_view format =
      "quantities must match the regular expression "
      "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
  const std::string_view suffix = "unable to parse quantity's suffix";
  struct Row {
    std::string_view in;
    std::string_view error;
  };
  const Row rows[] = {
      {"", format},       {".", format},       {"-", format},      {"+", format},
      {"abc", format},    {"1.1.M", format},   {"1+1.0M", format}, {"0.1mi", suffix},
      {"0.1am", format},  {"aoeu", format},    {".5i", suffix},    {"1i", suffix},
      {"-3.01i", suffix}, {"-3.01e-", suffix}, {" 1", format},     {"1 ", format},
      {"1 Gi", format},   {"1ki", suffix},     {"1KI", format},    {"1K", suffix},
      {"1e", suffix},     {"1e3k", format},    {"1Kib", format},   {"1e3.5", format},
      {"1Gi1", suffix},   {"--1", format},     {"1e+-3", format},  {"0x1", format},
      {"1,5", format},    {"Mi", format},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto q = Quantity::parse(row.in);
    REQUIRE_FALSE(q.has_value());
    CHECK(q.error().message == row.error);
  }
  CHECK(Quantity::parse("1e30").error().message == "unable to parse numeric part of quantity");
  CHECK(Quantity::parse(std::string(100'000, '9')).error().code == Code::bad_request);
  CHECK(Quantity::parse("0." + std::string(100'000, '0') + "1")->to_string() == "1n");
  CHECK(Quantity::parse("1e-99999999999999999999").error().message == suffix);
  CHECK(Quantity::parse("1e-9999999")->to_string() == "1e-9");
  CHECK(Quantity::parse("0e99999999")->zero());
}

TEST_CASE("values are rounded away from zero and saturate") {
  struct Row {
    std::string_view in;
    std::int64_t value;
    std::int64_t milli;
  };
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  const Row rows[] = {
      {"0", 0, 0},
      {"1", 1, 1000},
      {"1m", 1, 1},
      {"1n", 1, 1},
      {"-1n", -1, -1},
      {"1500m", 2, 1500},
      {"-1500m", -2, -1500},
      {"1.0001", 2, 1001},
      {"1Ki", 1024, 1024000},
      {"1.5Gi", 1610612736, 1610612736000},
      {"1e3", 1000, 1000000},
      {"9223372036854775807", kMax, kMax},
      {"9223372036854775808", kMax, kMax},
      {"-9223372036854775809", kMin, kMin},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    CHECK(Quantity::parse(row.in)->value() == row.value);
    CHECK(Quantity::parse(row.in)->milli_value() == row.milli);
  }
  CHECK(Quantity::parse("1500m")->as_double() == 1.5);
}

TEST_CASE("quantities are compared and added") {
  const auto q = [](std::string_view text) { return *Quantity::parse(text); };
  CHECK(q("1") == q("1000m"));
  CHECK(q("1Gi") == q("1073741824"));
  CHECK(q("1G") < q("1Gi"));
  CHECK(q("-1") < q("0"));
  CHECK((q("1") + q("500m")).to_string() == "1500m");
  CHECK((q("1Gi") + q("1Mi")).to_string() == "1025Mi");
  CHECK((q("1Gi") + q("1G")).to_string() == "2073741824");
  CHECK((q("0") + q("1Gi")).to_string() == "1Gi");  // the format comes from what is not zero
  CHECK((q("2") - q("500m")).to_string() == "1500m");
  CHECK((q("1") - q("3")).to_string() == "-2");
  CHECK((q("1e29") + q("1e29")) == (q("1e29") + q("1.7e29")));  // saturated
  Quantity sum;
  for (int i = 0; i < 1024; ++i) sum += q("1Mi");
  CHECK(sum.to_string() == "1Gi");
  sum -= q("1Gi");
  CHECK(sum.zero());
  CHECK(Quantity::of(2048, Quantity::Format::binary_si).to_string() == "2Ki");
  CHECK(Quantity::of(-5).to_string() == "-5");
  CHECK(Quantity::milli(1500).to_string() == "1500m");
  CHECK(Quantity::milli(2000).to_string() == "2");
  CHECK(Quantity::milli(-1).negative());
}
