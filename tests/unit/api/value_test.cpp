#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <map>

#include "skiff/api/object.hpp"

using namespace skiff;
using namespace skiff::api;

static_assert(sizeof(Value) == 16);
static_assert(sizeof(Member) == 32);

TEST_CASE("values are built and read") {
  Value v = Value::object({{"name", "web"},
                           {"replicas", 3},
                           {"ready", true},
                           {"ratio", 0.5},
                           {"none", nullptr},
                           {"ports", Value::array({80, 443, "http"})}});
  CHECK(v["name"].as_string() == "web");
  CHECK(v["replicas"].as_int() == 3);
  CHECK(v["replicas"].as_double() == 3.0);
  CHECK(v["ready"].as_bool());
  CHECK(v["ratio"].as_double() == 0.5);
  CHECK(v["ratio"].as_int(-1) == -1);
  CHECK(v["none"].is_null());
  CHECK(v.has("none"));
  CHECK_FALSE(v.has("absent"));
  CHECK(v["ports"][2].as_string() == "http");
  CHECK(v["ports"][std::size_t{9}].is_null());
  CHECK(v["a"]["b"]["c"].as_string_or("x") == "x");
  CHECK(v["name"]["b"].is_null());
  CHECK(v.size() == 6);
  CHECK(v["name"].members().empty());

  v.member("metadata").member("labels").set("a", "b");
  CHECK(v["metadata"]["labels"]["a"].as_string() == "b");
  v.set("replicas", 4);
  CHECK(v["replicas"].as_int() == 4);
  CHECK(v.erase("ready"));
  CHECK_FALSE(v.erase("ready"));
  Value list;
  list.push_back(Value()).set("x", 2);
  CHECK(to_json(list) == R"([{"x":2}])");
}

TEST_CASE("integers of every width fit or become numbers") {
  CHECK(Value(std::numeric_limits<std::int64_t>::min()).is_int());
  CHECK(Value(std::uint8_t{7}).as_int() == 7);
  CHECK(Value(std::size_t{7}).as_int() == 7);
  CHECK(Value(7LL).as_int() == 7);
  const Value big(std::numeric_limits<std::uint64_t>::max());
  CHECK_FALSE(big.is_int());
  CHECK(big.is_number());
  CHECK(big.as_double() == 18446744073709551615.0);
  CHECK(Value(true).is_bool());
}

TEST_CASE("a value may be assigned from a part of itself") {
  Value v = Value::object({{"a", Value::object({{"b", Value::array({1, 2})}})}});
  v = std::move(v.member("a").member("b"));
  CHECK(to_json(v) == "[1,2]");
  Value w = Value::object({{"a", Value::object({{"b", 1}})}});
  w = w["a"];
  CHECK(to_json(w) == R"({"b":1})");
  Value moved(std::move(w));
  CHECK(w.is_null());  // NOLINT: what moving leaves is part of the contract
}

TEST_CASE("names read as views and own what is not interned") {
  const Name interned("metadata");
  CHECK(interned.interned());
  CHECK(Name(std::string("metadata")).data() == interned.data());
  Name own(std::string("my-own-name-that-nobody-interns"));
  CHECK_FALSE(own.interned());
  Name copy = own;
  CHECK(copy == own);
  CHECK(copy.data() != own.data());
  Name moved = std::move(own);
  CHECK(moved == copy);
  moved = interned;
  CHECK(moved == "metadata");
  const std::string text = moved;
  CHECK(text == "metadata");
  CHECK(Name("").empty());
  CHECK(Name("") == Name());
  std::map<std::string, int> counts;
  ++counts[moved];
  CHECK(counts.at("metadata") == 1);
}

TEST_CASE("equality is deep, ignores member order and the kind of number") {
  struct Row {
    std::string_view a;
    std::string_view b;
    bool equal;
  };
  const Row rows[] = {
      {"null", "null", true},
      {"1", "1.0", true},
      {"1", "2", false},
      {"0.1", "0.1", true},
      {"true", "1", false},
      {"\"a\"", "\"a\"", true},
      {"\"a\"", "\"b\"", false},
      {"[]", "{}", false},
      {"[1,2]", "[2,1]", false},
      {"[1,2]", "[1,2,3]", false},
      {R"({"a":1,"b":[{"c":null}]})", R"({"b":[{"c":null}],"a":1})", true},
      {R"({"a":1})", R"({"a":1,"b":null})", false},
      {R"({"a":1,"b":2})", R"({"a":1,"c":2})", false},
      {R"({"a":{"b":{"c":[1]}}})", R"({"a":{"b":{"c":[1.0]}}})", true},
  };
  for (const Row& row : rows) {
    INFO(row.a << " and " << row.b);
    CHECK((*parse_json(row.a) == *parse_json(row.b)) == row.equal);
    CHECK((*parse_json(row.b) == *parse_json(row.a)) == row.equal);
  }
}

TEST_CASE("large objects compare without looking at every pair") {
  Value a = Value::object();
  std::vector<Member> members;
  std::vector<Member> reversed;
  for (int i = 0; i < 100'000; ++i) {
    members.push_back({Name("key-" + std::to_string(i)), Value(i)});
    reversed.push_back({Name("key-" + std::to_string(99'999 - i)), Value(99'999 - i)});
  }
  CHECK(Value::object(std::move(members)) == Value::object(std::move(reversed)));
}

TEST_CASE("deep documents are dropped, compared and measured without the stack") {
  const auto make = [] {
    Value v;
    for (int i = 0; i < 2'000'000; ++i) {
      std::vector<Value> one;
      one.push_back(std::move(v));
      v = Value::array(std::move(one));
    }
    return v;
  };
  Value a = make();
  Value b = make();
  CHECK(a.depth() == 2'000'000);
  CHECK(a == b);
}

TEST_CASE("objects are encoded once and parsed when asked") {
  const ObjectPtr made = Object::make(Value::object(
      {{"apiVersion", "v1"},
       {"kind", "Pod"},
       {"metadata", Value::object({{"name", "web"}, {"namespace", "default"}, {"uid", "u"}})}}));
  CHECK(
      made->json() ==
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default","uid":"u"}})");
  auto bytes = std::make_shared<const std::string>(made->json());
  const ObjectPtr read = Object::wrap(bytes, *bytes);
  CHECK(read->kind() == "Pod");
  CHECK(read->key() == NamespacedName{"default", "web"});
  CHECK(read->key().to_string() == "default/web");
  CHECK(read->uid() == "u");
  CHECK_FALSE(read->deleting());
  CHECK(read->generation() == 0);
}

TEST_CASE("group versions") {
  CHECK(*GroupVersion::parse("v1") == GroupVersion{"", "v1"});
  CHECK(*GroupVersion::parse("apps/v1") == GroupVersion{"apps", "v1"});
  CHECK(GroupVersion::parse("a/b/c").error().message == "unexpected GroupVersion string: a/b/c");
  CHECK(GroupVersion{"apps", "v1"}.to_string() == "apps/v1");
}

TEST_CASE("the controller among owners") {
  const Value v = *parse_json(
      R"({"metadata":{"ownerReferences":[{"uid":"a"},{"uid":"b","controller":true}]}})");
  REQUIRE(controller_of(v) != nullptr);
  CHECK((*controller_of(v))["uid"].as_string() == "b");
  CHECK(controller_of(Value()) == nullptr);
}
