#include <catch2/catch_test_macros.hpp>

#include "support/fake_client.hpp"
#include "support/loop.hpp"

#include "skiff/client/reconcile.hpp"

using namespace skiff;
using api::Value;
using test::FakeClient;
using test::Loop;
using test::Tasks;

namespace {

const client::Ref kEvents = client::resources::kEvents;

Value pod(const std::string& name) {
  return Value::object(
      {{"apiVersion", "v1"},
       {"kind", "Pod"},
       {"metadata", Value::object({{"name", name}, {"namespace", "a"}, {"uid", "uid-" + name}})}});
}

struct Fixture {
  Loop loop;
  FakeClient api{loop.env};
  client::EventRecorder recorder{loop.env, api, "tester", "here"};
  Tasks tasks{loop};
  Fixture() { recorder.start(tasks.group); }
};

}  // namespace

TEST_CASE("an event is written with what upstream's has") {
  Fixture f;
  f.recorder.event(pod("x"), "Normal", "Started", "Started container", "spec.containers{web}");
  f.loop.run(1s);
  const auto events = f.api.all(kEvents);
  REQUIRE(events.size() == 1);
  const Value& e = events[0]->root();
  CHECK(e["metadata"]["namespace"].as_string() == "a");
  CHECK(e["metadata"]["name"].as_string().starts_with("x."));
  CHECK(e["involvedObject"]["fieldPath"].as_string() == "spec.containers{web}");
  CHECK(e["involvedObject"]["uid"].as_string() == "uid-x");
  CHECK(e["source"]["component"].as_string() == "tester");
  CHECK(e["source"]["host"].as_string() == "here");
  CHECK(e["count"].as_int() == 1);
  CHECK(e["firstTimestamp"] == e["lastTimestamp"]);
}

TEST_CASE("the same event counts up instead of multiplying") {
  Fixture f;
  for (int i = 0; i < 3; ++i) {
    f.recorder.event(pod("x"), "Warning", "BackOff", "again");
    f.loop.run(10s);
  }
  REQUIRE(f.api.all(kEvents).size() == 1);
  CHECK((*f.api.all(kEvents)[0])["count"].as_int() == 3);
  f.loop.run(1h);
  f.recorder.event(pod("x"), "Warning", "BackOff", "again");
  f.loop.run(1s);
  CHECK(f.api.all(kEvents).size() == 2);
}

TEST_CASE("a burst is one batch, counted before it is written") {
  Fixture f;
  for (int i = 0; i < 5; ++i) f.recorder.event(pod("x"), "Normal", "A", "a");
  for (int i = 0; i < 5; ++i) f.recorder.event(pod("y"), "Normal", "B", std::to_string(i));
  f.loop.run(1s);
  CHECK(f.api.batches == 1);
  CHECK(f.api.all(kEvents).size() == 6);
}

TEST_CASE("events that differ in their message only are combined beyond ten") {
  Fixture f;
  for (int i = 0; i < 20; ++i) f.recorder.event(pod("x"), "Normal", "A", std::to_string(i));
  f.loop.run(1s);
  const auto events = f.api.all(kEvents);
  REQUIRE(events.size() == 11);
  int combined = 0;
  for (const auto& e : events) {
    if (!(*e)["message"].as_string().starts_with("(combined from similar events): ")) continue;
    ++combined;
    CHECK((*e)["count"].as_int() == 10);
  }
  CHECK(combined == 1);
}

TEST_CASE("one object cannot flood the store") {
  Fixture f;
  for (int i = 0; i < 100; ++i) {
    f.recorder.event(pod("x"), "Normal", "R" + std::to_string(i), "m");
  }
  f.loop.run(1s);
  CHECK(f.api.all(kEvents).size() == 25);
  f.loop.run(301s);
  f.recorder.event(pod("x"), "Normal", "Late", "m");
  f.loop.run(1s);
  CHECK(f.api.all(kEvents).size() == 26);
}

TEST_CASE("an event that expired on the server is written anew") {
  Fixture f;
  f.recorder.event(pod("x"), "Normal", "A", "a");
  f.loop.run(1s);
  (void)f.api.remove_now(kEvents.at(f.api.all(kEvents)[0]->key()));
  f.recorder.event(pod("x"), "Normal", "A", "a");
  f.loop.run(1s);
  REQUIRE(f.api.all(kEvents).size() == 1);
  CHECK((*f.api.all(kEvents)[0])["count"].as_int() == 1);
}

TEST_CASE("refusals are not waited for") {
  Fixture f;
  f.api.refuse = [](std::string_view, const client::Ref&) {
    return Error{Code::forbidden, "namespace is being terminated"};
  };
  f.recorder.event(pod("x"), "Normal", "A", "a");
  f.loop.run(1s);
  f.api.refuse = nullptr;
  f.recorder.event(pod("y"), "Normal", "A", "a");
  f.loop.run(1s);
  CHECK(f.api.all(kEvents).size() == 1);
}
