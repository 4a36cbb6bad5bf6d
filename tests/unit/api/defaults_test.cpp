// testdata/defaults/*.yaml: pairs of documents, given and defaulted.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "skiff/api/codec.hpp"
#include "skiff/api/object.hpp"

using namespace skiff::api;

namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

const Resource& resource_of(const Value& doc) {
  auto gv = GroupVersion::parse(doc["apiVersion"].as_string()).value();
  const Resource* r = find_kind(gv.group, gv.version, doc["kind"].as_string());
  REQUIRE(r != nullptr);
  return *r;
}

}  // namespace

TEST_CASE("defaulted documents") {
  std::size_t pairs = 0;
  for (const auto& file : std::filesystem::directory_iterator(SKIFF_TESTDATA "/defaults")) {
    auto docs = parse_yaml_stream(read_file(file.path())).value();
    REQUIRE(docs.size() % 2 == 0);
    for (std::size_t i = 0; i < docs.size(); i += 2, ++pairs) {
      INFO(file.path().filename() << ", pair " << i / 2);
      Value doc = docs[i];
      const Resource& r = resource_of(doc);
      std::vector<std::string> unknown;
      auto decoded = decode(*r.type, doc, &unknown);
      INFO((decoded ? "" : decoded.error().message));
      REQUIRE(decoded.has_value());
      CHECK(unknown.empty());
      apply_defaults(r, doc);
      CHECK(to_yaml(doc) == to_yaml(docs[i + 1]));
      // Members stand in the order Go encodes them, so decoding changes nothing.
      std::string json = to_json(doc);
      REQUIRE(decode(*r.type, doc, nullptr).has_value());
      CHECK(to_json(doc) == json);
      apply_defaults(r, doc);
      CHECK(to_json(doc) == json);
    }
  }
  CHECK(pairs > 15);
}
