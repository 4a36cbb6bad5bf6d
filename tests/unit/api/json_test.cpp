#include <catch2/catch_test_macros.hpp>

#include "skiff/api/value.hpp"

using namespace skiff;
using namespace skiff::api;

// Rows agree with Go 1.26's encoding/json, through which every client of the API looks.
TEST_CASE("JSON is read and written back") {
  struct Row {
    std::string_view in;
    std::string_view out;  // empty: the same
  };
  const Row rows[] = {
      {"null", ""},
      {"true", ""},
      {" \t\r\n{ } ", "{}"},
      {"[]", ""},
      {"[1,[2,[3]],{}]", ""},
      {"0", ""},
      {"-0", "0"},
      {"123456789012345678", ""},
      {"1234567890123456789", ""},
      {"9223372036854775807", ""},
      {"-9223372036854775808", ""},
      {"9223372036854775808", "9223372036854776000"},
      {"18446744073709551616", "18446744073709552000"},
      {"1.5", ""},
      {"1.0", "1"},
      {"1e3", "1000"},
      {"1E3", "1000"},
      {"1e20", "100000000000000000000"},
      {"1e21", "1e+21"},
      {"1e-6", "0.000001"},
      {"1e-7", "1e-7"},
      {"1.5e-9", "1.5e-9"},
      {"-1.25e+30", "-1.25e+30"},
      {"0.1", ""},
      {"1e-400", "0"},
      {"5e-324", ""},
      {"1.7976931348623157e308", "1.7976931348623157e+308"},
      {R"("a\"\\\/\b\f\n\r\t\u0041\u00e9\u4e16")",
       "\"a\\\"\\\\/\\b\\f\\n\\r\\tA\xC3\xA9\xE4\xB8\x96\""},
      {R"("\ud83d\ude00")", "\"\xF0\x9F\x98\x80\""},
      {R"("\ud800")", "\"\xEF\xBF\xBD\""},
      {R"("\ud800\u0041")",
       "\"\xEF\xBF\xBD"
       "A\""},
      {R"("\u0000\u001f")", ""},
      {R"("<>&")", ""},
      {"\"\x7F\"", ""},
      {R"({"b":1,"a":{"c":[true,false,null]}})", ""},
      {R"({"":1})", ""},
      {R"({"a":1,"a":{"x":1},"a":3})", R"({"a":3})"},
      {"\"a long string that takes more than one step of eight bytes \xC3\xA9 and goes on\"", ""},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto v = parse_json(row.in);
    REQUIRE(v.has_value());
    CHECK(to_json(*v) == (row.out.empty() ? row.in : row.out));
    CHECK(*parse_json(to_json(*v)) == *v);
    CHECK(*parse_json(to_json(*v, 2)) == *v);
  }
}

TEST_CASE("JSON errors are worded as Go words them") {
  struct Row {
    std::string_view in;
    std::string_view error;
  };
  const Row rows[] = {
      {"", "unexpected end of JSON input (offset 0)"},
      {"  ", "unexpected end of JSON input (offset 2)"},
      {"x", "invalid character 'x' looking for beginning of value (offset 0)"},
      {"'a'", "invalid character '\\'' looking for beginning of value (offset 0)"},
      {"[1,x]", "invalid character 'x' looking for beginning of value (offset 3)"},
      {"\\", "invalid character '\\\\' looking for beginning of value (offset 0)"},
      {"\x01", "invalid character '\\x01' looking for beginning of value (offset 0)"},
      {"\xFF", "invalid character '\xC3\xBF' looking for beginning of value (offset 0)"},
      {"\xC2\x80", "invalid character '\xC3\x82' looking for beginning of value (offset 0)"},
      {"tru", "invalid character ' ' in literal true (expecting 'e') (offset 3)"},
      {"trux", "invalid character 'x' in literal true (expecting 'e') (offset 3)"},
      {"nul,", "invalid character ',' in literal null (expecting 'l') (offset 3)"},
      {"falsy", "invalid character 'y' in literal false (expecting 'e') (offset 4)"},
      {"{", "unexpected end of JSON input (offset 1)"},
      {"{a:1}", "invalid character 'a' looking for beginning of object key string (offset 1)"},
      {"{1:1}", "invalid character '1' looking for beginning of object key string (offset 1)"},
      {"{,}", "invalid character ',' looking for beginning of object key string (offset 1)"},
      {R"({"a"})", "invalid character '}' after object key (offset 4)"},
      {R"({"a" 1})", "invalid character '1' after object key (offset 5)"},
      {R"({"a":})", "invalid character '}' looking for beginning of value (offset 5)"},
      {R"({"a":1 "b"})", "invalid character '\"' after object key:value pair (offset 7)"},
      {R"({"a":1,})",
       "invalid character '}' looking for beginning of object key string (offset 7)"},
      {"[1 2]", "invalid character '2' after array element (offset 3)"},
      {"[1,]", "invalid character ']' looking for beginning of value (offset 3)"},
      {"[1", "unexpected end of JSON input (offset 2)"},
      {"{}x", "invalid character 'x' after top-level value (offset 2)"},
      {"01", "invalid character '1' after top-level value (offset 1)"},
      {"-", "invalid character ' ' in numeric literal (offset 1)"},
      {"-x", "invalid character 'x' in numeric literal (offset 1)"},
      {"1.", "invalid character ' ' after decimal point in numeric literal (offset 2)"},
      {"[1.x]", "invalid character 'x' after decimal point in numeric literal (offset 3)"},
      {"1e", "invalid character ' ' in exponent of numeric literal (offset 2)"},
      {"1e+]", "invalid character ']' in exponent of numeric literal (offset 3)"},
      {"+1", "invalid character '+' looking for beginning of value (offset 0)"},
      {"NaN", "invalid character 'N' looking for beginning of value (offset 0)"},
      {"1e400", "json: cannot unmarshal number 1e400 into Go value of type float64 (offset 0)"},
      {"\"a", "unexpected end of JSON input (offset 2)"},
      {"\"a\n\"", "invalid character '\\n' in string literal (offset 2)"},
      {"\"\\x\"", "invalid character 'x' in string escape code (offset 2)"},
      {"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape (offset 5)"},
      {"\"\xFF\"", "invalid UTF-8 in string literal (offset 1)"},
      {"\"\xC0\x80\"", "invalid UTF-8 in string literal (offset 1)"},
      {"\"\xED\xA0\x80\"", "invalid UTF-8 in string literal (offset 1)"},
      {"\"\xF4\x90\x80\x80\"", "invalid UTF-8 in string literal (offset 1)"},
      {"\"\xE2\x82\"", "invalid UTF-8 in string literal (offset 1)"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto v = parse_json(row.in);
    REQUIRE_FALSE(v.has_value());
    CHECK(v.error().message == row.error);
    CHECK(v.error().code == Code::bad_request);
  }
}

TEST_CASE("JSON limits are kept") {
  const std::string deep(3U << 20U, '[');
  CHECK(parse_json(deep).error().message == "exceeded max depth (offset 1000)");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  CHECK(parse_json(objects).error().message == "exceeded max depth (offset 5000)");
  const std::string ok = std::string(1000, '[') + std::string(1000, ']');
  CHECK(parse_json(ok).has_value());
  CHECK(parse_json("[[]]", {.max_depth = 1}).error().message == "exceeded max depth (offset 1)");
  const auto large = parse_json(deep + "[");
  CHECK(large.error().code == Code::too_large);
  CHECK(large.error().message == "Request entity too large: limit is 3145728");
}

TEST_CASE("duplicate names are reported by path") {
  struct Row {
    std::string_view in;
    std::vector<std::string> paths;
  };
  const Row rows[] = {
      {R"({"a":1,"b":2})", {}},
      {R"({"a":1,"a":2})", {"a"}},
      {R"({"a":1,"a":2,"a":3})", {"a", "a"}},
      {R"({"spec":{"replicas":1,"replicas":2}})", {"spec.replicas"}},
      {R"({"a":{"a":1,"a":2}})", {"a.a"}},
      {R"({"spec":{"containers":[{"name":"x"},{"image":"a","image":"b"}]}})",
       {"spec.containers[1].image"}},
      {R"([[{"a":1,"a":2}]])", {"[0][0].a"}},
      {R"({"a":[{"b":1}],"a":[{"b":1,"b":1}]})", {"a", "a[0].b"}},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    std::vector<std::string> paths;
    REQUIRE(parse_json(row.in, {}, &paths).has_value());
    CHECK(paths == row.paths);
  }
}

TEST_CASE("large objects find their duplicates too") {
  std::string text = R"({"x":{)";
  for (int i = 0; i < 50'000; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  text += R"("k7":2,"last":3}})";
  std::vector<std::string> paths;
  const auto v = parse_json(text, {}, &paths);
  REQUIRE(v.has_value());
  CHECK(paths == std::vector<std::string>{"x.k7"});
  CHECK((*v)["x"].size() == 50'001);
  CHECK((*v)["x"]["k7"].as_int() == 2);

  std::string same = "{";
  for (int i = 0; i < 100'000; ++i) same += "\"same\":1,";
  paths.clear();
  CHECK(parse_json(same + "\"same\":2}", {}, &paths)->size() == 1);
  CHECK(paths.size() == 100);
}

TEST_CASE("JSON is indented") {
  const Value v = *parse_json(R"({"a":[1,{"b":2}],"c":{},"d":[]})");
  CHECK(to_json(v, 2) == R"({
  "a": [
    1,
    {
      "b": 2
    }
  ],
  "c": {},
  "d": []
})");
}

TEST_CASE("bytes that are not UTF-8 are replaced when written") {
  CHECK(to_json(Value("a\xff b\xc3")) == "\"a\\ufffd b\\ufffd\"");
  CHECK(to_json(Value("\xed\xa0\x80 \xc3\xa9")) == "\"\\ufffd\\ufffd\\ufffd \xc3\xa9\"");
  CHECK(is_utf8("\xc3\xa9\n"));
  CHECK_FALSE(is_utf8("\xc3"));
}

TEST_CASE("strings longer than the writer's buffer") {
  for (const std::size_t n : {1000U, 1023U, 1024U, 1025U, 4095U, 4096U, 4097U, 20'000U}) {
    const Value v = Value::array({std::string(n, 'x'), std::string(n, '\n'), std::string(n, '"')});
    CHECK(*parse_json(to_json(v)) == v);
  }
  std::string out = "before ";
  append_json(out, Value::array({1}));
  CHECK(out == "before [1]");
}
