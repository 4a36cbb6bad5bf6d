#include <catch2/catch_test_macros.hpp>

#include "skiff/cli/flags.hpp"

using namespace skiff;
using cli::Flags;

namespace {

struct Fixture {
  std::string dir = "/default";
  std::int64_t port = 6443;
  bool quiet = false;
  std::vector<std::string> disable;
  Flags flags;
  Fixture() {
    flags.add("data-dir", &dir, "DIR", "where");
    flags.add("https-port", &port, "PORT", "port", 'p');
    flags.add("quiet", &quiet, "", "less");
    flags.add("disable", &disable, "LIST", "without");
  }
};

}  // namespace

TEST_CASE("flags take their values in every usual form") {
  Fixture f;
  const std::vector<std::string> args = {"x",       "--data-dir=/d", "-p",  "7",
                                         "--quiet", "--disable",     "a,b", "--disable=c",
                                         "--",      "--not-a-flag"};
  const auto rest = f.flags.parse(args);
  REQUIRE(rest.has_value());
  CHECK(*rest == std::vector<std::string>{"x", "--not-a-flag"});
  CHECK(f.dir == "/d");
  CHECK(f.port == 7);
  CHECK(f.quiet);
  CHECK(f.disable == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("a wrong flag is one clear line") {
  struct Row {
    std::vector<std::string> args;
    std::string message;
  };
  const Row rows[] = {
      {{"--data-dri", "x"}, "unknown flag --data-dri; did you mean --data-dir?"},
      {{"--frobnicate"}, "unknown flag --frobnicate; --help lists the flags"},
      {{"--data-dir"}, "flag --data-dir needs a value"},
      {{"--https-port", "12x"}, "invalid value \"12x\" for --https-port: want a whole number"},
      {{"--quiet=maybe"}, "invalid value \"maybe\" for --quiet: want true or false"},
      {{"-z"}, "unknown flag -z; --help lists the flags"},
  };
  for (const Row& row : rows) {
    Fixture f;
    const auto rest = f.flags.parse(row.args);
    REQUIRE_FALSE(rest.has_value());
    CHECK(rest.error().message == row.message);
  }
}

TEST_CASE("the command line wins over the file") {
  Fixture f;
  const std::vector<std::string> args = {"--https-port", "1"};
  REQUIRE(f.flags.parse(args).has_value());
  const auto doc = api::Value::object({{"https-port", 2},
                                       {"data-dir", "/file"},
                                       {"disable", api::Value::array({"proxy", "kubelet"})}});
  REQUIRE(f.flags.load(doc, "skiff.yaml").has_value());
  CHECK(f.port == 1);
  CHECK(f.dir == "/file");
  CHECK(f.disable == std::vector<std::string>{"proxy", "kubelet"});
  const auto wrong = f.flags.load(api::Value::object({{"quite", true}}), "skiff.yaml");
  REQUIRE_FALSE(wrong.has_value());
  CHECK(wrong.error().message == "unknown flag skiff.yaml: quite; did you mean --quiet?");
}
