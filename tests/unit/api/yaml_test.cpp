#include <catch2/catch_test_macros.hpp>

#include "skiff/api/value.hpp"

using namespace skiff;
using namespace skiff::api;

// Rows agree with sigs.k8s.io/yaml v1.6.
TEST_CASE("YAML scalars read as go-yaml v2 reads them") {
  struct Row {
    std::string_view in;
    std::string_view json;
  };
  const Row rows[] = {
      {"a", R"("a")"},
      {"", "null"},
      {"~", "null"},
      {"null", "null"},
      {"Null", "null"},
      {"nULL", R"("nULL")"},
      {"true", "true"},
      {"True", "true"},
      {"yes", "true"},
      {"Yes", "true"},
      {"on", "true"},
      {"y", "true"},
      {"no", "false"},
      {"off", "false"},
      {"N", "false"},
      {"tRUE", R"("tRUE")"},
      {"'yes'", R"("yes")"},
      {"\"1\"", R"("1")"},
      {"0", "0"},
      {"-1", "-1"},
      {"+1", "1"},
      {"0644", "420"},
      {"0o17", "15"},
      {"017", "15"},
      {"08", "8"},
      {"0x1F", "31"},
      {"-0x1F", "-31"},
      {"0b11", "3"},
      {"1_000", "1000"},
      {"1.5", "1.5"},
      {"1.", "1"},
      {".5", "0.5"},
      {"+.5", "0.5"},
      {"1.0", "1"},
      {"1e3", "1000"},
      {"1e400", R"("1e400")"},
      {"1e-400", "0"},
      {"9223372036854775807", "9223372036854775807"},
      {"-9223372036854775808", "-9223372036854775808"},
      {"9223372036854775808", "9223372036854776000"},
      {"99999999999999999999", "100000000000000000000"},
      {"0xFFFFFFFFFFFFFFFFFF", R"("0xFFFFFFFFFFFFFFFFFF")"},
      {"1:30", R"("1:30")"},
      {"2001-01-01", R"("2001-01-01")"},
      {"2024-01-01T00:00:00Z", R"("2024-01-01T00:00:00Z")"},
      {"1.2.3", R"("1.2.3")"},
      {"++1", R"("++1")"},
      {"-", "[null]"},
      {"..", R"("..")"},
      {"a b # c", R"("a b")"},
      {"a#b", R"("a#b")"},
      {"!!str 1", R"("1")"},
      {"!!int '1'", "1"},
      {"!!float 1", "1"},
      {"!!bool yes", "true"},
      {"!!binary aGk=", R"("hi")"},
      {"!thing 1", R"("1")"},
      {"'it''s'", R"("it's")"},
      {R"("a\tb\u00e9\n")", "\"a\\tb\xC3\xA9\\n\""},
      {"|\n  a\n   b\n", R"("a\n b\n")"},
      {"|-\n  a\n", R"("a")"},
      {"|+\n  a\n", R"("a\n\n")"},
      {">\n  a\n  b\n\n  c\n", R"("a b\nc\n")"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto v = parse_yaml("k: " + std::string(row.in) + "\n");
    if (row.in == "-") {
      CHECK(to_json(*parse_yaml(row.in)) == row.json);
      continue;
    }
    REQUIRE(v.has_value());
    CHECK(to_json((*v)["k"]) == row.json);
  }
}

TEST_CASE("YAML documents") {
  struct Row {
    std::string_view in;
    std::string_view json;
  };
  const Row rows[] = {
      {"", "null"},
      {"# only a comment\n", "null"},
      {"---\n", "null"},
      {"--- {a: 1}", R"({"a":1})"},
      {"%YAML 1.1\n---\na: 1", R"({"a":1})"},
      {"\xEF\xBB\xBF"
       "a: 1",
       R"({"a":1})"},
      {"a: 1\n---\nb: 2\n", R"({"a":1})"},
      {R"({"json": [1, 2.5, "x", null]})", R"({"json":[1,2.5,"x",null]})"},
      {"a:\n- b\n- c: 1\n  d: 2\n", R"({"a":["b",{"c":1,"d":2}]})"},
      {"- - 1\n  - 2\n-\n  - 3\n", "[[1,2],[3]]"},
      {"1: a\n1.5: b\ntrue: c\n1e6: d\n", R"({"1":"a","1.5":"b","true":"c","1e+06":"d"})"},
      {"? a\n? b\n: c\n", R"({"a":null,"b":"c"})"},
      {"a: &x {b: 1}\nc: *x\n", R"({"a":{"b":1},"c":{"b":1}})"},
      {"a: &x 1\nb: &x 2\nc: *x\n", R"({"a":1,"b":2,"c":2})"},
      {"&k a: b\nc: *k\n", R"({"a":"b","c":"a"})"},
      {"a: &k x\n*k : z\n", R"({"a":"x","x":"z"})"},
      {"b: &x {p: 1, q: 2}\nd:\n  <<: *x\n  q: 3\n", R"({"b":{"p":1,"q":2},"d":{"q":3,"p":1}})"},
      {"a: {<<: [{b: 1}, {b: 2, c: 3}], d: 4}", R"({"a":{"d":4,"b":1,"c":3}})"},
      {"'<<': 1", R"({"<<":1})"},
      {"a: 1\na: 2\n", R"({"a":2})"},
      {"!!set {a, b}", R"({"a":null,"b":null})"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto v = parse_yaml(row.in);
    REQUIRE(v.has_value());
    CHECK(to_json(*v) == row.json);
  }
}

TEST_CASE("YAML errors name the line") {
  struct Row {
    std::string_view in;
    std::string_view error;
  };
  const Row rows[] = {
      {"a: b: c", "yaml: mapping values are not allowed in this context"},
      {"x: 1\na: b: c", "yaml: line 2: mapping values are not allowed in this context"},
      {"a:\n\t- b", "yaml: line 2: found character that cannot start any token"},
      {"a:\n  - b\n c", "yaml: line 2: did not find expected key"},
      {"a: [1,2", "yaml: line 1: did not find expected ',' or ']'"},
      {"a: \"b", "yaml: found unexpected end of stream"},
      {"a: *x", "yaml: line 1: unknown anchor 'x' referenced"},
      {"b: 1\na: &x [*x]", "yaml: line 2: anchor 'x' value contains itself"},
      {"a: {<<: 1}", "yaml: line 1: map merge requires map or sequence of maps as the value"},
      {"[a]: b", "yaml: line 1: invalid map key: a list"},
      {"{a: 1}: b", "yaml: line 1: invalid map key: a map"},
      {"null: a", "yaml: line 1: unsupported map key of type null"},
      {"a: .nan", "yaml: line 1: json: unsupported value: NaN"},
      {"a: !!int x", "yaml: line 1: cannot decode !!str `x` as a !!int"},
      {"a: !!binary '*'", "yaml: line 1: !!binary value contains invalid base64 data"},
      {"a: \x01", "yaml: control characters are not allowed"},
      {"a: \xFF", "yaml: invalid leading UTF-8 octet"},
      {"%YAML 2.0\n---\na: 1", "yaml: found incompatible YAML document"},
      {"- a\nb: c", "yaml: line 1: did not find expected '-' indicator"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto v = parse_yaml(row.in);
    REQUIRE_FALSE(v.has_value());
    CHECK(v.error().message == row.error);
    CHECK(v.error().code == Code::bad_request);
  }
}

TEST_CASE("YAML reports duplicate keys with their lines") {
  std::vector<std::string> duplicates;
  const auto v = parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", {}, &duplicates);
  CHECK(to_json(*v) == R"({"a":3,"b":{"c":2}})");
  CHECK(duplicates == std::vector<std::string>{"line 4: key \"c\" already set in map",
                                               "line 5: key \"a\" already set in map"});
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "k" + std::to_string(i % 19'999) + ": 1\n";
  duplicates.clear();
  CHECK(parse_yaml(many, {}, &duplicates)->size() == 19'999);
  CHECK(duplicates.size() == 1);
}

TEST_CASE("YAML limits are kept") {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 9; ++j) bomb += last + (j < 8 ? "," : "]\n");
  }
  CHECK(parse_yaml(bomb).error().message.ends_with("document contains excessive aliasing"));

  std::string text = "x: &x " + std::string(100'000, 'x') + "\nl:\n";
  for (int i = 0; i < 1000; ++i) text += "- *x\n";
  CHECK(parse_yaml(text).error().message.ends_with("document contains excessive aliasing"));

  CHECK(parse_yaml(std::string(1'000'000, '[')).error().message ==
        "yaml: line 1: exceeded max depth of 1000");
  CHECK(parse_yaml(std::string(500'000, '-')).has_value());
  std::string nested;
  for (int i = 0; i < 1100; ++i) nested += "- ";
  CHECK(parse_yaml(nested).error().message == "yaml: line 1: exceeded max depth of 1000");
  CHECK(parse_yaml("aaaa", {.max_bytes = 3}).error().code == Code::too_large);
}

TEST_CASE("YAML streams") {
  const auto v = parse_yaml_stream("# none\n---\na: 1\n---\n---\n- 2\n...\n---\nb: 3\n");
  REQUIRE(v.has_value());
  REQUIRE(v->size() == 3);
  CHECK(to_json((*v)[0]) == R"({"a":1})");
  CHECK(to_json((*v)[1]) == "[2]");
  CHECK(to_json((*v)[2]) == R"({"b":3})");
  CHECK(parse_yaml_stream("")->empty());
  CHECK(parse_yaml_stream("a: 1\n---\nb: [").error().message ==
        "yaml: line 3: did not find expected node content");
  CHECK(parse_yaml_stream("a: &x 1\n---\nb: *x").error().message ==
        "yaml: line 3: unknown anchor 'x' referenced");
}

TEST_CASE("YAML is written as kubectl writes it") {
  struct Row {
    std::string_view json;
    std::string_view yaml;
  };
  const Row rows[] = {
      {"{}", "{}\n"},
      {"[]", "[]\n"},
      {R"({"b":1,"a":[1,{"c":2,"d":[]}],"e":{}})", "a:\n- 1\n- c: 2\n  d: []\nb: 1\ne: {}\n"},
      {R"({"a":null,"b":true,"c":1.5,"d":-3})", "a: null\nb: true\nc: 1.5\nd: -3\n"},
      {R"({"a":"true","b":"1","c":"","d":"~","e":"yes","f":"y"})",
       "a: \"true\"\nb: \"1\"\nc: \"\"\nd: \"~\"\ne: \"yes\"\nf: \"y\"\n"},
      {R"({"t":"2024-01-01T00:00:00Z","d":"2001-01-01","m":"12:30","p":"1.5","h":"0x1F"})",
       "d: \"2001-01-01\"\nh: \"0x1F\"\nm: \"12:30\"\np: \"1.5\"\nt: \"2024-01-01T00:00:00Z\"\n"},
      {R"({"a":"a: b","b":"- x","c":"#x","d":"x #y","e":"*","f":"{a","g":" a","h":"a "})",
       "a: 'a: b'\nb: '- x'\nc: '#x'\nd: 'x #y'\ne: '*'\nf: '{a'\ng: ' a'\nh: 'a '\n"},
      {R"({"a":"a:b","b":"it's","c":"-x","d":"10.0.0.0/8","e":"50%"})",
       "a: a:b\nb: it's\nc: -x\nd: 10.0.0.0/8\ne: 50%\n"},
      {R"({"a":"x\ny\n","b":"x\ny","c":"x\n\n","d":"\nx","e":"  x\ny"})",
       "a: |\n  x\n  y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |2-\n\n  x\ne: |2-\n    x\n  y\n"},
      {R"({"a":"x\ty","b":"x \ny","c":"\u0001"})", "a: \"x\\ty\"\nb: \"x \\ny\"\nc: \"\\x01\"\n"},
      {R"({"a10":1,"a2":1,"a1":1,"b":1,"A":1,"1":1,"_":1})",
       "_: 1\n\"1\": 1\nA: 1\na1: 1\na2: 1\na10: 1\nb: 1\n"},
      {R"([[1,[2]],[{"a":1}]])", "- - 1\n  - - 2\n- - a: 1\n"},
      {R"({"a":1e21,"b":1e20,"c":1500000.5,"d":0.00001})",
       "a: 1e+21\nb: 100000000000000000000\nc: 1.5000005e+06\nd: 1e-05\n"},
      {R"({"a":"\u00e9 \u4e16"})", "a: \xC3\xA9 \xE4\xB8\x96\n"},
      {R"({"a":"the quick brown fox jumps over the lazy dog and then the quick brown fox jumps again"})",
       "a: the quick brown fox jumps over the lazy dog and then the quick brown fox jumps\n  "
       "again\n"},
      {R"("\n\n")", "|2+\n\n\n"},
  };
  for (const Row& row : rows) {
    INFO(row.json);
    const Value v = *parse_json(row.json);
    CHECK(to_yaml(v) == row.yaml);
    CHECK(*parse_yaml(to_yaml(v)) == v);
  }
}

TEST_CASE("what YAML readers would mistake is quoted and comes back") {
  for (const std::string_view text : {"<<",         "null", "0644",      "1_000",
                                      ".inf",       "=",    "a\nb: c\n", "\xE2\x80\xA8",
                                      "\xC2\x85",   "---",  "a\n---\n",  "%",
                                      "@",          "`",    "!",         "&",
                                      "|",          ">",    "''",        "\"",
                                      "\\",         "?",    "? a",       ":",
                                      "a:",         ",",    "\r\n",      "\xEF\xBB\xBF",
                                      "key: |\n  x"}) {
    const Value v = Value::object({{text, text}});
    INFO(to_yaml(v));
    CHECK(*parse_yaml(to_yaml(v)) == v);
  }
}
