#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "script.hpp"
#include "skiff/base/log.hpp"

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Catch shows two long texts side by side badly: the first lines that differ tell more.
std::string first_difference(const std::string& want, const std::string& got) {
  std::istringstream a(want);
  std::istringstream b(got);
  std::string x;
  std::string y;
  for (int n = 1;; ++n) {
    const bool more_a = static_cast<bool>(std::getline(a, x));
    const bool more_b = static_cast<bool>(std::getline(b, y));
    if (!more_a && !more_b) return "";
    if (more_a != more_b || x != y) {
      return "line " + std::to_string(n) + "\n  expected: " + (more_a ? x : "<end>") +
             "\n  printed:  " + (more_b ? y : "<end>");
    }
  }
}

}  // namespace

TEST_CASE("controllers do what the scripts say") {
  skiff::log::set_level(std::getenv("SKIFF_LOG") != nullptr ? skiff::log::Level::debug
                                                            : skiff::log::Level::off);
  std::vector<std::filesystem::path> scripts;
  for (const auto& file : std::filesystem::directory_iterator(SKIFF_TESTDATA)) {
    if (file.path().extension() == ".txt") scripts.push_back(file.path());
  }
  std::ranges::sort(scripts);
  REQUIRE_FALSE(scripts.empty());
  for (const auto& path : scripts) {
    INFO(path.filename().string());
    const std::string text = read(path);
    const std::string printed = skiff::test::run_script(text);
    if (std::getenv("SKIFF_REWRITE") != nullptr) {
      std::ofstream(path) << printed;
      continue;
    }
    INFO(first_difference(text, printed));
    CHECK(text == printed);
  }
}
