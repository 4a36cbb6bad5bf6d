// What must hold for every type and resource of the schema.
#include "skiff/api/schema.hpp"

#include <catch2/catch_test_macros.hpp>
#include <set>

#include "skiff/api/codec.hpp"

using namespace skiff::api;

namespace {

std::set<const Type*> known_types() { return {types().begin(), types().end()}; }

}  // namespace

TEST_CASE("every resource has a type with kind, apiVersion and metadata") {
  REQUIRE(resources().size() > 60);
  for (const Resource& r : resources()) {
    INFO(r.group << "/" << r.version << " " << r.plural);
    REQUIRE(r.type != nullptr);
    CHECK(r.type->field("kind") != nullptr);
    CHECK(r.type->field("apiVersion") != nullptr);
    REQUIRE(r.type->field("metadata") != nullptr);
    CHECK(r.type->field("metadata")->type->name ==
          "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    CHECK(r.verbs != 0);
    CHECK_FALSE(r.singular.empty());
    CHECK(find_resource(r.group, r.version, r.plural) == &r);
    CHECK(find_kind(r.group, r.version, r.kind) == &r);
    CHECK(find_resource(r.storage_group, r.storage_version, r.plural) != nullptr);
    if (r.allows(kList)) {
      const Type* list = list_type(r);
      REQUIRE(list != nullptr);
      CHECK(list->field("items")->type == r.type);
    }
  }
}

TEST_CASE("subresources name kinds; those that exchange documents have types") {
  const Resource* pods = find_resource("", "v1", "pods");
  REQUIRE(pods);
  CHECK(pods->subresource("exec")->type == nullptr);
  CHECK(pods->subresource("exec")->kind == "PodExecOptions");
  CHECK(pods->subresource("eviction")->group == "policy");
  CHECK(pods->subresource("eviction")->type->name == "io.k8s.api.policy.v1.Eviction");
  CHECK(pods->subresource("nothing") == nullptr);
  const Resource* deployments = find_resource("apps", "v1", "deployments");
  CHECK(deployments->subresource("scale")->group == "autoscaling");
  CHECK(deployments->subresource("scale")->kind == "Scale");
  CHECK(deployments->subresource("status")->type == deployments->type);
}

TEST_CASE("every field resolves") {
  auto known = known_types();
  for (const Type* t : types()) {
    std::set<std::string_view> names;
    for (const Field& f : t->fields) {
      INFO(t->name << "." << f.name);
      CHECK(names.insert(f.name).second);
      bool wants_type = f.kind == Kind::object || f.element_kind == Kind::object;
      if (wants_type) REQUIRE(f.type != nullptr);
      if (f.type) CHECK(known.contains(f.type));
      if (!f.merge_key.empty()) {
        REQUIRE(f.type != nullptr);
        CHECK(f.type->field(f.merge_key) != nullptr);
      }
      if (f.list_type == ListType::map) CHECK_FALSE(f.list_keys.empty());
      for (auto key : f.list_keys) CHECK(f.type->field(key) != nullptr);
      CHECK(f.minimum <= f.maximum);
      if (!f.default_json.empty()) CHECK(parse_json(f.default_json).has_value());
    }
  }
}

TEST_CASE("protobuf numbers are unique in each message") {
  for (const Type* t : types()) {
    std::set<std::tuple<int, int, int>> numbers;
    for (const Field& f : t->fields) {
      INFO(t->name << "." << f.name);
      if (f.number) CHECK(numbers.emplace(f.embedded_in[0], f.embedded_in[1], f.number).second);
    }
  }
}

TEST_CASE("known facts of the API") {
  const Type* spec = find_type("io.k8s.api.core.v1.PodSpec");
  REQUIRE(spec);
  const Field* containers = spec->field("containers");
  CHECK(containers->number == 2);
  CHECK(containers->merge_key == "name");
  CHECK(containers->list_keys.size() == 1);
  CHECK(spec->field("volumes")->retain_keys);
  CHECK(spec->field("nodeSelector")->atomic);
  CHECK(find_type("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector")->atomic);
  const Type* volume = find_type("io.k8s.api.core.v1.Volume");
  CHECK(volume->field("hostPath")->embedded_in[0] == 2);
  CHECK(find_type("io.k8s.api.core.v1.VolumeSource") == nullptr);  // only ever embedded
  CHECK(find_resource("coordination.k8s.io", "v1", "leases")->is_volatile);
  CHECK(storage_resource("events.k8s.io", "events")->group.empty());
  CHECK(storage_resource("autoscaling", "horizontalpodautoscalers")->version == "v2");
  CHECK(find_resource("", "v1", "pods")->short_names.front() == "po");
  CHECK_FALSE(find_resource("", "v1", "componentstatuses")->allows(kCreate));
}

TEST_CASE("an empty object of every kind decodes, defaults and is refused without crashing") {
  for (const Resource& r : resources()) {
    INFO(r.group << "/" << r.version << " " << r.plural);
    Value doc = Value::object();
    REQUIRE(decode(*r.type, doc, nullptr).has_value());
    apply_defaults(r, doc);
    Value again = doc;
    apply_defaults(r, again);
    CHECK(again == doc);
    CHECK(to_json(again) == to_json(doc));
    FieldErrors errors;
    validate(r, doc, nullptr, "", errors);
    if (r.allows(kGet)) CHECK_FALSE(errors.empty());  // at least the name is missing
  }
}
