#include <catch2/catch_test_macros.hpp>

#include "skiff/api/patch.hpp"

using namespace skiff;
using namespace skiff::api;

namespace {

Value json(std::string_view text) {
  auto v = parse_json(text);
  REQUIRE(v.has_value());
  return *v;
}

struct Row {
  std::string_view doc;
  std::string_view patch;
  std::string_view result;  // JSON, or after "!" the error
};

}  // namespace

TEST_CASE("JSON patch, RFC 6902 appendix A") {
  const Row rows[] = {
      {R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux"}])",
       R"({"baz":"qux","foo":"bar"})"},
      {R"({"foo":["bar","baz"]})", R"([{"op":"add","path":"/foo/1","value":"qux"}])",
       R"({"foo":["bar","qux","baz"]})"},
      {R"({"baz":"qux","foo":"bar"})", R"([{"op":"remove","path":"/baz"}])", R"({"foo":"bar"})"},
      {R"({"foo":["bar","qux","baz"]})", R"([{"op":"remove","path":"/foo/1"}])",
       R"({"foo":["bar","baz"]})"},
      {R"({"baz":"qux","foo":"bar"})", R"([{"op":"replace","path":"/baz","value":"boo"}])",
       R"({"baz":"boo","foo":"bar"})"},
      {R"({"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}})",
       R"([{"op":"move","from":"/foo/waldo","path":"/qux/thud"}])",
       R"({"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}})"},
      {R"({"foo":["all","grass","cows","eat"]})",
       R"([{"op":"move","from":"/foo/1","path":"/foo/3"}])",
       R"({"foo":["all","cows","eat","grass"]})"},
      {R"({"baz":"qux","foo":["a",2,"c"]})",
       R"([{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}])",
       R"({"baz":"qux","foo":["a",2,"c"]})"},
      {R"({"baz":"qux"})", R"([{"op":"test","path":"/baz","value":"bar"}])",
       "!testing value /baz failed: test failed"},
      {R"({"foo":"bar"})", R"([{"op":"add","path":"/child","value":{"grandchild":{}}}])",
       R"({"foo":"bar","child":{"grandchild":{}}})"},
      {R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux","xyz":123}])",
       R"({"foo":"bar","baz":"qux"})"},
      {R"({"foo":"bar"})", R"([{"op":"add","path":"/baz/bat","value":"qux"}])",
       "!add operation does not apply: doc is missing path: /baz/bat: missing value"},
      {R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":10}])", R"({"/":9,"~1":10})"},
      {R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":"10"}])",
       "!testing value /~01 failed: test failed"},
      {R"({"foo":["bar"]})", R"([{"op":"add","path":"/foo/-","value":["abc","def"]}])",
       R"({"foo":["bar",["abc","def"]]})"},
  };
  for (const Row& row : rows) {
    INFO(row.patch << " on " << row.doc);
    Value doc = json(row.doc);
    const auto done = json_patch(doc, json(row.patch));
    if (row.result[0] == '!') {
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().message == row.result.substr(1));
      CHECK(done.error().code == Code::invalid);
      CHECK(doc == json(row.doc));
    } else {
      REQUIRE(done.has_value());
      CHECK(doc == json(row.result));
    }
  }
}

TEST_CASE("JSON patch, the rest") {
  const std::string_view doc = R"({"a":{"b":[1,2,{"c":3}],"d/e":1,"f~g":2,"":5},"l":[],"n":null})";
  struct Case {
    std::string_view patch;
    std::string_view result;
  };
  const Case cases[] = {
      {"[]", doc},
      {R"([{"op":"add","path":"","value":[1]}])", "[1]"},
      {R"([{"op":"replace","path":"","value":{"x":1}}])", R"({"x":1})"},
      {R"([{"op":"add","path":"/l/0","value":1},{"op":"add","path":"/l/0","value":0},
           {"op":"remove","path":"/a"},{"op":"remove","path":"/n"}])",
       R"({"l":[0,1]})"},
      {R"([{"op":"remove","path":"/a/d~1e"},{"op":"remove","path":"/a/f~0g"},
           {"op":"remove","path":"/a/"},{"op":"remove","path":"/a/b/0"}])",
       R"({"a":{"b":[2,{"c":3}]},"l":[],"n":null})"},
      {R"([{"op":"copy","from":"/a/b/2","path":"/l/-"},{"op":"replace","path":"/l/0/c","value":4},
           {"op":"remove","path":"/a"}])",
       R"({"l":[{"c":4}],"n":null})"},
      {R"([{"op":"move","from":"/a/b","path":"/a"}])", R"({"a":[1,2,{"c":3}],"l":[],"n":null})"},
      {R"([{"op":"move","from":"/l","path":"/l"}])", doc},
      {R"([{"op":"test","path":"/n","value":null},{"op":"test","path":"/zz","value":null}])", doc},
      {R"([{"op":"test","path":"","value":{"n":null,"l":[],
           "a":{"":5,"f~g":2,"d/e":1,"b":[1,2.0,{"c":3}]}}}])",
       doc},
      {R"([{"op":"replace","path":"/zz","value":1},{"op":"remove","path":"/a"}])",
       R"({"l":[],"n":null,"zz":1})"},
      {R"([{"op":"remove","path":"/zz"}])",
       "!error in remove for path: '/zz': Unable to remove nonexistent key: zz: missing value"},
      {R"([{"op":"remove","path":"/a/b/3"}])",
       "!error in remove for path: '/a/b/3': Unable to access invalid index: 3: invalid index "
       "referenced"},
      {R"([{"op":"remove","path":"/zz/y"}])",
       "!remove operation does not apply: doc is missing path: /zz/y: missing value"},
      {R"([{"op":"remove","path":""}])",
       "!remove operation does not apply: doc is missing path: : missing value"},
      {R"([{"op":"replace","path":"/a/b/9","value":1}])",
       "!replace operation does not apply: doc is missing key: /a/b/9: missing value"},
      {R"([{"op":"replace","path":"/n/x","value":1}])",
       "!replace operation does not apply: doc is missing path: /n/x: missing value"},
      {R"([{"op":"add","path":"/a/b/4","value":1}])",
       "!error in add for path: '/a/b/4': Unable to access invalid index: 4: invalid index "
       "referenced"},
      {R"([{"op":"add","path":"/a/b/01","value":1}])",
       "!error in add for path: '/a/b/01': Unable to access invalid index: 01: invalid index "
       "referenced"},
      {R"([{"op":"copy","from":"/zz","path":"/y"}])",
       "!copy operation does not apply: doc is missing from path: /zz: missing value"},
      {R"([{"op":"move","from":"/a","path":"/a/b/0"}])",
       "!move operation does not apply: \"/a\" cannot be moved into itself"},
      {R"([{"op":"add","path":"/l/-","value":1},{"op":"test","path":"/n","value":1}])",
       "!testing value /n failed: test failed"},
      {R"([{"op":"add","path":"a","value":1}])",
       "!invalid JSON pointer \"a\": it must be empty or begin with '/', and '~' must be written "
       "'~0'"},
      {R"([{"op":"add","path":"/~2","value":1}])",
       "!invalid JSON pointer \"/~2\": it must be empty or begin with '/', and '~' must be "
       "written '~0'"},
      {R"([{"op":"add","path":"/x"}])", "!a JSON patch operation \"add\" needs a \"value\""},
      {R"([{"op":"move","path":"/x"}])",
       "!a JSON patch operation \"move\" needs a string \"from\""},
      {R"([{"op":"add"}])", "!a JSON patch operation \"add\" needs a string \"path\""},
      {R"([{"op":"frob","path":"/x"}])", "!Unexpected kind: frob"},
      {R"([{"path":"/x"}])", "!Unexpected kind: unknown"},
      {R"({"op":"add"})", "!a JSON patch is an array of operations"},
      {"[1]", "!a JSON patch operation is an object"},
  };
  for (const Case& c : cases) {
    INFO(c.patch);
    Value v = json(doc);
    const auto done = json_patch(v, json(c.patch));
    if (c.result[0] == '!') {
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().message == c.result.substr(1));
      CHECK(v == json(doc));
    } else {
      REQUIRE(done.has_value());
      CHECK(v == json(c.result));
    }
  }
}

TEST_CASE("JSON patch limits are kept") {
  Value many = Value::array();
  for (int i = 0; i < 10'001; ++i) {
    many.push_back(Value::object({{"op", "test"}, {"path", ""}, {"value", Value::object()}}));
  }
  Value doc = Value::object();
  CHECK(json_patch(doc, many).error().message ==
        "The allowed maximum operations in a JSON patch is 10000, got 10001");

  // Each copy doubles the document, or its depth.
  Value wide = Value::object({{"a", std::string(1000, 'x')}});
  Value doubling = Value::array();
  Value nesting = Value::array();
  for (int i = 0; i < 40; ++i) {
    doubling.push_back(
        Value::object({{"op", "copy"}, {"from", ""}, {"path", "/b" + std::to_string(i)}}));
    std::string deep;
    for (int j = 0; j < (1 << std::min(i, 11)); ++j) deep += "/n";
    nesting.push_back(Value::object({{"op", "copy"}, {"from", ""}, {"path", deep}}));
  }
  const auto wide_done = json_patch(wide, doubling);
  REQUIRE_FALSE(wide_done.has_value());
  CHECK(wide_done.error().message.starts_with("Unable to complete the copy"));
  Value deep = Value::object();
  const auto deep_done = json_patch(deep, nesting);
  REQUIRE_FALSE(deep_done.has_value());
  CHECK(deep_done.error().message == "copy operation does not apply: exceeded max depth");
}

TEST_CASE("merge patch, RFC 7396 appendix A") {
  const Row rows[] = {
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b"})", R"({"a":null})", "{}"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
      {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
      {R"({"a":"foo"})", "null", "null"},
      {R"({"a":"foo"})", R"("bar")", R"("bar")"},
      {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
      {"[1,2]", R"({"a":"b","c":null})", R"({"a":"b"})"},
      {"{}", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  };
  for (const Row& row : rows) {
    INFO(row.patch << " on " << row.doc);
    Value doc = json(row.doc);
    merge_patch(doc, json(row.patch));
    CHECK(to_json(doc) == row.result);
  }
}

TEST_CASE("merging large objects is not quadratic") {
  Value doc = Value::object();
  Value patch = Value::object();
  for (int i = 0; i < 200'000; ++i) {
    doc.mutable_members().push_back({Name("d" + std::to_string(i)), Value(i)});
    patch.mutable_members().push_back(
        {Name((i % 2 == 0 ? "d" : "p") + std::to_string(i)), i % 4 == 0 ? Value() : Value(-i)});
  }
  merge_patch(doc, patch);
  CHECK(doc.size() == 250'000);
  CHECK(doc["d2"].as_int() == -2);
}

TEST_CASE("merge patches are computed") {
  struct Case {
    std::string_view original;
    std::string_view modified;
    std::string_view current;
    std::string_view two_way;
    std::string_view three_way;
  };
  const Case cases[] = {
      {"{}", "{}", "{}", "{}", "{}"},
      {R"({"a":1,"b":2})", R"({"a":1})", R"({"a":1,"b":3,"c":4})", R"({"b":null})",
       R"({"b":null})"},
      {R"({"a":1})", R"({"a":2})", R"({"a":1,"c":4})", R"({"a":2})", R"({"a":2})"},
      {R"({"a":1})", R"({"a":1})", R"({"a":5})", "{}", R"({"a":1})"},
      {R"({"a":{"x":1,"y":2}})", R"({"a":{"x":1}})", R"({"a":{"x":9,"y":2,"z":3}})",
       R"({"a":{"y":null}})", R"({"a":{"y":null,"x":1}})"},
      {R"({"l":[1,2]})", R"({"l":[2]})", R"({"l":[1,2]})", R"({"l":[2]})", R"({"l":[2]})"},
      {R"({"a":{"x":1}})", R"({"a":2})", R"({"a":{"x":1}})", R"({"a":2})", R"({"a":2})"},
  };
  for (const Case& c : cases) {
    INFO(c.original << " to " << c.modified << " over " << c.current);
    const Value original = json(c.original);
    const Value modified = json(c.modified);
    CHECK(to_json(create_merge_patch(original, modified)) == c.two_way);
    CHECK(to_json(merge_three_way(original, modified, json(c.current))) == c.three_way);
    Value doc = original;
    merge_patch(doc, create_merge_patch(original, modified));
    CHECK(doc == modified);
  }
}
