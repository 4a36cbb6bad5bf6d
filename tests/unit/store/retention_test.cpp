// What is kept of the past, in memory and in the log, and what that costs the loop.
#include <catch2/catch_test_macros.hpp>

#include "fixture_shared.hpp"
#include "skiff/base/log.hpp"

namespace skiff::store::testing {
namespace {

struct Machine {
  Machine() : shared(std::make_shared<SharedState>(loop.executor())) { open(); }
  ~Machine() { close(); }
  void open() {
    auto log = std::make_unique<SharedLog>(shared, 1);
    store = std::move(*loop.run(Store::open(loop.env(), std::move(log), options)));
  }
  void close() {
    if (store) (void)loop.run(store->close());
    store.reset();
  }
  void restart() {
    close();
    open();
  }
  // `count` versions of ten keys.
  void write(int count) {
    std::vector<Op> many;
    for (int i = 0; i < count; ++i) many.push_back(put("/k" + std::to_string(i % 10), "x"));
    (void)loop.run(store->commit(std::move(many)));
  }

  Loop loop;
  StoreOptions options;
  std::shared_ptr<SharedState> shared;
  std::unique_ptr<Store> store;
};

Task<void> drain(Watch* watch, Store* store, std::vector<Revision>* seen, bool* done) {
  while (watch->progress() < store->revision()) {
    const auto events = co_await watch->next();
    if (!events) break;
    for (const Event& e : *events) seen->push_back(e.revision());
  }
  *done = true;
}

Task<void> count_turns(const bool* done, int* turns) {
  for (; !*done; ++*turns) co_await yield();
}

}  // namespace

TEST_CASE("a large past is read back in slices, in order, without gaps") {
  Machine machine;
  machine.write(20'000);
  machine.restart();
  CHECK(machine.shared->reads == 0);
  auto watch = std::move(*machine.store->watch({.range = Range::prefix("/"), .after = 1}));
  std::vector<Revision> seen;
  bool done = false;
  int turns = 0;
  machine.loop.spawn(drain(watch.get(), machine.store.get(), &seen, &done));
  machine.loop.spawn(count_turns(&done, &turns));
  machine.loop.settle();
  REQUIRE(seen.size() == 20'000);
  CHECK(seen.front() == 2);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  CHECK(turns > 40);
  CHECK(machine.store->window() == 1);
  // Every revision of it is read from memory now.
  const int asked = machine.shared->reads;
  for (Revision at = 1; at < 20'000; at += 777) {
    const auto page = machine.store->range(Range::prefix("/"), 0, at).value();
    for (const auto& item : page.items) {
      CHECK(item->modified <= at);
      CHECK(item->modified > at - 10);
    }
  }
  CHECK(machine.shared->reads == asked);
  watch.reset();
}

TEST_CASE("what does not fit the bound is not read back, and costs no memory") {
  Machine machine;
  machine.options.history_bytes = 100'000;
  machine.write(5000);
  machine.restart();
  log::set_level(log::Level::off);
  auto far = std::move(*machine.store->watch({.range = Range::prefix("/"), .after = 1}));
  machine.loop.settle();
  CHECK(far->poll().error().code == Code::expired);
  CHECK(machine.store->window() == machine.store->revision());
  // From nearer it goes.
  const Revision near = machine.store->revision() - 100;
  auto watch = std::move(*machine.store->watch({.range = Range::prefix("/"), .after = near}));
  machine.loop.settle();
  CHECK(watch->poll().value().size() == 100);
  log::set_level(log::Level::info);
}

TEST_CASE("trimming the window leaves the log alone; reads go on behind it") {
  Machine machine;
  machine.options.history_bytes = 50'000;
  machine.restart();
  for (int i = 0; i < 40; ++i) machine.write(50);
  const Revision window = machine.store->window();
  CHECK(window > 100);
  CHECK(machine.shared->compacted == 0);
  CHECK(machine.store->compacted() == 0);
  for (const Revision at : {Revision{20}, window - 1, window, machine.store->revision()}) {
    const auto page = machine.loop.run(machine.store->range_at(Range::prefix("/"), 0, at)).value();
    CHECK(page.items.size() == 10);
    for (const auto& item : page.items) CHECK(item->modified > at - 10);
  }
  const auto all = machine.loop.run(machine.store->history(Range::prefix("/"), 1, 0, 0)).value();
  CHECK(all.size() == 2000);
  // A window that was trimmed does not grow back: volatile versions would be missing.
  CHECK(machine.store->watch({.range = Range::prefix("/"), .after = 20}).error().code ==
        Code::expired);
}

TEST_CASE("closing while a watch waits for the past") {
  Machine machine;
  machine.write(100);
  machine.restart();
  auto watch = std::move(*machine.store->watch({.range = Range::prefix("/"), .after = 1}));
  machine.close();
  CHECK(watch->poll().error().code == Code::unavailable);
}

}  // namespace skiff::store::testing
