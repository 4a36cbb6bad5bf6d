#include <catch2/catch_test_macros.hpp>

#include "skiff/api/selector.hpp"

using namespace skiff;
using namespace skiff::api;

namespace {

const std::string kNameRule =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const std::string kValueRule =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value', "
    " or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

Value json(std::string_view text) { return *parse_json(text); }

}  // namespace

// Rows agree with k8s.io/apimachinery v0.35 pkg/labels.
TEST_CASE("label selectors are read and written") {
  struct Row {
    std::string_view in;
    std::string_view out;
  };
  const Row rows[] = {
      {"", ""},
      {"  ", ""},
      {"a=b", "a=b"},
      {"a==b", "a=b"},
      {"a!=b", "a!=b"},
      {" a = b , c != d ", "a=b,c!=d"},
      {"z,a,m", "a,m,z"},
      {"a", "a"},
      {"!a", "!a"},
      {"! a", "!a"},
      {"a=", "a="},
      {"a=,b", "a=,b"},
      {"a==", "a="},
      {"a in (b)", "a=b"},
      {"a in (c,b)", "a in (b,c)"},
      {"a in (b,,c)", "a in (,b,c)"},
      {"a in ()", "a="},
      {"a in (,)", "a="},
      {"a notin (b,c)", "a notin (b,c)"},
      {"a notin(b,b,c)", "a notin (b,c)"},
      {"in in (in,notin)", "in in (in,notin)"},
      {"notin notin (in)", "notin!=in"},
      {"in", "in"},
      {"a>1,b<5", "a>1,b<5"},
      {"app.kubernetes.io/name=web", "app.kubernetes.io/name=web"},
      {"a\t=\nb", "a=b"},
      {"a,a=b,!a", "a,a=b,!a"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto s = LabelSelector::parse(row.in);
    REQUIRE(s.has_value());
    CHECK(s->to_string() == row.out);
    CHECK(LabelSelector::parse(s->to_string())->to_string() == row.out);
  }
  CHECK(LabelSelector::parse("")->empty());
}

TEST_CASE("wrong label selectors are refused in upstream's words") {
  struct Row {
    std::string in;
    std::string error;
  };
  const Row rows[] = {
      {"=a", "found '=', expected: !, identifier, or 'end of string'"},
      {",a", "found ',', expected: !, identifier, or 'end of string'"},
      {"a,", "found '', expected: identifier after ','"},
      {"a,,b", "found ',', expected: identifier after ','"},
      {"a=b=c", "found '=', expected: ',' or 'end of string'"},
      {"a=b c", "found 'c', expected: ',' or 'end of string'"},
      {"!", "unable to parse requirement: found '', expected: identifier"},
      {"!=", "found '!=', expected: !, identifier, or 'end of string'"},
      {"!a=b", "found '=', expected: ',' or 'end of string'"},
      {"a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"},
      {"a gt 1", "unable to parse requirement: found 'gt', expected: in, notin, =, ==, !=, gt, lt"},
      {"a in b", "unable to parse requirement: found 'b' expected: '('"},
      {"a in (b", "unable to parse requirement: found '', expected: ',' or ')'"},
      {"a in (b,", "unable to parse requirement: found '', expected: ',', or identifier"},
      {"a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"},
      {"a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"},
      {"a===b", "unable to parse requirement: found '=', expected: identifier"},
      {"-a", "unable to parse requirement: <nil>: Invalid value: \"-a\": name part " + kNameRule},
      {"a/",
       "unable to parse requirement: <nil>: Invalid value: \"a/\": name part must be "
       "non-empty; name part " +
           kNameRule},
      {"/a",
       "unable to parse requirement: <nil>: Invalid value: \"/a\": prefix part must be "
       "non-empty"},
      {"a/b/c", "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key " +
                    kNameRule +
                    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"},
      {std::string(64, 'x'), "unable to parse requirement: <nil>: Invalid value: \"" +
                                 std::string(64, 'x') +
                                 "\": name part must be no more than 63 bytes"},
      {"a=b-", "unable to parse requirement: values[0][a]: Invalid value: \"b-\": " + kValueRule},
      {"a=" + std::string(64, 'x'), "unable to parse requirement: values[0][a]: Invalid value: \"" +
                                        std::string(64, 'x') + "\": must be no more than 63 bytes"},
      {"a>b",
       "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' "
       "operators, the value must be an integer"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto s = LabelSelector::parse(row.in);
    REQUIRE_FALSE(s.has_value());
    CHECK(s.error().message == row.error);
    CHECK(s.error().code == Code::bad_request);
  }
}

TEST_CASE("label selectors match") {
  struct Row {
    std::string_view selector;
    std::string_view labels;
    bool matches;
  };
  const Row rows[] = {
      {"", "null", true},
      {"", R"({"a":"b"})", true},
      {"a=b", R"({"a":"b"})", true},
      {"a=b", R"({"a":"c"})", false},
      {"a=b", "{}", false},
      {"a=b", "null", false},
      {"a!=b", "{}", true},
      {"a!=b", R"({"a":"c"})", true},
      {"a!=b", R"({"a":"b"})", false},
      {"a in (b,c)", R"({"a":"c"})", true},
      {"a notin (b,c)", R"({"a":"c"})", false},
      {"a notin (b,c)", R"({"x":"c"})", true},
      {"a", R"({"a":""})", true},
      {"!a", R"({"a":""})", false},
      {"a=", R"({"a":""})", true},
      {"a=", "{}", false},
      {"a>5", R"({"a":"6"})", true},
      {"a>5", R"({"a":"5"})", false},
      {"a>5", R"({"a":"x"})", false},
      {"a<5", R"({"a":"-7"})", true},
      {"a<5", "{}", false},
      {"a=b,c=d", R"({"a":"b","c":"d","e":"f"})", true},
      {"a=b,c=d", R"({"a":"b"})", false},
  };
  for (const Row& row : rows) {
    INFO(row.selector << " on " << row.labels);
    CHECK(LabelSelector::parse(row.selector)->matches(json(row.labels)) == row.matches);
  }
}

TEST_CASE("label selector documents") {
  struct Row {
    std::string_view in;
    std::string_view out;  // text, or after "!" the error
  };
  const Row rows[] = {
      {"{}", ""},
      {R"({"matchLabels":{"b":"2","a":"1"}})", "a=1,b=2"},
      {R"({"matchExpressions":[{"key":"a","operator":"In","values":["x","y"]},
          {"key":"b","operator":"Exists"}]})",
       "a in (x,y),b"},
      {R"({"matchExpressions":[{"key":"a","operator":"NotIn","values":["x"]},
          {"key":"b","operator":"DoesNotExist"}]})",
       "a!=x,!b"},
      {R"({"matchExpressions":[{"key":"a","operator":"Gt","values":["1"]}]})",
       "!\"Gt\" is not a valid label selector operator"},
      {R"({"matchExpressions":[{"key":"a","operator":"in"}]})",
       "!\"in\" is not a valid label selector operator"},
      {R"({"matchExpressions":[{"key":"a","operator":"In"}]})",
       "!values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"},
      {R"({"matchExpressions":[{"key":"a","operator":"Exists","values":["x"]}]})",
       "!values: Invalid value: [\"x\"]: values set must be empty for exists and does not exist"},
      {"[]", "!a label selector must be an object"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto s = LabelSelector::from(json(row.in));
    CHECK((s ? s->to_string() : "!" + s.error().message) == row.out);
  }
  const auto nothing = LabelSelector::from(Value());
  CHECK(nothing->selects_nothing());
  CHECK_FALSE(nothing->matches(json(R"({"a":"b"})")));
  CHECK_FALSE(nothing->empty());
  CHECK(LabelSelector::from_map(json(R"({"b":"2","a":"1"})")).to_string() == "a=1,b=2");
  const auto above =
      LabelSelector::requirement(json(R"({"key":"a","operator":"Gt","values":["1"]})"));
  REQUIRE(above.has_value());
  CHECK(LabelSelector::matches(*above, json(R"({"a":"2"})")));
}

TEST_CASE("field selectors") {
  struct Row {
    std::string_view in;
    std::string_view out;  // text, or after "!" the error
  };
  const Row rows[] = {
      {"", ""},
      {"metadata.name=x", "metadata.name=x"},
      {"metadata.name==x", "metadata.name=x"},
      {"spec.nodeName!=y,metadata.name=x", "metadata.name=x,spec.nodeName!=y"},
      {"a=b\\,c", "a=b\\,c"},
      {"a=b\\=c", "a=b\\=c"},
      {"a=b\\\\", "a=b\\\\"},
      {"a=", "a="},
      {",a=b,", "a=b"},
      {"a= b ", "a= b "},
      {"a", "!invalid selector: 'a'; can't understand 'a'"},
      {"a=b,c", "!invalid selector: 'a=b,c'; can't understand 'c'"},
      {"a=b=c", "!invalid field selector: unescaped character in value: 61"},
      {"a=\\x", "!invalid field selector: invalid escape sequence: \\x"},
      {"a=b\\", "!invalid field selector: invalid escape sequence: \\"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    const auto s = FieldSelector::parse(row.in);
    CHECK((s ? s->to_string() : "!" + s.error().message) == row.out);
  }
}

TEST_CASE("field selectors match") {
  const Value pod = json(
      R"({"metadata":{"name":"web"},"spec":{"nodeName":"n1","hostNetwork":true,"priority":7},
          "status":{"phase":"Running"}})");
  struct Row {
    std::string_view selector;
    bool matches;
  };
  const Row rows[] = {
      {"", true},
      {"metadata.name=web", true},
      {"metadata.name=db", false},
      {"metadata.name!=db", true},
      {"spec.nodeName=n1,status.phase!=Failed", true},
      {"spec.nodeName=", false},
      {"spec.hostNetwork=true", true},
      {"spec.priority=7", true},
      {"status.podIP=", true},
      {"status.podIP!=", false},
      {"no.such.thing=", true},
      {"metadata=", true},
  };
  for (const Row& row : rows) {
    INFO(row.selector);
    CHECK(FieldSelector::parse(row.selector)->matches(pod) == row.matches);
  }
}
