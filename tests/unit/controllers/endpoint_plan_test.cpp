#include "endpoint_plan.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::controllers;

namespace {

const std::vector<std::string> kV4{"IPv4"};

Value endpoint(int n, bool ready = true) {
  Value e = Value::object({{"conditions", Value::object({{"ready", ready}})}});
  e.member("addresses")
      .push_back("10.0." + std::to_string(n / 250) + "." + std::to_string(n % 250));
  return e;
}

EndpointGroup group(int from, int to, int port = 80) {
  EndpointGroup g{"IPv4", Value::array({Value::object({{"port", port}})}), {}};
  for (int i = from; i < to; ++i) g.endpoints.push_back(endpoint(i));
  return g;
}

Value frame() {
  Value f;
  f.member("metadata").set("labels", Value::object({{"a", "b"}}));
  f.member("metadata").set("ownerReferences", Value::array());
  return f;
}

ObjectPtr slice(const char* name, const EndpointGroup& g) {
  Value s = frame();
  s.member("metadata").set("name", name);
  s.set("addressType", g.address_type);
  s.set("ports", g.ports);
  Value endpoints = Value::array();
  for (const Value& e : g.endpoints) endpoints.push_back(e);
  s.set("endpoints", std::move(endpoints));
  return api::Object::make(std::move(s));
}

std::vector<EndpointGroup> one(EndpointGroup g) {
  std::vector<EndpointGroup> out;
  out.push_back(std::move(g));
  return out;
}

}  // namespace

TEST_CASE("a service without endpoints has one empty slice per family") {
  const Value f = frame();
  SliceChanges c = plan_slices({}, {}, f, kV4);
  REQUIRE(c.create.size() == 1);
  CHECK(c.create[0]["endpoints"].is_array());
  const std::vector<ObjectPtr> there{slice("s", {"IPv4", Value::array(), {}})};
  CHECK(plan_slices({}, there, f, kV4).empty());
}

TEST_CASE("endpoints are split over slices of a hundred") {
  const Value f = frame();
  const SliceChanges c = plan_slices(one(group(0, 250)), {}, f, kV4);
  REQUIRE(c.create.size() == 3);
  std::size_t total = 0;
  for (const Value& s : c.create) {
    CHECK(s["endpoints"].size() <= kMaxPerSlice);
    total += s["endpoints"].size();
  }
  CHECK(total == 250);
}

TEST_CASE("what is as wanted is left alone") {
  const Value f = frame();
  const std::vector<ObjectPtr> there{slice("s1", group(0, 100)), slice("s2", group(100, 120))};
  CHECK(plan_slices(one(group(0, 120)), there, f, kV4).empty());
}

TEST_CASE("one new endpoint touches one slice, one with room") {
  const Value f = frame();
  const std::vector<ObjectPtr> there{slice("s1", group(0, 100)), slice("s2", group(100, 120)),
                                     slice("s3", group(120, 130))};
  const SliceChanges c = plan_slices(one(group(0, 131)), there, f, kV4);
  CHECK(c.create.empty());
  REQUIRE(c.update.size() == 1);
  CHECK(c.update[0]["metadata"]["name"].as_string() == "s2");
  CHECK(c.update[0]["endpoints"].size() == 21);
}

TEST_CASE("a slice that changes anyway takes new endpoints first") {
  const Value f = frame();
  const std::vector<ObjectPtr> there{slice("s1", group(0, 50)), slice("s2", group(50, 110))};
  EndpointGroup wanted = group(0, 111);
  wanted.endpoints[0] = endpoint(0, false);
  const SliceChanges c = plan_slices(one(std::move(wanted)), there, f, kV4);
  REQUIRE(c.update.size() == 1);
  CHECK(c.update[0]["metadata"]["name"].as_string() == "s1");
  CHECK(c.update[0]["endpoints"].size() == 51);
}

TEST_CASE("empty slices go, all but one that becomes the placeholder") {
  const Value f = frame();
  const std::vector<ObjectPtr> there{slice("s1", group(0, 100)), slice("s2", group(100, 120))};
  const SliceChanges c = plan_slices({}, there, f, kV4);
  CHECK(c.create.empty());
  REQUIRE(c.update.size() == 1);
  CHECK(c.update[0]["endpoints"].empty());
  CHECK(c.remove.size() == 1);
}

TEST_CASE("a change of ports rewrites the slice instead of replacing it") {
  const Value f = frame();
  const std::vector<ObjectPtr> there{slice("s1", group(0, 5, 80))};
  const SliceChanges c = plan_slices(one(group(0, 5, 81)), there, f, kV4);
  CHECK(c.create.empty());
  CHECK(c.remove.empty());
  REQUIRE(c.update.size() == 1);
  CHECK(c.update[0]["ports"][std::size_t{0}]["port"].as_int() == 81);
}

TEST_CASE("changed labels reach every slice") {
  Value f = frame();
  const std::vector<ObjectPtr> there{slice("s1", group(0, 100)), slice("s2", group(100, 120))};
  f.member("metadata").member("labels").set("new", "label");
  CHECK(plan_slices(one(group(0, 120)), there, f, kV4).update.size() == 2);
}

TEST_CASE("ports are looked up by name and protocol, in sidecars too") {
  const Value service = *api::parse_json(R"({"spec":{"ports":[
      {"name":"http","port":80,"targetPort":"web"},
      {"name":"dns","port":53,"protocol":"UDP","targetPort":"dns"},
      {"name":"side","port":1,"targetPort":"metrics"},
      {"name":"none","port":2,"targetPort":"nowhere"},
      {"name":"same","port":7}]}})");
  const Value pod = *api::parse_json(R"({"spec":{
      "initContainers":[{"restartPolicy":"Always","ports":[{"name":"metrics","containerPort":9}]},
                        {"ports":[{"name":"nowhere","containerPort":10}]}],
      "containers":[{"ports":[{"name":"web","containerPort":8080},
                              {"name":"dns","containerPort":54},
                              {"name":"dns","containerPort":53,"protocol":"UDP"}]}]}})");
  const Value ports = resolve_ports(service, pod);
  std::map<std::string, std::int64_t> found;
  for (const Value& p : ports.items()) found[p["name"].as_string()] = p["port"].as_int();
  const std::map<std::string, std::int64_t> want{
      {"http", 8080}, {"dns", 53}, {"side", 9}, {"same", 7}};
  CHECK(found == want);
}
