#include <catch2/catch_test_macros.hpp>

#include "support/fake_client.hpp"
#include "support/loop.hpp"

#include "skiff/client/informer.hpp"

using namespace skiff;
using api::ObjectPtr;
using api::Value;
using client::Informer;
using test::FakeClient;
using test::Loop;
using test::Tasks;

namespace {

const client::Ref kPods = client::resources::kPods;

Value pod(const char* name, const char* node = "") {
  return Value::object({{"apiVersion", "v1"},
                        {"kind", "Pod"},
                        {"metadata", Value::object({{"name", name}})},
                        {"spec", Value::object({{"nodeName", node}})}});
}

struct Fixture {
  Loop loop;
  FakeClient api{loop.env};
  Informer informer{loop.env, api, kPods};
  std::string log;
  Tasks tasks{loop};

  Fixture() {
    informer.add_index("node", [](const api::Object& o) {
      return std::vector<std::string>{o["spec"]["nodeName"].as_string()};
    });
    informer.add_handler([this](const ObjectPtr& before, const ObjectPtr& now) {
      log += !before ? '+' : now ? '~' : '-';
      log += (now ? now : before)->name() + " ";
    });
  }
  void start() {
    informer.start(tasks.group);
    loop.run(1s);
  }
  std::string take() { return std::exchange(log, ""); }
};

}  // namespace

TEST_CASE("an informer lists, then follows") {
  Fixture f;
  (void)f.api.create_now(kPods.in("a"), pod("one"));
  CHECK_FALSE(f.informer.synced());
  f.start();
  CHECK(f.informer.synced());
  CHECK(f.take() == "+one ");
  (void)f.api.create_now(kPods.in("b"), pod("two"));
  (void)f.api.patch_now(kPods.at("a", "one"),
                        Value::object({{"spec", Value::object({{"nodeName", "n1"}})}}));
  (void)f.api.remove_now(kPods.at("b", "two"));
  f.loop.run();
  CHECK(f.take() == "+two ~one -two ");
  CHECK(f.informer.reached(f.api.revision));
  CHECK_FALSE(f.informer.reached(f.api.revision + 1));
  CHECK(f.informer.get("b", "two") == nullptr);
  CHECK(f.informer.by_index("node", "n1").size() == 1);
  CHECK(f.informer.by_index("node", "").empty());
  CHECK(f.informer.in_namespace("a").size() == 1);
  CHECK(f.informer.in_namespace("b").empty());
}

TEST_CASE("a broken watch resumes without a new list") {
  Fixture f;
  f.start();
  const std::size_t lists = f.api.lists;
  f.api.break_watches(Error{Code::unavailable, "gone"}, false);
  f.loop.run();
  (void)f.api.create_now(kPods.in("a"), pod("one"));
  f.loop.run(1min);
  CHECK(f.take() == "+one ");
  CHECK(f.api.lists == lists);
}

TEST_CASE("an expired watch lists again and tells the differences") {
  Fixture f;
  (void)f.api.create_now(kPods.in("a"), pod("kept"));
  (void)f.api.create_now(kPods.in("a"), pod("changed"));
  (void)f.api.create_now(kPods.in("a"), pod("gone"));
  (void)f.api.create_now(kPods.in("a"), pod("replaced"));
  f.start();
  (void)f.take();
  f.api.break_watches(Error{Code::unavailable, "gone"}, false);
  f.loop.run();
  (void)f.api.patch_now(kPods.at("a", "changed"),
                        Value::object({{"spec", Value::object({{"nodeName", "n1"}})}}));
  (void)f.api.remove_now(kPods.at("a", "gone"));
  (void)f.api.remove_now(kPods.at("a", "replaced"));
  (void)f.api.create_now(kPods.in("a"), pod("replaced"));
  (void)f.api.create_now(kPods.in("a"), pod("new"));
  f.api.break_watches(Error{Code::expired, "too old"}, true);
  f.loop.run(1min);
  CHECK(f.take() == "-gone ~changed +new -replaced +replaced ");
  CHECK(f.informer.all().size() == 4);
  CHECK(f.informer.by_index("node", "n1").size() == 1);
}

TEST_CASE("a late handler is told of everything present") {
  Fixture f;
  (void)f.api.create_now(kPods.in("a"), pod("one"));
  f.start();
  std::string seen;
  f.informer.add_handler([&](const ObjectPtr& before, const ObjectPtr& now) {
    CHECK(before == nullptr);
    seen += now->name();
  });
  CHECK(seen == "one");
}
