// The write road and watches as components in the process see them.
#include <catch2/catch_test_macros.hpp>

#include "fixture.hpp"

namespace skiff::test {
namespace {

using client::WatchEvent;
using client::resources::kConfigMaps;
using client::resources::kNamespaces;
using client::resources::kPods;

const client::Ref kMaps = kConfigMaps.in("default");

client::Write write(client::Write::Type type, client::Ref ref, Value object = {}) {
  client::Write w;
  w.type = type;
  w.ref = std::move(ref);
  w.object = std::move(object);
  return w;
}

// Events a watch has told so far, as "ADDED a", one a line.
class Listener {
 public:
  Listener(Fixture& f, client::Ref ref, client::ListOptions options)
      : fixture_(f), group_(f.io.get_executor()) {
    auto stream = f.run(f.client->watch(std::move(ref), std::move(options)));
    stream_ = std::move(stream.value());
    group_.spawn("listen", listen());
    f.settle();
  }
  ~Listener() {
    group_.cancel();
    fixture_.run(group_.join());
  }
  std::string take() {
    fixture_.settle();
    return std::exchange(told_, "");
  }

 private:
  Task<void> listen() {
    while (true) {
      auto events = co_await stream_->next();
      if (!events) {
        told_ += "END ";
        co_return;
      }
      for (const WatchEvent& e : *events) {
        const char* words[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};
        told_ += std::string(words[static_cast<int>(e.type)]) + " " + e.object->name() + ";";
        last = e.object;
      }
    }
  }
  Fixture& fixture_;
  TaskGroup group_;
  std::unique_ptr<client::WatchStream> stream_;
  std::string told_;

 public:
  client::ObjectPtr last;
};

}  // namespace

TEST_CASE("the first start writes what every cluster has, the second nothing") {
  Fixture f;
  const auto revision = f.store->revision();
  for (const char* name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    CHECK(f.get(kNamespaces.at("", name)).has_value());
  }
  CHECK(f.get({"rbac.authorization.k8s.io", "v1", "clusterroles", "", "cluster-admin", ""})
            .has_value());
  CHECK(f.get({"scheduling.k8s.io", "v1", "priorityclasses", "", "system-node-critical", ""})
            .has_value());
  registry::Registry second(f.env, *f.store, {});
  TaskGroup group(f.io.get_executor());
  CHECK(f.run(second.start(group)).has_value());
  CHECK(f.store->revision() == revision);
  group.cancel();
  f.run(group.join());
}

TEST_CASE("readers share one object") {
  Fixture f;
  f.create(kMaps, R"({"metadata":{"name":"a"}})").value();
  const auto one = f.get(kMaps.at("default", "a")).value();
  const auto two = f.get(kMaps.at("default", "a")).value();
  CHECK(one == two);
}

TEST_CASE("a batch is one commit with a verdict each") {
  Fixture f;
  using Type = client::Write::Type;
  std::vector<client::Write> writes;
  writes.push_back(write(Type::create, kMaps, parse(R"({"metadata":{"name":"a"}})")));
  writes.push_back(write(Type::create, kMaps, parse(R"({"metadata":{"name":"Bad"}})")));
  writes.push_back(write(Type::create, kMaps, parse(R"({"metadata":{"name":"a"}})")));
  writes.push_back(write(Type::create, {"", "v1", "nothings", "", "", ""}, Value::object()));
  const auto results = f.run(f.client->batch(std::move(writes)));
  REQUIRE(results.size() == 4);
  CHECK(results[0].has_value());
  CHECK(results[1].error().code == Code::invalid);
  CHECK(results[2].error().code == Code::already_exists);
  CHECK(results[3].error().code == Code::not_found);
}

TEST_CASE("writes of one object in a batch happen in order") {
  Fixture f;
  using Type = client::Write::Type;
  f.create(kMaps, R"({"metadata":{"name":"a"},"data":{"n":"0"}})").value();
  std::vector<client::Write> writes;
  for (const char* patch : {R"({"data":{"n":"1"}})", R"({"data":{"m":"2"}})"}) {
    writes.push_back(write(Type::patch, kMaps.at("default", "a"), parse(patch)));
  }
  writes.push_back(write(Type::remove, kMaps.at("default", "a")));
  const auto results = f.run(f.client->batch(std::move(writes)));
  CHECK((*results[1].value())["data"] == parse(R"({"n":"1","m":"2"})"));
  CHECK(results[2].has_value());
  CHECK(f.get(kMaps.at("default", "a")).error().code == Code::not_found);
}

TEST_CASE("patches of one object at the same time all count") {
  Fixture f;
  f.create(kMaps, R"({"metadata":{"name":"a"},"data":{}})").value();
  TaskGroup group(f.io.get_executor());
  int failed = 0;
  struct Patcher {
    static Task<void> run(client::Client* c, int i, int* failed) {
      Value patch = Value::object();
      patch.member("data").set("k" + std::to_string(i), "v");
      client::Ref ref = kMaps.at("default", "a");
      client::WriteOptions options;
      auto done =
          co_await c->patch(std::move(ref), api::PatchType::merge, std::move(patch), options);
      if (!done) ++*failed;
    }
  };
  for (int i = 0; i < 50; ++i) group.spawn("patch", Patcher::run(f.client.get(), i, &failed));
  f.run(group.join());
  CHECK(failed == 0);
  CHECK((*f.get(kMaps.at("default", "a")).value())["data"].size() == 50);
}

TEST_CASE("a watch sees a selection") {
  Fixture f;
  f.create(kMaps, R"({"metadata":{"name":"old","labels":{"x":"1"}}})").value();
  client::ListOptions options;
  options.label_selector = "x=1";
  Listener listener(f, kMaps, options);
  CHECK(listener.take() == "ADDED old;");
  f.create(kMaps, R"({"metadata":{"name":"a"}})").value();
  CHECK(listener.take().empty());
  const auto patch = [&](const char* name, const char* json) {
    f.run(f.client->patch(kMaps.at("default", name), api::PatchType::merge, parse(json), {}))
        .value();
  };
  patch("a", R"({"metadata":{"labels":{"x":"1"}}})");
  CHECK(listener.take() == "ADDED a;");
  patch("a", R"({"data":{"k":"v"}})");
  CHECK(listener.take() == "MODIFIED a;");
  patch("a", R"({"metadata":{"labels":{"x":"2"}}})");
  CHECK(listener.take() == "DELETED a;");
  // What is shown is the last state that matched, at the revision it left.
  CHECK(listener.last->labels()["x"].as_string() == "1");
  CHECK(listener.last->resource_version() ==
        f.get(kMaps.at("default", "a")).value()->resource_version());
  f.run(f.client->remove(kMaps.at("default", "old"), {})).value();
  CHECK(listener.take() == "DELETED old;");
  CHECK(listener.last->resource_version() == std::to_string(f.store->revision()));
}

TEST_CASE("a watch goes on from a revision") {
  Fixture f;
  const auto first = f.create(kMaps, R"({"metadata":{"name":"a"}})").value();
  f.create(kMaps, R"({"metadata":{"name":"b"}})").value();
  client::ListOptions options;
  options.resource_version = first->resource_version();
  Listener listener(f, kMaps, options);
  CHECK(listener.take() == "ADDED b;");
  options.resource_version = "100000";  // yet to come
  Listener late(f, kMaps, options);
  f.create(kMaps, R"({"metadata":{"name":"c"}})").value();
  CHECK(late.take().empty());
  CHECK(listener.take() == "ADDED c;");
}

TEST_CASE("a watch list ends its beginning with a bookmark") {
  Fixture f;
  f.create(kMaps, R"({"metadata":{"name":"a"}})").value();
  registry::WatchOptions options;
  options.send_initial_events = true;
  options.bookmarks = true;
  options.resource_version_match = "NotOlderThan";
  const registry::Target target{api::find_resource("", "v1", "configmaps"), "default", "", ""};
  auto watcher = f.registry->watch(target, options);
  REQUIRE(watcher.has_value());
  const auto events = f.run((*watcher)->next()).value();
  REQUIRE(events.size() == 2);
  CHECK(events[0].type == registry::WatchEvent::Type::added);
  CHECK(events[1].type == registry::WatchEvent::Type::bookmark);
  const auto mark = registry::object_of(events[1].item);
  CHECK(mark->annotations()["k8s.io/initial-events-end"].as_string() == "true");
  CHECK(mark->resource_version() == std::to_string(f.store->revision()));
  CHECK((*watcher)->bookmark() == nullptr);
  // Something else happened: worth a bookmark.
  f.create(kNamespaces, R"({"metadata":{"name":"n"}})").value();
  f.settle();
  const auto later = (*watcher)->bookmark();
  REQUIRE(later != nullptr);
  CHECK(registry::object_of(later)->resource_version() == std::to_string(f.store->revision()));
}

TEST_CASE("what was compacted is gone, and a page says how to go on") {
  Fixture f;
  for (const char* name : {"a", "b", "c"}) {
    f.run(f.client->create(kMaps, parse(std::string(R"({"metadata":{"name":")") + name + "\"}}"),
                           {}))
        .value();
  }
  client::ListOptions options;
  options.limit = 1;
  const auto page = f.run(f.client->list(kMaps, options)).value();
  f.create(kMaps, R"({"metadata":{"name":"d"}})").value();
  REQUIRE(f.run(f.store->compact(f.store->revision())).has_value());

  options.continue_token = page.continue_token;
  const auto expired = f.run(f.client->list(kMaps, options));
  REQUIRE(expired.error().code == Code::expired);
  CHECK(expired.error().message.starts_with("The provided continue parameter is too old"));
  REQUIRE(expired.error().details->causes.front().reason == "Continue");
  options.continue_token = expired.error().details->causes.front().message;
  options.limit = 0;
  const auto rest = f.run(f.client->list(kMaps, options)).value();
  CHECK(rest.items.size() == 3);  // b, c and the new d: no longer of one moment

  client::ListOptions old;
  old.resource_version = page.resource_version;
  CHECK(f.run(f.client->watch(kMaps, old)).error().code == Code::expired);
  old.resource_version_match = "Exact";
  CHECK(f.run(f.client->list(kMaps, old)).error().code == Code::expired);
}

TEST_CASE("a generated name that is taken is made again") {
  Fixture f;
  const SeededRandom before = f.random;
  const std::string taken = "x-" + SeededRandom(before).name_suffix(5);
  f.create(kMaps, R"({"metadata":{"name":")" + taken + "\"}}").value();
  f.random = before;
  const auto made = f.create(kMaps, R"({"metadata":{"generateName":"x-"},"data":{"k":"v"}})");
  REQUIRE(made.has_value());
  CHECK((*made)->name() != taken);
  CHECK((*made)->name().starts_with("x-"));
  CHECK((**made)["data"]["k"].as_string() == "v");
}

TEST_CASE("bindings in one batch") {
  Fixture f;
  f.create({"", "v1", "serviceaccounts", "default", "", ""}, R"({"metadata":{"name":"default"}})")
      .value();
  std::vector<client::Write> writes;
  for (int i = 0; i < 20; ++i) {
    Value pod = parse(R"({"spec":{"containers":[{"name":"c","image":"i"}]}})");
    pod.member("metadata").set("name", "p" + std::to_string(i));
    writes.push_back(write(client::Write::Type::create, kPods.in("default"), std::move(pod)));
  }
  f.run(f.client->batch(std::move(writes)));
  writes.clear();
  for (int i = 0; i < 20; ++i) {
    Value binding = parse(R"({"target":{"kind":"Node","name":"n"}})");
    writes.push_back(write(client::Write::Type::create,
                           kPods.at("default", "p" + std::to_string(i)).sub("binding"),
                           std::move(binding)));
  }
  for (const auto& r : f.run(f.client->batch(std::move(writes)))) CHECK(r.has_value());
  client::ListOptions options;
  options.field_selector = "spec.nodeName=n";
  CHECK(f.run(f.client->list(kPods, options)).value().items.size() == 20);
}

TEST_CASE("a node's podCIDR and podCIDRs say the same, and stay") {
  Fixture f;
  const client::Ref nodes = client::resources::kNodes;
  const auto ranges = [](const ObjectPtr& node) { return api::to_json((*node)["spec"]); };
  const std::string both = R"({"podCIDR":"10.42.1.0/24","podCIDRs":["10.42.1.0/24"]})";
  auto made =
      f.create(nodes, R"({"metadata":{"name":"a"},"spec":{"podCIDR":"10.42.1.0/24"}})").value();
  CHECK(ranges(made) == both);
  made = f.create(nodes, R"({"metadata":{"name":"b"}})").value();
  CHECK_FALSE((*made)["spec"].has("podCIDR"));
  CHECK_FALSE((*made)["spec"].has("podCIDRs"));
  const auto patch = [&](const char* text) {
    client::WriteOptions options;
    return f.run(f.client->patch(nodes.at("", "b"), api::PatchType::merge, parse(text), options));
  };
  made = patch(R"({"spec":{"podCIDRs":["10.42.1.0/24"]}})").value();
  CHECK(api::parse_json(both).value() == (*made)["spec"]);
  CHECK(patch(R"({"spec":{"podCIDR":"10.42.2.0/24"}})").error().code == Code::invalid);
  CHECK(patch(R"({"spec":{"podCIDR":null,"podCIDRs":null}})").error().code == Code::invalid);
  CHECK(patch(R"({"spec":{"unschedulable":true}})").has_value());
}

TEST_CASE("pods wait a moment for their namespace's default account") {
  Fixture f;
  TaskGroup group(f.io.get_executor());
  struct Late {
    static Task<void> make(Env env, client::Client* c) {
      co_await env.clock->sleep_for(300ms);
      client::Ref ref{"", "v1", "serviceaccounts", "default", "", ""};
      Value account = parse(R"({"metadata":{"name":"default"}})");
      client::WriteOptions options;
      (co_await c->create(std::move(ref), std::move(account), options)).value();
    }
  };
  group.spawn("late", Late::make(f.env, f.client.get()));
  CHECK(f.create(kPods.in("default"),
                 R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})")
            .has_value());
  f.run(group.join());
}

}  // namespace skiff::test
