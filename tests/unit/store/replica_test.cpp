// Several stores over one log, by seeds: leaders come and go, servers lag, are cut off and get
// snapshots, appends are lost or turn up late. Every key's history must be linearizable, and every
// watch must keep its promises.
#include <catch2/catch_test_macros.hpp>

#include "fixture_shared.hpp"
#include "skiff/base/log.hpp"
#include "support/linearizability.hpp"
#include "support/watch_checker.hpp"

namespace skiff::store::testing {
namespace {

using test::Operation;
constexpr int kServers = 3;
constexpr std::uint64_t kKeys = 3;

test::WatchedChange watched(const Item& item, Revision previous, bool erase) {
  return {item.modified, item.key, std::hash<std::string>()(item.value), previous, erase};
}

struct Reader {
  Reader(test::CommittedChanges& committed, int at) : checker(committed, "/"), server(at) {}
  test::WatchChecker checker;
  int server;
  std::unique_ptr<Watch> watch;
};

class World {
 public:
  explicit World(std::uint64_t seed)
      : random_(seed), shared_(std::make_shared<SharedState>(loop_.executor())) {
    for (int n = 1; n <= kServers; ++n) {
      auto log = std::make_unique<SharedLog>(shared_, n);
      stores_.push_back(
          std::move(*loop_.run(Store::open(loop_.env(), std::move(log), StoreOptions{}))));
      readers_.emplace_back(committed_, n);
    }
  }
  // How many writes were acknowledged.
  int run(int steps) {
    for (int i = 0; i < steps; ++i) {
      ++now_;
      if (random_.below(3) == 0) disturb();
      if (random_.below(2) == 0) client(random_.below(2) == 0);
      loop_.settle();
      read(readers_[random_.below(kServers)]);
    }
    heal();
    judge();
    return acknowledged_;
  }

 private:
  static int version_of(const Item& item) { return std::stoi(item.value); }
  SharedLog& log(int n) { return *shared_->servers.at(n); }
  int any() { return static_cast<int>(random_.below(kServers)) + 1; }

  void disturb() {
    const int n = any();
    switch (random_.below(8)) {
      case 0:
        return settle_append();
      case 1:
        shared_->held = true;
        return;
      case 2:
        if (n != shared_->leader) log(n).lagging = true;
        return;
      case 3:
        return hear(n);
      case 4:
        if (n != shared_->leader) log(n).receive_snapshot();
        return;
      case 5:
        if (n != shared_->leader) log(n).cut = !log(n).cut;
        return log(n).user().decider_changed();
      default:
        if (random_.below(4) == 0) elect(random_.below(4) == 0 ? 0 : n);
    }
  }
  void hear(int n) {
    log(n).lagging = false;
    log(n).catch_up();
  }
  // Appends under way succeed, or are given up; those may be in the log all the same.
  void settle_append() {
    shared_->held = false;
    shared_->released.notify_all();
    loop_.settle();
  }
  void elect(int n) {
    if (shared_->leader == n) return;
    shared_->leader = 0;
    for (auto& [number, server] : shared_->servers) server->user().decider_changed();
    loop_.settle();
    if (random_.below(2) == 0) shared_->lost = "lost";
    settle_append();
    shared_->lost.reset();
    auto limbo = std::exchange(shared_->limbo, {});
    if (!limbo.empty() && random_.below(2) == 0) shared_->commit(std::move(limbo), 0);
    if (n == 0) return;
    log(n).cut = false;
    hear(n);
    shared_->leader = n;
    for (auto& [number, server] : shared_->servers) server->user().decider_changed();
  }
  void heal() {
    elect(0);
    for (int n = 1; n <= kServers; ++n) {
      log(n).cut = false;
      hear(n);
    }
    elect(1);
    for (int i = 0; i < 3; ++i) client(false);
    loop_.settle();
  }

  void client(bool reads) {
    const std::string key = "/" + std::to_string(random_.below(kKeys));
    Store* store = stores_[random_.below(kServers)].get();
    const std::size_t number = operations_.size();
    keys_.push_back(key);
    Operation o;
    o.begin = now_;
    o.outcome = Operation::Outcome::unknown;
    o.value = static_cast<std::int64_t>(number) + 1;
    o.kind = reads ? Operation::Kind::read : Operation::Kind::write;
    operations_.push_back(o);
    if (reads) {
      loop_.spawn(read_one(store, key, number));
      return;
    }
    Op op = put(key, std::to_string(o.value));
    const auto seen = store->get(key);
    if (random_.below(3) != 0) {
      op.expect = seen ? (*seen)->modified : 0;
      operations_[number].kind = Operation::Kind::cas;
      operations_[number].expect = seen ? version_of(**seen) : 0;
    }
    loop_.spawn(write_one(store, std::move(op), number));
  }
  Task<void> read_one(Store* store, std::string key, std::size_t number) {
    const auto reached = co_await store->barrier();
    if (!reached) co_return;
    const auto item = store->get(key);
    Operation& o = operations_[number];
    o.outcome = Operation::Outcome::known;
    o.end = now_;
    o.value = item ? version_of(**item) : 0;
  }
  Task<void> write_one(Store* store, Op op, std::size_t number) {
    const std::string key = op.key;
    auto batch = ops(std::move(op));
    const auto verdict = (co_await store->commit(std::move(batch)))[0];
    Operation& o = operations_[number];
    if (!verdict && verdict.error().code == Code::unavailable) {
      if (verdict.error().message.find("nothing was") != std::string::npos) absent_.push_back(o);
      co_return;
    }
    o.outcome = Operation::Outcome::known;
    o.end = now_;
    if (verdict) {
      CHECK((*verdict)->value == std::to_string(o.value));
      CHECK(store->revision() >= (*verdict)->modified);
      ++acknowledged_;
    } else {
      o.kind = Operation::Kind::fail;
    }
  }

  void read(Reader& reader) {
    Store& store = *stores_[static_cast<std::size_t>(reader.server) - 1];
    if (!reader.watch) {
      std::map<std::string, Revision> seen;
      const auto page = store.range(Range::prefix("/")).value();
      for (const auto& item : page.items) seen[item->key] = item->modified;
      good(reader.checker.listed(page.revision, seen));
      reader.watch = std::move(*store.watch({.range = Range::prefix("/"), .after = page.revision}));
    }
    const auto events = reader.watch->poll();
    if (!events) {
      CHECK(events.error().code == Code::expired);
      reader.watch.reset();
      return;
    }
    for (const Event& e : *events) {
      const Revision previous = e.previous ? e.previous->modified : 0;
      good(reader.checker.event(watched(*e.item, previous, e.type == Event::Type::erase)));
    }
    good(reader.checker.bookmark(reader.watch->progress()));
  }
  static void good(const std::string& complaint) { CHECK(complaint == ""); }

  void judge() {
    for (const Record& r : shared_->records) {
      good(committed_.add(watched(*r.item, r.previous, r.erase)));
      for (const Operation& o : absent_) CHECK(version_of(*r.item) != o.value);
    }
    for (Reader& reader : readers_) {
      for (int i = 0; i < 3; ++i) read(reader);
      good(reader.checker.finish());
    }
    for (std::uint64_t k = 0; k < kKeys; ++k) {
      std::vector<Operation> history;
      for (std::size_t i = 0; i < operations_.size(); ++i) {
        if (keys_[i] == "/" + std::to_string(k)) history.push_back(operations_[i]);
      }
      const auto result = test::check_linearizable(std::move(history));
      INFO(result.explanation);
      CHECK(result.verdict == test::LinearizabilityResult::Verdict::yes);
    }
    for (Reader& reader : readers_) reader.watch.reset();
    for (auto& store : stores_) CHECK(loop_.run(store->close()).has_value());
  }

  Loop loop_;
  SeededRandom random_;
  std::shared_ptr<SharedState> shared_;
  std::vector<std::unique_ptr<Store>> stores_;
  test::CommittedChanges committed_;
  std::vector<Reader> readers_;
  std::vector<Operation> operations_;
  std::vector<std::string> keys_;
  std::vector<Operation> absent_;  // said not to have been written
  std::int64_t now_ = 0;
  int acknowledged_ = 0;
};

}  // namespace

TEST_CASE("stores over one log agree, whoever leads") {
  log::set_level(log::Level::off);
  int acknowledged = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    acknowledged += World(seed).run(400);
  }
  CHECK(acknowledged > 600);
  log::set_level(log::Level::info);
}

}  // namespace skiff::store::testing
