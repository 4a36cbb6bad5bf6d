// The log over an etcd that loses answers, refuses and forgets. No co_await stands inside a Catch2
// macro: GCC 12 would do it twice.
#include "codec.hpp"
#include "fake_etcd.hpp"

using namespace skiff;
using namespace skiff::etcd;
using namespace skiff::etcd::test;

namespace {

struct Bench {
  Loop loop;
  FakeEtcd etcd{loop};
  std::vector<std::unique_ptr<Server>> servers;

  EtcdOptions options() const {
    EtcdOptions out = options_for(etcd.url());
    out.backoff = 5ms;
    out.request_timeout = 2s;
    return out;
  }
  Server& add() { return add(options()); }
  Server& add(EtcdOptions o) {
    servers.push_back(std::make_unique<Server>(loop, std::move(o)));
    return *servers.back();
  }
  void run(std::function<Task<void>()> body) { loop.run(all(std::move(body))); }
  Task<void> all(std::function<Task<void>()> body) {
    co_await body();
    for (const auto& server : servers) (void)co_await server->log->close();
    co_await etcd.stop();
  }
  Task<void> begin(Server* server) {
    const auto begun = co_await server->begin();
    REQUIRE(begun.has_value());
  }
  // A transaction that is done (or not), and whose answer does not come.
  void lose(bool happens, std::function<void()> meanwhile = {}) {
    FakeEtcd::Fault fault;
    fault.happens = happens;
    fault.meanwhile = std::move(meanwhile);
    etcd.faults.push_back(std::move(fault));
  }
  void refuse(int status, std::string body) {
    FakeEtcd::Fault fault;
    fault.happens = false;
    fault.answered = true;
    fault.status = status;
    fault.body = std::move(body);
    etcd.faults.push_back(std::move(fault));
  }
  // As another skiff server writes: an envelope, and `newest` in the same transaction.
  void write_elsewhere(const std::string& key, const std::string& value) {
    Codec codec("/skiff", nullptr);
    etcd.put(codec.keys.object(key), encode(codec.envelope(test::put(key, value))));
  }
};

constexpr const char* kFull =
    R"({"error":"etcdserver: mvcc: database space exceeded","message":"x","code":8})";

}  // namespace

TEST_CASE("a write whose answer is lost is told by its write id") {
  Bench bench;
  Server& a = bench.add();
  const std::vector<bool> cases = {true, false};
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    store::Revision last = 0;
    for (const bool happens : cases) {
      const std::string key = happens ? "/x/done" : "/x/undone";
      const int before = bench.etcd.asked["/v3/kv/txn"];
      bench.lose(happens);
      const auto made = co_await a.write(put(key, "v", 0));
      REQUIRE(made.has_value());
      CHECK(bench.etcd.asked["/v3/kv/txn"] == before + 2);
      co_await a.mirror.reach(*made);
      CHECK(a.mirror.items[key]->modified == *made);
      bench.lose(happens);
      const auto changed = co_await a.write(put(key, "w", *made));
      REQUIRE(changed.has_value());
      CHECK(*changed == *made + 1);  // once
      bench.lose(happens);
      const auto blind = co_await a.write(put(key, "u"));
      REQUIRE(blind.has_value());
      CHECK(*blind == *made + 2);
      bench.lose(happens);
      const auto gone = co_await a.write(erase(key, *blind));
      REQUIRE(gone.has_value());
      CHECK(*gone == *made + 3);
      last = *gone;
    }
    co_await a.mirror.reach(last);
    CHECK(a.mirror.delivered.size() == 8);
    CHECK(a.mirror.items.empty());
  };
  bench.run(body);
}

TEST_CASE("a lost answer and a key that others changed since: not known, and said so") {
  Bench bench;
  Server& a = bench.add();
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    const auto made = co_await a.write(put("/x/a", "v", 0));
    bench.lose(true, [&] { bench.write_elsewhere("/x/a", "theirs"); });
    const auto put_over = co_await a.write(put("/x/a", "mine", *made));
    REQUIRE(put_over.has_error());
    CHECK(put_over.error().code == Code::unavailable);
    CHECK(put_over.error().message.find("not known whether it happened") != std::string::npos);
    // It did not happen, and somebody else wrote: told the same, for nothing tells the two apart.
    bench.lose(false, [&] { bench.write_elsewhere("/x/a", "theirs again"); });
    const auto lost = co_await a.write(put("/x/a", "mine", bench.etcd.revision()));
    CHECK(lost.error().code == Code::unavailable);
  };
  bench.run(body);
}

TEST_CASE("no answer at all: the error says that it may have happened") {
  Bench bench;
  Server& a = bench.add();
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    for (int i = 0; i < 8; ++i) bench.lose(false);
    const auto lost = co_await a.write(put("/x/a", "v", 0));
    REQUIRE(lost.has_error());
    CHECK(lost.error().code == Code::unavailable);
    CHECK(lost.error().message.find("not known whether it happened") != std::string::npos);
    CHECK(lost.error().message.find('\n') == std::string::npos);
    bench.etcd.faults.clear();
    const auto made = co_await a.write(put("/x/a", "v", 0));
    CHECK(made.has_value());
  };
  bench.run(body);
}

TEST_CASE("what etcd cannot do for the moment is repeated, what it refuses is not") {
  Bench bench;
  Server& a = bench.add();
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    bench.refuse(503, R"({"error":"etcdserver: no leader","code":14})");
    bench.refuse(503, R"({"error":"etcdserver: request timed out","code":14})");
    const auto made = co_await a.write(put("/x/a", "v", 0));
    CHECK(made.has_value());
    metrics::Registry& metrics = bench.loop.metrics;
    const auto failures = [&] {
      return metrics.counter("skiff_etcd_failures_total", "", {"request"}, {"txn"}).value();
    };
    CHECK(failures() == 2);
    const int before = bench.etcd.asked["/v3/kv/txn"];
    bench.refuse(429, kFull);
    const auto full = co_await a.write(put("/x/b", "v", 0));
    REQUIRE(full.has_error());
    CHECK(full.error().code == Code::unavailable);
    CHECK(full.error().message.find("etcd's database is full") != std::string::npos);
    CHECK(full.error().message.find("not known") == std::string::npos);
    CHECK(bench.etcd.asked["/v3/kv/txn"] == before + 1);
    CHECK(metrics.gauge("skiff_etcd_full", "").value() == 1);
    CHECK(a.log->decider() == store::Decider::elsewhere);
    const auto again = co_await a.write(put("/x/b", "v", 0));
    CHECK(again.has_value());
    CHECK(metrics.gauge("skiff_etcd_full", "").value() == 0);
    CHECK(failures() == 3);
  };
  bench.run(body);
}

TEST_CASE("snapshots cannot be put into etcd, nor records appended: nothing is sent") {
  Bench bench;
  Server& a = bench.add();
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    const auto made = co_await a.write(put("/x/a", "v", 0));
    const int before = bench.etcd.asked["/v3/kv/txn"];
    store::Recovered at;
    at.revision = 100;
    std::vector<store::Record> state;
    const auto replaced = co_await a.log->replace(at, std::move(state));
    REQUIRE(replaced.has_error());
    CHECK(replaced.error().code == Code::bad_request);
    CHECK(replaced.error().message.find("etcdctl snapshot") != std::string::npos);
    const auto appended = co_await a.log->append(nullptr);
    CHECK(appended.error().code == Code::internal);
    CHECK(bench.etcd.asked["/v3/kv/txn"] == before);
    CHECK(bench.etcd.revision() == *made);
  };
  bench.run(body);
}

TEST_CASE("a prefix is one cluster's") {
  Bench bench;
  EtcdOptions ours = bench.options();
  ours.cluster = "aaaa";
  EtcdOptions theirs = bench.options();
  theirs.cluster = "bbbb";
  EtcdOptions newer = bench.options();
  newer.prefix = "/newer";
  Server& a = bench.add(ours);
  Server& b = bench.add(ours);
  Server& c = bench.add(theirs);
  Server& d = bench.add(newer);
  auto body = [&]() -> Task<void> {
    const auto none = co_await read_cluster(bench.loop.env, ours);
    CHECK(none.value().empty());
    co_await bench.begin(&a);
    co_await bench.begin(&b);
    const auto first = co_await read_cluster(bench.loop.env, theirs);
    CHECK(first.value() == "aaaa");
    const store::Revision before = bench.etcd.revision();
    const auto refused = co_await c.begin();
    REQUIRE(refused.has_error());
    CHECK(refused.error().code == Code::conflict);
    CHECK(refused.error().message.find("another cluster's") != std::string::npos);
    CHECK(bench.etcd.revision() == before);
    bench.etcd.put("/newer/format", "2");
    const auto old = co_await d.begin();
    CHECK(old.error().code == Code::invalid);
    CHECK(bench.etcd.value("/newer/format") == "2");
  };
  bench.run(body);
}

TEST_CASE("watches that break go on; what was forgotten meanwhile is read anew") {
  Bench bench;
  Server& a = bench.add();
  Server& b = bench.add();
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    co_await bench.begin(&b);
    std::vector<store::Revision> made;
    for (int i = 0; i < 12; ++i) {
      if (i % 4 == 1) bench.etcd.break_watches();
      const auto done = co_await a.write(put("/x/" + std::to_string(i), "v", 0));
      if (done) made.push_back(*done);
      REQUIRE(done.has_value());
    }
    co_await b.mirror.reach(made.back());
    std::vector<store::Revision> told;
    for (const store::Record& record : b.mirror.delivered) told.push_back(record.item->modified);
    CHECK(told == made);
    CHECK(b.mirror.replaced == 0);
    bench.etcd.down = true;
    bench.etcd.break_watches();
    while (b.log->decider() != store::Decider::nobody) co_await b.mirror.changed.wait();
    bench.write_elsewhere("/x/missed", "v");
    bench.etcd.compact(bench.etcd.revision() + 1);
    bench.etcd.put("/elsewhere", "");
    bench.etcd.put("/elsewhere", "");
    bench.etcd.down = false;
    while (b.mirror.replaced == 0) co_await b.mirror.changed.wait();
    CHECK(b.mirror.items.contains("/x/missed"));
    CHECK(b.mirror.items.size() == 13);
    while (b.log->decider() != store::Decider::elsewhere) co_await b.mirror.changed.wait();
    const auto done = co_await b.write(put("/x/after", "v", 0));
    REQUIRE(done.has_value());
    co_await b.mirror.reach(*done);
  };
  bench.run(body);
}

TEST_CASE("what somebody else than skiff does to its keys is taken over") {
  Bench bench;
  Server& a = bench.add();
  auto body = [&]() -> Task<void> {
    co_await bench.begin(&a);
    const auto made = co_await a.write(put("/x/a", "v", 0));
    co_await a.mirror.reach(*made);
    bench.etcd.erase("/skiff/objects/x/a");  // etcdctl del
    while (a.mirror.replaced == 0) co_await a.mirror.changed.wait();
    CHECK(a.mirror.items.empty());
  };
  bench.run(body);
}

TEST_CASE("an etcd that was wiped is not taken for the one it was, however full it is since") {
  Bench bench;
  Server& a = bench.add();
  const auto fill = [&](int times) {
    bench.etcd.wipe();
    for (int i = 0; i < times; ++i) bench.etcd.put("/skiff/instance", "another");
  };
  const int fillings[] = {0, 100};
  auto body = [&]() -> Task<void> {
    for (const int times : fillings) {
      Server& server = times == 0 ? a : bench.add();
      co_await bench.begin(&server);
      const auto made = co_await server.write(put("/x/a", "v"));
      REQUIRE(made.has_value());
      co_await server.mirror.reach(*made);
      bench.etcd.down = true;
      fill(times);
      while (server.log->decider() != store::Decider::nobody) {
        co_await server.mirror.changed.wait();
      }
      bench.etcd.down = false;
      for (bool told = false; !told;) {
        const auto refused = co_await server.write(put("/x/a", "w"));
        REQUIRE(refused.has_error());
        told = refused.error().message.find("restart skiff") != std::string::npos;
        co_await bench.loop.clock.sleep_for(5ms);
      }
      CHECK(server.mirror.items["/x/a"]->value == "v");
      fill(200);  // it stays so
      for (int i = 0; i < 10; ++i) co_await bench.loop.clock.sleep_for(5ms);
      CHECK(server.log->decider() == store::Decider::nobody);
      CHECK(server.mirror.replaced == 0);
      bench.etcd.wipe();
    }
  };
  bench.run(body);
}

TEST_CASE("who leads can be told to stop") {
  Bench bench;
  auto election = open_election(bench.loop.env, bench.options(), "one", "about");
  REQUIRE(election.has_value());
  bool leads = false;
  auto lead = [&]() -> Task<void> {
    const auto won = co_await (*election)->campaign();
    leads = won.has_value();
    co_await (*election)->lost();
  };
  auto body = [&]() -> Task<void> {
    TaskGroup group(bench.loop.env.executor);
    group.spawn("leader", lead());
    while (!leads) co_await bench.loop.clock.sleep_for(5ms);
    const auto all = co_await (*election)->candidates();
    REQUIRE(all.has_value());
    REQUIRE(all->size() == 1);
    CHECK((*all)[0].name == "one");
    CHECK((*all)[0].about == "about");
    CHECK((*all)[0].leads);
    group.cancel();
    co_await group.join();  // hears it although campaign() joined tasks of its own
    co_await (*election)->close();
    CHECK_FALSE((*election)->leads());
  };
  bench.run(body);
}
