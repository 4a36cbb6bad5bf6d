// Two registries over one store, as two servers are: addresses and ports are given out once, and
// what one leaves behind the other clears away.
#include <catch2/catch_test_macros.hpp>

#include <set>

#include "fixture.hpp"
#include "skiff/registry/registry.hpp"

using namespace skiff;
using namespace skiff::test;

namespace {

struct Pair {
  asio::io_context io;
  VirtualClock clock;
  SeededRandom random{1};
  metrics::Registry metrics;
  BlockingPool blocking{0};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  TaskGroup group{io.get_executor()};
  TaskGroup first{io.get_executor()};  // what the first server does by itself
  std::unique_ptr<store::Store> store;
  std::vector<std::unique_ptr<registry::Registry>> servers;
  std::vector<int> ports;
  std::vector<std::string> refusals;

  Task<void> boot() {
    auto opened = co_await store::Store::open(env, store::make_memory_log(), {});
    store = std::move(*opened);
    registry::Options options;
    options.node_port_min = 30000;
    options.node_port_max = 30009;
    options.shared = true;
    for (int i = 0; i < 2; ++i) {
      servers.push_back(std::make_unique<registry::Registry>(env, *store, options));
      const auto started = co_await servers.back()->start(i == 0 ? first : group);
      SKIFF_ASSERT(started, "the registry starts");
    }
  }

  Task<void> make(int server, int number) {
    Value doc = parse(R"({"apiVersion":"v1","kind":"Service","metadata":{},
                          "spec":{"type":"NodePort","ports":[{"port":80}]}})");
    doc.member("metadata").set("name", "s" + std::to_string(number));
    registry::Target target{api::find_resource("", "v1", "services"), "default", "", ""};
    registry::WriteContext context;
    context.user = std::make_shared<registry::User>(registry::User{.name = "test"});
    auto written = co_await servers[static_cast<std::size_t>(server)]->create(
        std::move(target), std::move(doc), std::move(context));
    if (!written) {
      refusals.push_back(written.error().message);
      co_return;
    }
    const ObjectPtr object = registry::object_of(written->item);
    const Value& root = object->root();
    ports.push_back(static_cast<int>(root["spec"]["ports"][std::size_t{0}]["nodePort"].as_int()));
  }

  void run(Duration d) { clock.run_for(io, d); }
};

}  // namespace

TEST_CASE("two servers that hand out ports at once never hand out the same") {
  Pair pair;
  pair.group.spawn("boot", pair.boot());
  pair.run(1s);
  REQUIRE(pair.servers.size() == 2);
  for (int i = 0; i < 10; ++i) {
    pair.group.spawn("make", pair.make(i % 2, i));
  }
  pair.run(5s);
  CHECK(pair.refusals.empty());
  CHECK(std::set<int>(pair.ports.begin(), pair.ports.end()).size() == 10);
  // The range is used up on both, and says so; what a server gives back the other can have.
  pair.group.spawn("make", pair.make(0, 10));
  pair.run(5s);
  CHECK(pair.refusals.size() == 1);
  const auto remove = [](Pair* p) -> Task<void> {
    registry::Target target{api::find_resource("", "v1", "services"), "default", "s3", ""};
    registry::WriteContext context;
    context.user = std::make_shared<registry::User>(registry::User{.name = "test"});
    registry::DeleteOptions options;
    const auto gone =
        co_await p->servers[1]->remove(std::move(target), std::move(options), std::move(context));
    SKIFF_ASSERT(gone, "the service goes");
  };
  pair.group.spawn("remove", remove(&pair));
  pair.run(5s);
  pair.group.spawn("make", pair.make(0, 11));
  pair.run(5s);
  CAPTURE(pair.refusals);
  CHECK(pair.refusals.size() == 1);
  CHECK(pair.ports.size() == 11);
  // Keys stand for what is in use, and for nothing else: ten ports, and eleven addresses.
  const auto keys = pair.store->range(store::Range::prefix("/skiff/allocations/"));
  REQUIRE(keys.has_value());
  CHECK(keys->items.size() == 21);
  pair.first.cancel();
  pair.group.cancel();
  pair.run(1s);
  pair.group.spawn("close", [](Pair* p) -> Task<void> { (void)co_await p->store->close(); }(&pair));
  pair.run(1s);
}

TEST_CASE("Events of a server that is gone end all the same") {
  Pair pair;
  pair.group.spawn("boot", pair.boot());
  pair.run(1s);
  const auto note = [](Pair* p, std::size_t server) -> Task<void> {
    Value doc = parse(R"({"apiVersion":"v1","kind":"Event","metadata":{},"reason":"Tested",
                          "involvedObject":{"kind":"Pod","namespace":"default","name":"p"}})");
    doc.member("metadata").set("name", "e" + std::to_string(server));
    registry::Target target{api::find_resource("", "v1", "events"), "default", "", ""};
    registry::WriteContext context;
    context.user = std::make_shared<registry::User>(registry::User{.name = "test"});
    auto written =
        co_await p->servers[server]->create(std::move(target), std::move(doc), std::move(context));
    SKIFF_ASSERT(written, "the Event is made");
  };
  pair.group.spawn("note", note(&pair, 0));
  pair.run(1s);
  pair.first.cancel();
  pair.run(30min);
  pair.group.spawn("note", note(&pair, 1));
  pair.run(1s);
  const auto events = [&] {
    return pair.store->range(store::Range::prefix("/core/events/")).value().items.size();
  };
  CHECK(events() == 2);
  pair.run(90min);
  CHECK(events() == 0);
  pair.group.cancel();
  pair.run(1s);
  pair.group.spawn("close", [](Pair* p) -> Task<void> { (void)co_await p->store->close(); }(&pair));
  pair.run(1s);
}
