#include <catch2/catch_test_macros.hpp>

#include "skiff/api/codec.hpp"

using namespace skiff::api;

namespace {

const Type& type_of(std::string_view group, std::string_view kind) {
  return *find_kind(group, "v1", kind)->type;
}

struct Decoded {
  std::string json;
  std::string error;
  std::vector<std::string> unknown;
};

Decoded run(std::string_view group, std::string_view kind, std::string_view json) {
  Decoded out;
  Value doc = parse_json(json).value();
  auto result = decode(type_of(group, kind), doc, &out.unknown);
  if (result)
    out.json = to_json(doc);
  else
    out.error = result.error().message;
  return out;
}

}  // namespace

TEST_CASE("decoding gives the form Go encodes") {
  struct Row {
    const char* what;
    const char* group;
    const char* kind;
    const char* in;
    const char* out;
  };
  const Row rows[] = {
      {"order of members", "", "ConfigMap",
       R"({"data":{"b":"2","a":"1"},"metadata":{"namespace":"n","name":"x"},"apiVersion":"v1","kind":"ConfigMap"})",
       R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"n"},"data":{"a":"1","b":"2"}})"},
      {"nulls and empty optional members", "", "ConfigMap",
       R"({"metadata":{"name":"x","creationTimestamp":null,"labels":{},"uid":""},"data":{},"immutable":false})",
       R"({"metadata":{"name":"x"},"immutable":false})"},
      {"structs that are no pointers stay", "apps", "Deployment",
       R"({"metadata":{"name":"x"},"spec":{"selector":{},"template":{"spec":{"containers":[{"name":"c"}]}}}})",
       R"({"metadata":{"name":"x"},"spec":{"selector":{},"template":{"metadata":{},"spec":{"containers":[{"name":"c","resources":{}}]}},"strategy":{}},"status":{}})"},
      {"members always encoded", "apps", "DaemonSet", R"({"status":{"numberReady":2}})",
       R"({"metadata":{},"spec":{"template":{"metadata":{},"spec":{}},"updateStrategy":{}},"status":{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":2}})"},
      {"quantities", "", "ResourceQuota",
       R"({"spec":{"hard":{"cpu":"0.5","memory":"1024Mi","pods":10}}})",
       R"({"metadata":{},"spec":{"hard":{"cpu":"500m","memory":"1Gi","pods":"10"}},"status":{}})"},
      {"times", "coordination.k8s.io", "Lease",
       R"({"metadata":{"creationTimestamp":"2026-01-02T04:04:05+01:00"},"spec":{"renewTime":"2026-01-02T03:04:05Z"}})",
       R"({"metadata":{"creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"renewTime":"2026-01-02T03:04:05.000000Z"}})"},
      {"null elements become zero", "rbac.authorization.k8s.io", "Role",
       R"({"metadata":{},"rules":[{"verbs":["get",null],"resources":[]}]})",
       R"({"metadata":{},"rules":[{"verbs":["get",""]}]})"},
      {"null values of maps become empty", "", "Secret",
       R"({"metadata":{},"stringData":{"a":null},"data":{"b":null,"c":"YQ=="}})",
       R"({"metadata":{},"data":{"b":"","c":"YQ=="},"stringData":{"a":""}})"},
      {"maps of lists", "authorization.k8s.io", "SubjectAccessReview",
       R"({"spec":{"user":"u","extra":{"k":["a","b"]}}})",
       R"({"metadata":{},"spec":{"user":"u","extra":{"k":["a","b"]}},"status":{"allowed":false}})"},
      {"line breaks in base64", "", "Secret", "{\"metadata\":{},\"data\":{\"a\":\"YW\\nJj\\n\"}}",
       R"({"metadata":{},"data":{"a":"YWJj"}})"},
      {"raw documents are left alone", "apps", "ControllerRevision",
       R"({"metadata":{},"data":{"z":null,"a":1},"revision":3})",
       R"({"metadata":{},"data":{"z":null,"a":1},"revision":3})"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    auto got = run(row.group, row.kind, row.in);
    CHECK(got.error.empty());
    CHECK(got.json == row.out);
    CHECK(got.unknown.empty());
  }
}

TEST_CASE("unknown fields are removed and named") {
  struct Row {
    const char* group;
    const char* kind;
    const char* in;
    std::vector<std::string> unknown;
  };
  const Row rows[] = {
      {"",
       "Pod",
       R"({"foo":1,"spec":{"containers":[{"name":"c"},{"nmae":"d"}],"bar":{}}})",
       {R"(unknown field "foo")", R"(unknown field "spec.containers[1].nmae")",
        R"(unknown field "spec.bar")"}},
      {"apps",
       "Deployment",
       R"({"spec":{"template":{"spec":{"containers":[{"name":"c","foo":null}]}}}})",
       {R"(unknown field "spec.template.spec.containers[0].foo")"}},
      {"", "Pod", R"({"Spec":{}})", {R"(unknown field "Spec")"}},
      {"", "Pod", R"({"metadata":{"Name":"x"}})", {R"(unknown field "metadata.Name")"}},
      {"apiextensions.k8s.io",
       "CustomResourceDefinition",
       R"({"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"properties":{"a":{"typ":"x"}},"items":{"foo":1}}}}]}})",
       {R"(unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.typ")",
        R"(unknown field "spec.versions[0].schema.openAPIV3Schema.items.foo")"}},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    auto got = run(row.group, row.kind, row.in);
    CHECK(got.error.empty());
    CHECK(got.unknown == row.unknown);
    CHECK(got.json.find("foo") == std::string::npos);
  }
}

TEST_CASE("at most a hundred unknown fields are reported") {
  Value doc = Value::object();
  for (int i = 0; i < 500; ++i) doc.set("f" + std::to_string(i), i);
  std::vector<std::string> unknown;
  REQUIRE(decode(type_of("", "Pod"), doc, &unknown).has_value());
  CHECK(unknown.size() == 100);
}

TEST_CASE("wrong types are worded as Go words them") {
  struct Row {
    const char* group;
    const char* kind;
    const char* in;
    const char* error;
  };
  const Row rows[] = {
      {"apps", "Deployment", R"({"spec":{"replicas":"three"}})",
       "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type "
       "int32"},
      {"apps", "Deployment", R"({"spec":{"replicas":3000000000}})",
       "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas "
       "of type int32"},
      {"apps", "Deployment", R"({"spec":{"replicas":1.5}})",
       "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of "
       "type int32"},
      {"", "Pod", R"({"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}})",
       "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of "
       "type string"},
      {"", "Pod", R"({"spec":{"containers":{"name":"c"}}})",
       "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type "
       "[]v1.Container"},
      {"", "Pod", R"({"spec":{"containers":["c"]}})",
       "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type "
       "v1.Container"},
      {"", "Pod", R"({"metadata":{"labels":{"a":true}}})",
       "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type "
       "string"},
      {"", "Pod", R"({"metadata":{"labels":["a"]}})",
       "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type "
       "map[string]string"},
      {"", "Pod", R"({"spec":{"hostNetwork":"yes"}})",
       "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"},
      {"", "Pod", R"([])", "json: cannot unmarshal array into Go value of type v1.Pod"},
      {"", "Service", R"({"spec":{"ports":[{"targetPort":true}]}})",
       "json: cannot unmarshal bool into Go value of type int32"},
      {"", "Pod", R"({"metadata":{"creationTimestamp":"yesterday"}})",
       "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as "
       "\"2006\""},
      {"", "Pod", R"({"metadata":{"creationTimestamp":"2026-01-02 03:04:05Z"}})",
       "parsing time \"2026-01-02 03:04:05Z\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \" "
       "03:04:05Z\" as \"T\""},
      {"", "Secret", R"({"data":{"a":"not base64!"}})", "illegal base64 data at input byte 3"},
      {"", "Secret", R"({"data":{"a":"YWJ"}})", "illegal base64 data at input byte 0"},
      {"", "Secret", R"({"data":{"a":"YW=="}})", ""},
      {"", "ResourceQuota", R"({"spec":{"hard":{"cpu":"lots"}}})",
       "quantities must match the regular expression "
       "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
  };
  for (const Row& row : rows) {
    INFO(row.in);
    CHECK(run(row.group, row.kind, row.in).error == row.error);
  }
}
