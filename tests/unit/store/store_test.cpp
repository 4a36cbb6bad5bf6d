#include <catch2/catch_test_macros.hpp>
#include <map>

#include "fixture.hpp"

namespace skiff::store::testing {
namespace {

std::unique_ptr<Store> open_memory(Loop& loop, StoreOptions options = {}) {
  return std::move(*loop.run(Store::open(loop.env(), make_memory_log(), options)));
}

void must_commit(Loop& loop, Store& store, Op op) {
  REQUIRE(loop.run(store.commit(ops(std::move(op))))[0].has_value());
}

struct Reader {
  std::vector<Event> events;
  std::optional<Error> error;
  bool canceled = false;
};

Task<void> read_all(Watch* watch, Reader* reader) {
  try {
    for (;;) {
      auto events = co_await watch->next();
      if (!events) {
        reader->error = events.error();
        co_return;
      }
      reader->events.insert(reader->events.end(), events->begin(), events->end());
    }
  } catch (const boost::system::system_error&) {
    reader->canceled = true;
  }
}

}  // namespace

TEST_CASE("a waiting watch is woken in the turn of the commit") {
  Loop loop;
  auto store = open_memory(loop);
  auto watch = std::move(*store->watch({.range = Range::prefix("/")}));
  Reader reader;
  loop.spawn(read_all(watch.get(), &reader));
  loop.settle();
  must_commit(loop, *store, put("/a", "1"));
  must_commit(loop, *store, put("/b", "1"));
  REQUIRE(reader.events.size() == 2);
  CHECK(reader.events[1].item->key == "/b");
  CHECK(watch->progress() == store->revision());
  SECTION("cancelled") {
    loop.cancel();
    loop.settle();
    CHECK(reader.canceled);
  }
  SECTION("the store closes") {
    REQUIRE(loop.run(store->close()).has_value());
    REQUIRE(reader.error);
    CHECK(reader.error->code == Code::unavailable);
  }
  loop.cancel();
  loop.settle();
  watch.reset();
  CHECK(loop.run(store->close()).has_value());
}

TEST_CASE("a closed store refuses, and a watch may outlive it") {
  Loop loop;
  auto store = open_memory(loop);
  auto watch = std::move(*store->watch({.range = Range::prefix("/")}));
  auto past = std::move(*store->watch({.range = Range::key("/k"), .after = 1}));
  REQUIRE(loop.run(store->close()).has_value());
  CHECK(loop.run(store->commit(ops(put("/a", "1"))))[0].error().code == Code::unavailable);
  CHECK(store->watch({.range = Range::prefix("/")}).error().code == Code::unavailable);
  CHECK(loop.run(store->compact(1)).error().code == Code::unavailable);
  store.reset();
  CHECK(watch->poll().error().code == Code::unavailable);
  CHECK(past->poll().error().code == Code::unavailable);
}

TEST_CASE("every reader shares one item, and values are no larger than they must be") {
  Loop loop;
  auto store = open_memory(loop);
  auto watch = std::move(*store->watch({.range = Range::prefix("/")}));
  Op op = put("/a", std::string(1000, 'x') + "rv=");
  op.revision_slot = 1003;
  op.value.reserve(100'000);
  const auto committed = loop.run(store->commit(ops(std::move(op))))[0].value();
  CHECK(committed->value.ends_with("rv=2"));
  CHECK(committed->value.capacity() < 1200);
  CHECK(store->get("/a").value() == committed);
  CHECK(store->range(Range::prefix("/")).value().items[0] == committed);
  CHECK(watch->poll().value()[0].item == committed);
  CHECK(loop.run(store->close()).has_value());
}

TEST_CASE("too much waiting for the log is refused") {
  Loop loop;
  auto control = std::make_shared<FakeLog::Control>(loop.executor());
  auto log = std::make_unique<FakeLog>(control);
  StoreOptions options;
  options.max_waiting_bytes = 1000;
  auto store = std::move(*loop.run(Store::open(loop.env(), std::move(log), options)));
  control->held = true;
  std::vector<Code> codes;
  auto write = [&](std::string key) -> Task<void> {
    auto one = ops(put(std::move(key), std::string(800, 'x')));
    const auto verdicts = co_await store->commit(std::move(one));
    codes.push_back(verdicts[0] ? Code::internal : verdicts[0].error().code);
  };
  for (const char* key : {"/1", "/2", "/3"}) loop.spawn(write(key));
  loop.settle();
  CHECK(codes == std::vector{Code::too_many_requests});
  control->held = false;
  control->released.notify_all();
  loop.settle();
  CHECK(codes.size() == 3);
  loop.spawn(write("/3"));
  loop.settle();
  CHECK(store->get("/3").has_value());
  CHECK(loop.run(store->close()).has_value());
}

TEST_CASE("large compactions and resumptions give the loop back between steps") {
  Loop loop;
  auto store = open_memory(loop);
  std::vector<Op> many;
  for (int i = 0; i < 20'000; ++i) many.push_back(put("/k/" + std::to_string(i % 100), "x"));
  (void)loop.run(store->commit(std::move(many)));
  auto watch = std::move(*store->watch({.range = Range::key("/k/7"), .after = 1}));
  int turns = 0;
  bool done = false;
  auto count_turns = [&]() -> Task<void> {
    for (; !done; ++turns) co_await yield();
  };
  auto compact = [&]() -> Task<void> {
    CHECK((co_await store->compact(store->revision())).has_value());
    done = true;
  };
  loop.spawn(count_turns());
  loop.spawn(compact());
  loop.settle();
  CHECK(done);
  CHECK(turns > 10);
  // Compaction ran through what the watch had yet to read.
  std::size_t seen = 0;
  while (watch->progress() < store->revision()) seen += watch->poll().value().size();
  CHECK(seen == 200);
  CHECK(store->range(Range::prefix("/k/")).value().items.size() == 100);
  watch.reset();
  CHECK(loop.run(store->close()).has_value());
}

TEST_CASE("prefix ranges end where the prefix ends") {
  const struct {
    std::string prefix, end;
  } cases[] = {{"/a/", "/a0"}, {"", ""}, {"a\xff", "b"}, {"\xff\xff", ""}, {"a\x7f", "a\x80"}};
  for (const auto& c : cases) {
    const Range range = Range::prefix(c.prefix);
    CHECK(range.end == c.end);
    CHECK(range.contains(c.prefix));
    CHECK(range.contains(c.prefix + "\xff\xff"));
  }
  CHECK(Range::key("a").contains("a"));
  CHECK_FALSE(Range::key("a").contains(std::string("a\0", 2)));
}

namespace {

// What the store should say, kept the slow way.
struct Model {
  struct Version {
    std::string value;
    Revision created, modified;
    bool operator==(const Version&) const = default;
  };
  using State = std::map<std::string, Version>;
  std::map<Revision, State> at;

  static State of(const Page& page) {
    State state;
    for (const auto& item : page.items)
      state[item->key] = {item->value, item->created, item->modified};
    return state;
  }
  const State& find(Revision revision) const { return std::prev(at.upper_bound(revision))->second; }
};

// A reader that keeps a copy of its range from events alone.
struct Replica {
  Range range;
  Model::State state;
  std::unique_ptr<Watch> watch;

  void list(Store& store) {
    const auto page = store.range(range);
    state = Model::of(*page);
    WatchOptions options;
    options.range = range;
    options.after = page->revision;
    options.max_pending = 30;
    watch = std::move(*store.watch(std::move(options)));
  }
  void read(Store& store) {
    const auto events = watch->poll();
    if (!events) return list(store);
    for (const Event& e : *events) {
      const auto it = state.find(e.item->key);
      CHECK((it == state.end() ? 0 : it->second.modified) ==
            (e.previous ? e.previous->modified : 0));
      if (e.type == Event::Type::erase) {
        state.erase(e.item->key);
      } else {
        state[e.item->key] = {e.item->value, e.item->created, e.item->modified};
      }
    }
  }
};

// What a successful Op does to the model.
void apply(Model& model, const Op& op, const Item& item) {
  Model::State state = model.find(item.modified);
  const auto it = state.find(op.key);
  const Revision before = it == state.end() ? 0 : it->second.modified;
  if (op.expect) CHECK(*op.expect == before);
  if (op.type == Op::Type::erase) {
    state.erase(op.key);
  } else {
    state[op.key] = {op.value, before == 0 ? item.modified : it->second.created, item.modified};
  }
  model.at[item.modified] = std::move(state);
}

Task<void> write(Store* store, Model* model, std::vector<Op> batch) {
  const std::vector<Op> copy = batch;
  const auto verdicts = co_await store->commit(std::move(batch));
  for (std::size_t i = 0; i < copy.size(); ++i) {
    if (verdicts[i]) apply(*model, copy[i], **verdicts[i]);
  }
}

std::vector<Op> random_batch(SeededRandom& random, const Store& store) {
  std::vector<Op> batch;
  for (std::uint64_t n = random.below(5); n > 0; --n) {
    const std::string key = "/k/" + std::to_string(random.below(20));
    Op op = random.below(4) == 0 ? erase(key) : put(key, random.name_suffix(4));
    const auto now = store.get(key);
    if (random.below(2) == 0) op.expect = now ? (*now)->modified : 0;
    batch.push_back(std::move(op));
  }
  return batch;
}

void random_run(std::uint64_t seed) {
  SeededRandom random(seed);
  Loop loop;
  auto control = std::make_shared<FakeLog::Control>(loop.executor());
  auto log = std::make_unique<FakeLog>(control);
  auto store = std::move(*loop.run(Store::open(loop.env(), std::move(log), StoreOptions{})));
  Model model;
  model.at[0] = {};
  std::vector<Replica> replicas(4);
  const Range ranges[] = {
      Range::prefix("/"), Range::prefix("/k/1"), Range::key("/k/3"), {"/k/2", "/k/5"}};
  for (std::size_t i = 0; i < replicas.size(); ++i) replicas[i].range = ranges[i];
  for (auto& r : replicas) r.list(*store);
  const auto release = [&] {
    control->held = false;
    control->released.notify_all();
    loop.settle();
  };
  for (int step = 0; step < 600; ++step) {
    control->held = random.below(3) == 0;
    control->failure.reset();
    if (random.below(6) == 0) control->failure = Error{Code::unavailable, "no"};
    for (std::uint64_t writers = random.below(4); writers > 0; --writers) {
      loop.spawn(write(store.get(), &model, random_batch(random, *store)));
    }
    loop.settle();
    if (control->held && random.below(2) == 0) release();
    CHECK(Model::of(*store->range(Range::prefix("/"))) == model.find(store->revision()));
    replicas[random.below(4)].read(*store);
    const Revision from = store->compacted();
    const auto span = static_cast<std::uint64_t>(store->revision() - from + 1);
    const Revision some = from + static_cast<Revision>(random.below(span));
    if (some > 0) CHECK(Model::of(*store->range(Range::prefix("/"), 0, some)) == model.find(some));
    if (random.below(20) == 0) CHECK(loop.run(store->compact(some)).has_value());
  }
  release();
  for (auto& replica : replicas) {
    for (int i = 0; i < 1000; ++i) replica.read(*store);
    CHECK(replica.state == Model::of(*store->range(replica.range)));
    replica.watch.reset();
  }
  CHECK(loop.run(store->close()).has_value());
}

}  // namespace

TEST_CASE("random commits, failures, compactions and watches agree with a model") {
  log::set_level(log::Level::off);
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    INFO("seed " << seed);
    random_run(seed);
  }
  log::set_level(log::Level::info);
}

}  // namespace skiff::store::testing
