#include <array>
#include <catch2/catch_test_macros.hpp>

#include "skiff/api/patch.hpp"

using namespace skiff;
using namespace skiff::api;

// Rows agree with k8s.io/apimachinery v0.35 pkg/util/strategicpatch, but for what upstream leaves
// to its typed decoder to drop: directives and nulls in what a patch adds.
namespace {

Value json(std::string_view text) {
  auto v = parse_json(text);
  REQUIRE(v.has_value());
  return *v;
}

// A small kind of our own: lists of both sorts, a map, a nested list, retainKeys.
constexpr std::array kMountFields = {
    Field{.name = "path"},
    Field{.name = "name"},
};
constexpr Type kMount{.name = "test.Mount", .fields = kMountFields};
constexpr std::array kItemFields = {
    Field{.name = "name"},
    Field{.name = "value"},
    Field{.name = "count", .kind = Kind::int32},
    Field{.name = "args", .kind = Kind::list},
    Field{.name = "mounts",
          .kind = Kind::list,
          .element_kind = Kind::object,
          .type = &kMount,
          .merge_key = "path",
          .merge = true},
};
constexpr Type kItem{.name = "test.Item", .fields = kItemFields};
constexpr std::array kStrategyFields = {
    Field{.name = "type"},
    Field{.name = "rolling", .kind = Kind::map},
};
constexpr Type kStrategy{.name = "test.Strategy", .fields = kStrategyFields};
constexpr std::array kRootFields = {
    Field{.name = "name"},
    Field{.name = "items",
          .kind = Kind::list,
          .element_kind = Kind::object,
          .type = &kItem,
          .merge_key = "name",
          .merge = true},
    Field{.name = "keep",
          .kind = Kind::list,
          .element_kind = Kind::object,
          .type = &kItem,
          .merge_key = "name",
          .merge = true,
          .retain_keys = true},
    Field{.name = "words", .kind = Kind::list, .merge = true},
    Field{.name = "atomic", .kind = Kind::list, .element_kind = Kind::object, .type = &kItem},
    Field{.name = "labels", .kind = Kind::map},
    Field{.name = "strategy", .kind = Kind::object, .type = &kStrategy, .retain_keys = true},
    Field{.name = "any", .kind = Kind::any},
};
constexpr Type kRoot{.name = "test.Root", .fields = kRootFields};

struct Row {
  std::string_view doc;
  std::string_view patch;
  std::string_view result;  // JSON, or after "!" the error
};

void check_rows(const Type& type, std::span<const Row> rows) {
  for (const Row& row : rows) {
    INFO(row.patch << " on " << row.doc);
    Value doc = json(row.doc);
    const auto done = strategic_merge_patch(type, doc, json(row.patch));
    if (row.result[0] == '!') {
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().message == row.result.substr(1));
      CHECK(doc == json(row.doc));
    } else {
      REQUIRE(done.has_value());
      CHECK(to_json(doc) == to_json(json(row.result)));
    }
  }
}

}  // namespace

TEST_CASE("strategic merge: objects, maps and scalars") {
  const Row rows[] = {
      {"{}", "{}", "{}"},
      {R"({"name":"a"})", R"({"name":"b"})", R"({"name":"b"})"},
      {R"({"name":"a"})", R"({"name":null})", "{}"},
      {R"({"name":"a"})", R"({"labels":null})", R"({"name":"a"})"},
      {R"({"labels":{"a":"1","b":"2"}})", R"({"labels":{"b":null,"c":"3"}})",
       R"({"labels":{"a":"1","c":"3"}})"},
      {"{}", R"({"labels":{"a":null,"b":"1"}})", R"({"labels":{"b":"1"}})"},
      {R"({"labels":{"a":"1"}})", R"({"labels":{"$patch":"replace","b":"2"}})",
       R"({"labels":{"b":"2"}})"},
      {R"({"labels":{"a":"1"}})", R"({"labels":{"$patch":"delete"}})", R"({"labels":{}})"},
      {R"({"labels":{"a":"1"}})", R"({"labels":{"$patch":"merge","b":"2"}})",
       R"({"labels":{"a":"1","b":"2"}})"},
      {"{}", R"({"labels":{"$patch":"delete"}})", "{}"},
      {R"({"name":"a"})", R"({"$patch":"replace","name":"b"})", R"({"name":"b"})"},
      {R"({"name":"a"})", R"({"$patch":"delete"})", "{}"},
      {R"({"labels":{"a":"1"}})", R"({"labels":{"$patch":"frob"}})",
       R"(!unknown patch type: frob in map: {"$patch":"frob"})"},
      {R"({"labels":{"a":"1"}})", R"({"labels":7})", R"({"labels":7})"},
      {R"({"any":{"x":{"y":1}}})", R"({"any":{"x":{"z":[1]}}})",
       R"({"any":{"x":{"y":1,"z":[1]}}})"},
      {R"({"other":{}})", R"({"other":{"a":1}})",
       "!unable to find api field in struct Root for the json field \"other\""},
      {"{}", "[]", "!invalid JSON document"},
      {"{}", "null", "!invalid JSON document"},
  };
  check_rows(kRoot, rows);
}

TEST_CASE("strategic merge: lists of objects") {
  const Row rows[] = {
      {R"({"items":[{"name":"a","value":"1"},{"name":"b","value":"2"}]})",
       R"({"items":[{"name":"b","value":"3"}]})",
       R"({"items":[{"name":"a","value":"1"},{"name":"b","value":"3"}]})"},
      // What is new comes first, unless an order is given.
      {R"({"items":[{"name":"a"}]})", R"({"items":[{"name":"b"}]})",
       R"({"items":[{"name":"b"},{"name":"a"}]})"},
      {R"({"items":[{"name":"a"},{"name":"b"},{"name":"c"}]})",
       R"({"items":[{"name":"c","value":"x"},{"name":"a","value":"y"}]})",
       R"({"items":[{"name":"b"},{"name":"c","value":"x"},{"name":"a","value":"y"}]})"},
      {R"({"items":[{"name":"a"},{"name":"b"}]})", R"({"items":[{"$patch":"delete","name":"a"}]})",
       R"({"items":[{"name":"b"}]})"},
      {R"({"items":[{"name":"a"},{"name":"b"}]})",
       R"({"items":[{"$patch":"replace"},{"name":"c"}]})", R"({"items":[{"name":"c"}]})"},
      {R"({"items":[{"name":"a"}]})", R"({"items":[{"$patch":"replace"}]})", R"({"items":[]})"},
      {R"({"items":[{"name":"a"}]})", R"({"items":[]})", R"({"items":[{"name":"a"}]})"},
      {R"({"items":[{"name":"a","mounts":[{"path":"/x","name":"v"}]}]})",
       R"({"items":[{"name":"a","mounts":[{"path":"/y","name":"w"},
           {"path":"/x","name":"u"}]}]})",
       R"({"items":[{"name":"a","mounts":[{"path":"/y","name":"w"},{"path":"/x","name":"u"}]}]})"},
      {R"({"items":[{"name":"a","args":["x"]}]})", R"({"items":[{"name":"a","args":["y"]}]})",
       R"({"items":[{"name":"a","args":["y"]}]})"},
      {R"({"atomic":[{"name":"a"}]})", R"({"atomic":[{"name":"b","value":null}]})",
       R"({"atomic":[{"name":"b"}]})"},
      {"{}", R"({"items":[{"name":"a","value":null},{"$patch":"delete","name":"b"}]})",
       R"({"items":[{"name":"a"}]})"},
      {R"({"items":[{"name":"a"}]})", R"({"items":[{"value":"x"}]})",
       R"(!map: {"value":"x"} does not contain declared merge key: name)"},
      {R"({"items":[{"name":"a"}]})", R"({"items":[{"$patch":"delete"}]})",
       R"(!map: {"$patch":"delete"} does not contain declared merge key: name)"},
      {R"({"items":[{"name":"a"}]})", R"({"items":["x"]})",
       "!list element types are not identical: \"x\""},
      {R"({"items":[{"name":"a"}]})", R"({"items":[["x"]]})", "!lists of lists are not supported"},
      {R"({"items":[{"name":"a"}]})", R"({"items":[{"$patch":"merge","name":"a"}]})",
       "!merging lists cannot yet be specified in the patch"},
      {R"({"items":[{"name":"a"}]})", R"({"items":{"name":"b"}})", R"({"items":{"name":"b"}})"},
  };
  check_rows(kRoot, rows);
}

TEST_CASE("strategic merge: the order of lists") {
  const Row rows[] = {
      {R"({"items":[{"name":"a"},{"name":"b"}]})",
       R"({"$setElementOrder/items":[{"name":"b"},{"name":"a"}]})",
       R"({"items":[{"name":"b"},{"name":"a"}]})"},
      // A server's own element stays before what it stood before.
      {R"({"items":[{"name":"a"},{"name":"own"},{"name":"b"}]})",
       R"({"$setElementOrder/items":[{"name":"b"},{"name":"a"},{"name":"c"}],
           "items":[{"name":"c"}]})",
       R"({"items":[{"name":"own"},{"name":"b"},{"name":"a"},{"name":"c"}]})"},
      {R"({"items":[{"name":"a"},{"name":"own"}]})",
       R"({"$setElementOrder/items":[{"name":"a"},{"name":"b"}],"items":[{"name":"b"}]})",
       R"({"items":[{"name":"a"},{"name":"b"},{"name":"own"}]})"},
      {R"({"items":[{"name":"old"},{"name":"own"}]})",
       R"({"$setElementOrder/items":[{"name":"new"}],
           "items":[{"name":"new"},{"$patch":"delete","name":"old"}]})",
       R"({"items":[{"name":"own"},{"name":"new"}]})"},
      {"{}", R"({"$setElementOrder/items":[{"name":"b"},{"name":"a"}],
                 "items":[{"name":"b"},{"name":"a"}]})",
       R"({"items":[{"name":"b"},{"name":"a"}]})"},
      {"{}", R"({"$setElementOrder/items":[{"name":"b"}]})", "{}"},
      {R"({"words":["a","x","b"]})", R"({"$setElementOrder/words":["b","c","a"],"words":["c"]})",
       R"({"words":["x","b","c","a"]})"},
      {R"({"items":[]})",
       R"({"$setElementOrder/items":[{"name":"a"}],"items":[{"name":"a"},{"name":"b"}]})",
       "!The order in patch list:\n[{\"name\":\"a\"},{\"name\":\"b\"}]\n doesn't match "
       "$setElementOrder list:\n[{\"name\":\"a\"}]\n"},
      {R"({"items":[{"name":"a"}]})", R"({"$setElementOrder/items":{}})",
       "!invalid patch format of setElementOrder list"},
      {R"({"items":[{"name":"a"}]})", R"({"$setElementOrder/items":[{"x":1}]})",
       R"(!map: {"x":1} does not contain declared merge key: name)"},
      {"{}", R"({"$setElementOrder":[]})", "!invalid patch format of setElementOrder list"},
      {R"({"items":[{"name":"a"}],"any":[1]})", R"({"$setElementOrder/nope":[]})",
       R"({"items":[{"name":"a"}],"any":[1]})"},
  };
  check_rows(kRoot, rows);
}

TEST_CASE("strategic merge: lists of scalars") {
  const Row rows[] = {
      {R"({"words":["a","b"]})", R"({"words":["b","c"]})", R"({"words":["a","b","c"]})"},
      {R"({"words":["a","b"]})", R"({"words":["c"]})", R"({"words":["c","a","b"]})"},
      {R"({"words":["a","b","a"]})", R"({"$deleteFromPrimitiveList/words":["a"]})",
       R"({"words":["b"]})"},
      {R"({"words":["a","b"]})", R"({"words":["c"],"$deleteFromPrimitiveList/words":["a"],
          "$setElementOrder/words":["b","c"]})",
       R"({"words":["b","c"]})"},
      {"{}", R"({"$deleteFromPrimitiveList/words":["a"]})", "{}"},
      {R"({"words":["a"]})", R"({"$deleteFromPrimitiveList":["a"]})",
       "!invalid patch format of primitive list"},
      {R"({"words":["a"]})", R"({"$deleteFromPrimitiveList/words":"a"})",
       "!invalid patch format of primitive list"},
      {R"({"words":["a"]})", R"({"words":[1]})", "!list element types are not identical: 1"},
  };
  check_rows(kRoot, rows);
}

TEST_CASE("strategic merge: retainKeys") {
  const Row rows[] = {
      {R"({"strategy":{"type":"Rolling","rolling":{"max":1}}})",
       R"({"strategy":{"$retainKeys":["type"],"type":"Recreate"}})",
       R"({"strategy":{"type":"Recreate"}})"},
      {R"({"strategy":{"type":"Rolling","rolling":{"max":1}}})",
       R"({"strategy":{"$retainKeys":["type","rolling"],"rolling":{"min":2}}})",
       R"({"strategy":{"type":"Rolling","rolling":{"max":1,"min":2}}})"},
      {R"({"keep":[{"name":"a","value":"1"},{"name":"b"}]})",
       R"({"keep":[{"name":"a","$retainKeys":["name","count"],"count":2}]})",
       R"({"keep":[{"name":"a","count":2},{"name":"b"}]})"},
      {"{}", R"({"strategy":{"$retainKeys":["type"],"type":"x"}})", R"({"strategy":{"type":"x"}})"},
      {R"({"strategy":{"type":"x"}})", R"({"strategy":{"$retainKeys":["rolling"],"type":"x"}})",
       "!invalid patch format of retainKeys"},
      {R"({"strategy":{"type":"x"}})", R"({"strategy":{"$retainKeys":"type"}})",
       "!invalid patch format of retainKeys"},
  };
  check_rows(kRoot, rows);
}

namespace {

struct DiffRow {
  std::string_view original;
  std::string_view modified;
  std::string_view patch;
};

}  // namespace

TEST_CASE("strategic patches are computed") {
  const DiffRow rows[] = {
      {"{}", "{}", "{}"},
      {R"({"name":"a","labels":{"x":"1"}})", R"({"name":"b"})", R"({"name":"b","labels":null})"},
      {R"({"labels":{"x":"1","y":"2"}})", R"({"labels":{"x":"1","z":"3"}})",
       R"({"labels":{"z":"3","y":null}})"},
      {R"({"items":[{"name":"a","value":"1"}]})", R"({"items":[{"name":"a","value":"2"}]})",
       R"({"$setElementOrder/items":[{"name":"a"}],"items":[{"value":"2","name":"a"}]})"},
      {R"({"items":[{"name":"a"},{"name":"b"}]})", R"({"items":[{"name":"c"},{"name":"b"}]})",
       R"({"$setElementOrder/items":[{"name":"c"},{"name":"b"}],
           "items":[{"name":"c"},{"$patch":"delete","name":"a"}]})"},
      {R"({"items":[{"name":"a"},{"name":"b"}]})", R"({"items":[{"name":"b"},{"name":"a"}]})",
       R"({"$setElementOrder/items":[{"name":"b"},{"name":"a"}]})"},
      {R"({"items":[{"name":"a"}]})", R"({"items":[]})",
       R"({"items":[{"$patch":"delete","name":"a"}]})"},
      {"{}", R"({"items":[{"name":"a"}]})", R"({"items":[{"name":"a"}]})"},
      {R"({"items":[]})", R"({"items":[{"name":"a"}]})", R"({"items":[{"name":"a"}]})"},
      {R"({"words":["a","b"]})", R"({"words":["b","c"]})",
       R"({"$setElementOrder/words":["b","c"],"$deleteFromPrimitiveList/words":["a"],
           "words":["c"]})"},
      {R"({"words":["b","a"]})", R"({"words":["b","a"]})", "{}"},
      {R"({"atomic":[{"name":"a"}]})", R"({"atomic":[{"name":"b"}]})",
       R"({"atomic":[{"name":"b"}]})"},
      {R"({"strategy":{"type":"x","rolling":{"a":"1"}}})", R"({"strategy":{"type":"y"}})",
       R"({"strategy":{"type":"y","rolling":null,"$retainKeys":["type"]}})"},
      {R"({"any":{"a":[1]}})", R"({"any":{"a":[2]}})", R"({"any":{"a":[2]}})"},
      {R"({"name":"a"})", R"({"name":7})", R"({"name":7})"},
  };
  for (const DiffRow& row : rows) {
    INFO(row.original << " to " << row.modified);
    const Value original = json(row.original);
    const Value modified = json(row.modified);
    const auto patch = create_two_way(kRoot, original, modified);
    REQUIRE(patch.has_value());
    CHECK(to_json(*patch) == to_json(json(row.patch)));
    Value doc = original;
    REQUIRE(strategic_merge_patch(kRoot, doc, *patch).has_value());
    CHECK(doc == modified);
  }
  CHECK(create_two_way(kRoot, json(R"({"items":[{"name":"a"}]})"), json(R"({"items":[{"x":1}]})"))
            .error()
            .message == R"(map: {"x":1} does not contain declared merge key: name)");
}

TEST_CASE("three-way strategic patches leave alone what others own") {
  struct Case {
    std::string_view original;
    std::string_view modified;
    std::string_view current;
    std::string_view patch;
    std::string_view result;
  };
  const Case cases[] = {
      {"{}", "{}", R"({"name":"x"})", "{}", R"({"name":"x"})"},
      {R"({"labels":{"a":"1"}})", R"({"labels":{"a":"2"}})", R"({"labels":{"a":"1","own":"x"}})",
       R"({"labels":{"a":"2"}})", R"({"labels":{"a":"2","own":"x"}})"},
      {R"({"labels":{"a":"1","b":"1"}})", R"({"labels":{"a":"1"}})",
       R"({"labels":{"a":"1","b":"1","own":"x"}})", R"({"labels":{"b":null}})",
       R"({"labels":{"a":"1","own":"x"}})"},
      {R"({"items":[{"name":"a","value":"1"},{"name":"gone"}]})",
       R"({"items":[{"name":"a","value":"2"},{"name":"new"}]})",
       R"({"items":[{"name":"a","value":"1","count":3},{"name":"gone"},{"name":"own"}]})",
       R"({"$setElementOrder/items":[{"name":"a"},{"name":"new"}],
           "items":[{"value":"2","name":"a"},{"name":"new"},{"$patch":"delete","name":"gone"}]})",
       R"({"items":[{"name":"a","value":"2","count":3},{"name":"own"},{"name":"new"}]})"},
      {R"({"words":["a","gone"]})", R"({"words":["a","new"]})", R"({"words":["a","gone","own"]})",
       R"({"$setElementOrder/words":["a","new"],"$deleteFromPrimitiveList/words":["gone"],
           "words":["new"]})",
       R"({"words":["a","new","own"]})"},
  };
  for (const Case& c : cases) {
    INFO(c.original << " to " << c.modified << " over " << c.current);
    const auto patch =
        strategic_three_way(kRoot, json(c.original), json(c.modified), json(c.current));
    REQUIRE(patch.has_value());
    CHECK(*patch == json(c.patch));
    Value doc = json(c.current);
    REQUIRE(strategic_merge_patch(kRoot, doc, *patch).has_value());
    CHECK(to_json(doc) == to_json(json(c.result)));
  }
}

TEST_CASE("strategic merge of real kinds") {
  const Row pods[] = {
      {R"({"spec":{"containers":[{"name":"a","image":"x","env":[{"name":"E","value":"1"}],
           "ports":[{"containerPort":80}]}]}})",
       R"({"spec":{"containers":[{"name":"a","image":"y","env":[{"name":"F","value":"2"}],
           "ports":[{"containerPort":443}]}]}})",
       R"({"spec":{"containers":[{"name":"a","image":"y","env":[{"name":"F","value":"2"},
           {"name":"E","value":"1"}],"ports":[{"containerPort":443},{"containerPort":80}]}]}})"},
      {R"({"metadata":{"finalizers":["a"],"ownerReferences":[{"uid":"1","name":"x"}]}})",
       R"({"metadata":{"finalizers":["b"],"ownerReferences":[{"uid":"1","name":"y"}]}})",
       R"({"metadata":{"finalizers":["b","a"],"ownerReferences":[{"uid":"1","name":"y"}]}})"},
      {R"({"spec":{"tolerations":[{"key":"a"}],"nodeSelector":{"x":"1"}}})",
       R"({"spec":{"tolerations":[{"key":"b"}],"nodeSelector":{"y":"2"}}})",
       R"({"spec":{"tolerations":[{"key":"b"}],"nodeSelector":{"x":"1","y":"2"}}})"},
      {R"({"status":{"conditions":[{"type":"Ready","status":"False"},{"type":"Other"}]}})",
       R"({"status":{"conditions":[{"type":"Ready","status":"True"}]}})",
       R"({"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"Other"}]}})"},
      {R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}]}})",
       R"({"spec":{"volumes":[{"name":"v","$retainKeys":["name","secret"],
           "secret":{"secretName":"s"}}]}})",
       R"({"spec":{"volumes":[{"name":"v","secret":{"secretName":"s"}}]}})"},
  };
  check_rows(*find_kind("", "v1", "Pod")->type, pods);
  const Row deployments[] = {
      {R"({"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}})",
       R"({"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}})",
       R"({"spec":{"strategy":{"type":"Recreate"}}})"},
      {R"({"spec":{"replicas":1,"selector":{"matchLabels":{"a":"1"}}}})",
       R"({"spec":{"replicas":3,"selector":{"matchLabels":{"b":"2"}}}})",
       R"({"spec":{"replicas":3,"selector":{"matchLabels":{"a":"1","b":"2"}}}})"},
  };
  check_rows(*find_kind("apps", "v1", "Deployment")->type, deployments);
  const Row budgets[] = {
      {R"({"spec":{"selector":{"matchLabels":{"a":"1"}}}})",
       R"({"spec":{"selector":{"matchLabels":{"b":"2"}}}})",
       R"({"spec":{"selector":{"matchLabels":{"b":"2"}}}})"},
  };
  check_rows(*find_kind("policy", "v1", "PodDisruptionBudget")->type, budgets);
}

TEST_CASE("merging large lists is not quadratic") {
  Value doc = Value::object();
  Value patch = Value::object();
  Value order = Value::array();
  for (int i = 0; i < 20'000; ++i) {
    const std::string name = "item-" + std::to_string(i);
    doc.member("items").push_back(Value::object({{"name", name}, {"value", "x"}}));
    patch.member("items").push_back(Value::object({{"name", name}, {"value", "y"}}));
    order.push_back(Value::object({{"name", name}}));
  }
  patch.set("$setElementOrder/items", std::move(order));
  REQUIRE(strategic_merge_patch(kRoot, doc, patch).has_value());
  CHECK(doc["items"].size() == 20'000);
  CHECK(doc["items"][std::size_t{19'999}]["value"].as_string() == "y");
}
