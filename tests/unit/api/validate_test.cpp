// testdata/validate/*.yaml: a first document `base`, an object that is valid, then rows. Each row
// changes the base (`merge`: RFC 7396, `ops`: RFC 6902) and lists the causes expected, as
// `field: message`. With `update: true` the base is what is stored, changed by `old_ops`.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "skiff/api/codec.hpp"
#include "skiff/api/object.hpp"
#include "skiff/api/patch.hpp"

using namespace skiff::api;

namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Value prepared(Value doc, const Value& merge, const Value& ops) {
  if (!merge.is_null()) merge_patch(doc, merge);
  if (!ops.is_null()) {
    auto patched = json_patch(doc, ops);
    INFO((patched ? "" : patched.error().message));
    REQUIRE(patched.has_value());
  }
  auto gv = GroupVersion::parse(doc["apiVersion"].as_string()).value();
  const Resource* r = find_kind(gv.group, gv.version, doc["kind"].as_string());
  REQUIRE(r != nullptr);
  auto decoded = decode(*r->type, doc, nullptr);
  INFO((decoded ? "" : decoded.error().message));
  REQUIRE(decoded.has_value());
  apply_defaults(*r, doc);
  return doc;
}

std::string causes_of(const Value& doc, const Value* old, std::string_view subresource) {
  auto gv = GroupVersion::parse(doc["apiVersion"].as_string()).value();
  const Resource* r = find_kind(gv.group, gv.version, doc["kind"].as_string());
  FieldErrors errors;
  validate(*r, doc, old, subresource, errors);
  std::string out;
  for (const auto& c : errors.causes()) out += c.field + ": " + c.message + "\n";
  return out;
}

std::string expected_causes(const Value& row) {
  std::string out;
  for (const Value& c : row["causes"].items()) out += c.as_string() + "\n";
  return out;
}

}  // namespace

TEST_CASE("invalid objects and why") {
  std::size_t rows = 0;
  for (const auto& file : std::filesystem::directory_iterator(SKIFF_TESTDATA "/validate")) {
    auto parsed = parse_yaml_stream(read_file(file.path()));
    INFO(file.path().filename());
    INFO((parsed ? "" : parsed.error().message));
    REQUIRE(parsed.has_value());
    Value base;
    for (const Value& row : *parsed) {
      if (row.has("base")) {
        base = row["base"];
        CHECK(causes_of(prepared(base, {}, {}), nullptr, "") == "");
        continue;
      }
      ++rows;
      INFO(row["row"].as_string());
      Value doc = prepared(base, row["merge"], row["ops"]);
      Value old;
      bool update = row["update"].as_bool();
      if (update) old = prepared(base, row["old_merge"], row["old_ops"]);
      CHECK(causes_of(doc, update ? &old : nullptr, row["subresource"].as_string()) ==
            expected_causes(row));
    }
  }
  CHECK(rows > 100);
}

TEST_CASE("errors become one Status") {
  FieldErrors errors;
  CHECK(errors.empty());
  errors.invalid("spec.replicas", -1, "must be greater than or equal to 0");
  auto one = errors.to_error("apps", "Deployment", "web");
  CHECK(one.code == skiff::Code::invalid);
  CHECK(one.message ==
        "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater "
        "than or equal to 0");
  errors.required("spec.selector");
  errors.required("spec.selector");  // once
  errors.not_supported("spec.x", "a", {"b", "c"});
  errors.too_many("spec.y", 5, 2);
  auto several = errors.to_error("", "Pod", "p");
  CHECK(several.message ==
        "Pod \"p\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to "
        "0, spec.selector: Required value, spec.x: Unsupported value: \"a\": supported values: "
        "\"b\", \"c\", spec.y: Too many: 5: must have at most 2 items]");
  REQUIRE(several.details);
  REQUIRE(several.details->causes.size() == 4);
  CHECK(several.details->causes[1].reason == "FieldValueRequired");
  CHECK(several.details->causes[1].field == "spec.selector");
  CHECK(several.details->causes[1].message == "Required value");
  CHECK(several.details->kind == "Pod");
}
