#include "cluster.hpp"

using namespace skiff;
using namespace skiff::raft;
using namespace skiff::raft::test;

TEST_CASE("a cluster of one writes and starts again", "[raft]") {
  Cluster c;
  REQUIRE(c.start(1, Start::bootstrap).has_value());
  REQUIRE(c.wait_leader() == 1);
  for (int i = 0; i < 10; ++i) REQUIRE(c.put(1, "k" + std::to_string(i), "v").has_value());
  CHECK(c.wires.sent == 0);
  SECTION("after a clean stop") { c.stop(1); }
  SECTION("after a crash") { c.crash(1); }
  const auto recovered = c.start(1, Start::bootstrap);
  REQUIRE(recovered.has_value());
  REQUIRE(c.wait_leader() == 1);
  CHECK(c.nodes[1].user->values.size() == 10);
  CHECK(c.nodes[1].user->revision == 10);
  REQUIRE(c.put(1, "k3", "w").has_value());
  CHECK(c.nodes[1].user->revision == 11);
}

TEST_CASE("three servers have the same", "[raft]") {
  Cluster c;
  c.make(3);
  for (int i = 0; i < 100; ++i) {
    REQUIRE(c.put(1 + static_cast<Id>(i) % 3, "k" + std::to_string(i), "v").has_value());
  }
  c.loop.run(500ms);
  for (Id id = 1; id <= 3; ++id) {
    CHECK(c.nodes[id].user->values.size() == 100);
    CHECK(c.nodes[id].user->revision == 100);
  }
  CHECK(c.nodes[1].user->delivered == 0);
  const auto read = c.wait(c.nodes[3].log->barrier());
  REQUIRE(read.has_value());
  CHECK(*read == 100);
}

TEST_CASE("the leader dies; the others go on within two seconds", "[raft]") {
  Cluster c;
  c.make(3);
  for (int round = 0; round < 5; ++round) {
    const Id leader = c.wait_leader();
    REQUIRE(leader != 0);
    REQUIRE(c.put(leader, "a", std::to_string(round)).has_value());
    c.crash(leader);
    const TimePoint died = c.loop.clock.now();
    const Id next = c.wait_leader();
    REQUIRE(next != 0);
    REQUIRE(next != leader);
    INFO("without a leader for " << (c.loop.clock.now() - died) / 1ms << " ms");
    CHECK(c.loop.clock.now() - died < 2s);
    CHECK(c.nodes[next].user->values["a"] == std::to_string(round));
    REQUIRE(c.put(next, "b", std::to_string(round)).has_value());
    REQUIRE(c.start(leader, Start::join).has_value());
    c.loop.run(1s);
    CHECK(c.nodes[leader].user->values["b"] == std::to_string(round));
  }
}

TEST_CASE("without a majority writes fail at once and reads say so", "[raft]") {
  Cluster c;
  c.make(3);
  REQUIRE(c.put(1, "a", "1").has_value());
  c.crash(2);
  c.crash(3);
  c.loop.run(2s);
  const TimePoint before = c.loop.clock.now();
  const auto put = c.put(1, "a", "2");
  REQUIRE_FALSE(put.has_value());
  CHECK(put.error().code == Code::unavailable);
  CHECK(c.loop.clock.now() - before < 10ms);
  CHECK_FALSE(c.wait(c.nodes[1].log->barrier()).has_value());
  CHECK(c.nodes[1].log->status().quorum == false);
  CHECK(c.nodes[1].user->values["a"] == "1");
  REQUIRE(c.start(2, Start::join).has_value());
  REQUIRE(c.wait_leader() != 0);
  REQUIRE(c.put(c.leader(), "a", "3").has_value());
}

TEST_CASE("an append that was given up is delivered when it happened after all", "[raft]") {
  Cluster c;
  c.make(3);
  // The followers get the entry, the leader does not hear of it.
  c.wires.cut = {{2, 1}, {3, 1}};
  TaskGroup group(c.loop.io.get_executor());
  bool failed = false;
  auto write = [](Cluster& cl, bool& f) -> Task<void> {
    Op op;
    op.key = "lost";
    op.value = "found";
    std::vector<Op> ops;
    ops.push_back(std::move(op));
    const auto verdicts = co_await cl.nodes[1].user->decide(std::move(ops));
    f = !verdicts.front() && verdicts.front().error().code == Code::unavailable;
  };
  group.spawn("write", write(c, failed));
  c.loop.run(3s);
  CHECK(failed);
  c.wires.cut.clear();
  REQUIRE(c.wait_leader() != 0);
  c.loop.run(1s);
  for (Id id = 1; id <= 3; ++id) CHECK(c.nodes[id].user->values["lost"] == "found");
  CHECK(c.nodes[1].user->delivered > 0);
}

TEST_CASE("a leader that is cut off does not answer reads", "[raft]") {
  Cluster c;
  c.make(3);
  REQUIRE(c.put(1, "a", "old").has_value());
  c.wires.isolate(1, c.ids());
  // It believes to lead for a while: reads wait for a majority all the same.
  REQUIRE(c.nodes[1].log->decider() == store::Decider::here);
  CHECK_FALSE(c.wait(c.nodes[1].log->barrier()).has_value());
  c.loop.run(3s);
  const Id now = c.wait_leader();
  REQUIRE(now != 1);
  REQUIRE(c.put(now, "a", "new").has_value());
  CHECK_FALSE(c.put(1, "a", "wrong").has_value());
  c.wires.cut.clear();
  c.loop.run(2s);
  CHECK(c.nodes[1].user->values["a"] == "new");
  CHECK(c.leader() == now);
}

// The third of three is away, and little is kept for it.
void take_the_third_away(Cluster& c, std::size_t keep, std::size_t keep_behind) {
  c.keep_bytes = keep;
  c.keep_behind_bytes = keep_behind;
  c.apply_bytes = 2'000;
  c.chunk_bytes = 4'000;
  c.make(3);
  c.crash(3);
}

Result<Revision> write_one(Cluster& c, int i) {
  return c.put(1, "k" + std::to_string(i % 300), std::string(200, 'x'));
}

// More is written meanwhile than is kept.
void lose_the_third(Cluster& c) {
  take_the_third_away(c, 20'000, 20'000);
  for (int i = 0; i < 400; ++i) REQUIRE(write_one(c, i).has_value());
  c.loop.run(1s);
}

TEST_CASE("a server that was away gets a snapshot in parts", "[raft]") {
  Cluster c;
  lose_the_third(c);
  const RaftStatus before = c.nodes[1].log->status();
  CHECK(before.snapshot > 100);
  CHECK(before.entry_bytes < 80'000);
  SECTION("on a good network") {}
  SECTION("on a bad one") {
    c.wires.drop_one_in = 10;
    c.wires.twice = true;
  }
  REQUIRE(c.start(3, Start::join).has_value());
  c.loop.run(30s);
  c.wires.drop_one_in = 0;
  c.wires.twice = false;
  c.loop.run(2s);
  CHECK(c.nodes[3].user->replaced >= 1);
  CHECK(c.nodes[3].user->values.size() == 300);
  const Id leader = c.wait_leader();
  CHECK(c.nodes[3].user->revision == c.nodes[leader].user->revision);
  REQUIRE(c.put(leader, "after", "1").has_value());
  c.loop.run(500ms);
  CHECK(c.nodes[3].user->values["after"] == "1");
  c.crash(3);
  REQUIRE(c.start(3, Start::join).has_value());
  c.loop.run(1s);
  CHECK(c.nodes[3].user->values.size() == 301);
}

TEST_CASE("a server catches up while much is written", "[raft]") {
  Cluster c;
  take_the_third_away(c, 4'000, 8'000);
  const auto write = [&](int n) {
    for (int i = 0; i < n; ++i) {
      REQUIRE(write_one(c, i).has_value());
      c.loop.run(50ms);
    }
  };
  write(400);
  c.nodes[3].disk->slow = &c.loop.clock;
  const int before = c.nodes[3].disk->replacements;
  REQUIRE(c.start(3, Start::join).has_value());
  // A snapshot of 70 KB takes 20 s to be put in place; twice as much is written meanwhile.
  write(300);
  CHECK(c.nodes[1].log->status().entry_bytes > 50'000);
  write(1200);
  CHECK(c.nodes[3].disk->replacements <= before + 3);
  c.nodes[3].disk->slow = nullptr;
  write(100);
  c.loop.run(1s);
  CHECK(c.nodes[3].disk->replacements <= before + 3);
  CHECK(c.nodes[3].user->revision == c.nodes[1].user->revision);
  CHECK(c.nodes[1].log->status().entry_bytes < 16'000);
}

TEST_CASE("entries that came and were forgotten before the leader knew of it are no hole",
          "[raft]") {
  Cluster c;
  c.keep_bytes = 2'000;
  c.keep_behind_bytes = 40'000;
  c.make(3);
  REQUIRE(write_one(c, 0).has_value());
  c.loop.run(100ms);
  c.wires.cut = {{3, 1}};  // what it answers is lost
  const Index told = c.nodes[1].log->status().last;
  SECTION("with more to come") {
    for (int i = 0; i < 60; ++i) REQUIRE(write_one(c, i).has_value());
  }
  SECTION("and nothing but heartbeats after them") {
    for (int i = 0; i < 30; ++i) REQUIRE(write_one(c, i).has_value());
    c.loop.run(200ms);
  }
  CHECK(c.nodes[3].log->status().snapshot > told);
  c.wires.cut.clear();
  c.loop.run(1s);
  REQUIRE(c.put(1, "after", "1").has_value());
  c.loop.run(2s);
  CHECK(c.nodes[3].user->values["after"] == "1");
  CHECK(c.nodes[3].disk->replacements == 1);  // the one it joined with
}

TEST_CASE("a snapshot that takes long to be put in place is not sent again", "[raft]") {
  Cluster c;
  lose_the_third(c);
  c.nodes[3].disk->slow = &c.loop.clock;
  const int before = c.nodes[3].disk->replacements;
  REQUIRE(c.start(3, Start::join).has_value());
  c.loop.run(5s);
  const std::size_t carried = c.wires.large;
  SECTION("and the server goes on") {
    c.loop.run(30s);
    CHECK(c.nodes[3].disk->replacements == before + 1);
    CHECK(c.wires.large - carried < 25);  // it is asked how it goes
  }
  SECTION("until the server has started anew") {
    c.crash(3);
    c.nodes[3].disk->slow = nullptr;
    REQUIRE(c.start(3, Start::join).has_value());
    c.loop.run(20s);
  }
  CHECK(c.nodes[3].user->values.size() == 300);
  REQUIRE(c.put(1, "after", "1").has_value());
  c.loop.run(500ms);
  CHECK(c.nodes[3].user->values["after"] == "1");
}

TEST_CASE("three become one and stay writable", "[raft]") {
  Cluster c;
  c.make(3);
  REQUIRE(c.put(2, "a", "1").has_value());
  SECTION("the others are removed") {
    REQUIRE(c.wait(c.nodes[1].log->remove(2)).has_value());
    REQUIRE(c.put(1, "b", "1").has_value());
    REQUIRE(c.wait(c.nodes[1].log->remove(3)).has_value());
    c.loop.run(2s);
    CHECK(c.leader() == 1);
    CHECK(c.nodes[2].log->status().state == "removed");
    CHECK(c.nodes[3].log->status().state == "removed");
    REQUIRE(c.put(1, "c", "1").has_value());
    const auto last = c.wait(c.nodes[1].log->remove(1));
    REQUIRE_FALSE(last.has_value());
    CHECK(last.error().code == Code::invalid);
  }
  SECTION("the leader removes itself") {
    REQUIRE(c.wait(c.nodes[1].log->remove(1)).has_value());
    c.loop.run(2s);
    const Id leader = c.wait_leader();
    CHECK(leader != 1);
    CHECK(c.nodes[leader].log->status().servers.size() == 2);
    REQUIRE(c.put(leader, "b", "1").has_value());
  }
}

TEST_CASE("a lone survivor goes on; the others are refused", "[raft]") {
  Cluster c;
  c.make(3);
  REQUIRE(c.put(1, "a", "1").has_value());
  c.loop.run(500ms);
  c.crash(1);
  c.crash(2);
  c.loop.run(2s);
  CHECK_FALSE(c.put(3, "b", "1").has_value());
  SECTION("without stopping") {
    REQUIRE(c.wait(c.nodes[3].log->reset_to_lone_survivor()).has_value());
  }
  SECTION("at its start") {
    c.crash(3);
    REQUIRE(c.start(3, Start::reset).has_value());
  }
  REQUIRE(c.wait_leader() == 3);
  REQUIRE(c.put(3, "b", "2").has_value());
  REQUIRE(c.start(1, Start::join).has_value());
  REQUIRE(c.start(2, Start::join).has_value());
  c.loop.run(5s);
  CHECK(c.nodes[3].log->status().servers.size() == 1);
  REQUIRE(c.put(3, "c", "3").has_value());
  // Emptied, one may join again.
  c.crash(1);
  c.nodes[1].disk = std::make_shared<Disk>();
  REQUIRE(c.start(1, Start::join).has_value());
  Server server;
  server.id = 1;
  server.address = Cluster::address(1);
  REQUIRE(c.wait(c.nodes[3].log->add(server)).has_value());
  REQUIRE(c.wait(c.nodes[3].log->promote(1)).has_value());
  c.loop.run(500ms);
  CHECK(c.nodes[1].user->values.size() == 3);
}

TEST_CASE("a server whose disk was emptied is noticed", "[raft]") {
  Cluster c;
  c.make(3);
  REQUIRE(c.put(1, "a", "1").has_value());
  c.crash(3);
  c.nodes[3].disk = std::make_shared<Disk>();
  REQUIRE(c.start(3, Start::join).has_value());
  c.loop.run(3s);
  const RaftStatus status = c.nodes[1].log->status();
  bool told = false;
  for (const PeerStatus& p : status.servers) told |= p.trouble.find("lost") != std::string::npos;
  CHECK(told);
  REQUIRE(c.put(1, "b", "1").has_value());
}

TEST_CASE("a full disk: another leads; alone, writes go on when there is room", "[raft]") {
  Cluster c;
  SECTION("of three") {
    c.make(3);
    c.nodes[1].disk->full = true;
    (void)c.put(1, "a", "1");
    c.loop.run(3s);
    const Id leader = c.wait_leader();
    REQUIRE(leader != 0);
    CHECK(leader != 1);
    REQUIRE(c.put(leader, "b", "1").has_value());
    CHECK(c.nodes[1].log->status().trouble == "the disk is full");
    c.nodes[1].disk->full = false;
    c.loop.run(3s);
    CHECK(c.nodes[1].user->values["b"] == "1");
  }
  SECTION("alone") {
    c.make(1);
    c.nodes[1].disk->full = true;
    const auto put = c.put(1, "a", "1");
    REQUIRE_FALSE(put.has_value());
    CHECK(put.error().message == "the disk is full");
    CHECK_FALSE(c.put(1, "b", "1").has_value());
    c.nodes[1].disk->full = false;
    c.loop.run(3s);
    REQUIRE(c.put(1, "c", "1").has_value());
    CHECK(c.nodes[1].user->values["a"] == "1");
  }
}

TEST_CASE("what a full disk had refused comes before anything new", "[raft]") {
  Cluster c;
  c.make(1);
  Node& one = c.nodes[1];
  REQUIRE(c.put(1, "before", "1").has_value());
  one.disk->full = true;
  TaskGroup group(c.loop.io.get_executor());
  auto write = [](FakeUser* user, std::string key) -> Task<void> {
    std::vector<Op> ops(1);
    ops[0].key = std::move(key);
    (void)co_await user->decide(std::move(ops));
  };
  // The second is not in the write that fails: it reaches the disk after that one has been
  // repeated.
  group.spawn("first", write(one.user.get(), "first"));
  c.loop.run();
  group.spawn("second", write(one.user.get(), "second"));
  c.loop.run(10ms);
  CHECK(group.size() == 0);
  CHECK(one.log->decider() == store::Decider::nobody);
  one.disk->full = false;
  REQUIRE(c.wait_leader() == 1);
  CHECK(one.user->values.count("first") == 1);
  CHECK(one.user->values.count("second") == 1);
}

TEST_CASE("a leader that gives up to nobody does not wait for ever", "[raft]") {
  Cluster c;
  c.make(3);
  RaftLog& log = *c.nodes[1].log;
  std::optional<Result<void>> outcome;
  TaskGroup group(c.loop.io.get_executor());
  auto hand = [](RaftLog* from, std::optional<Result<void>>* out) -> Task<void> {
    out->emplace(co_await from->transfer_leadership(0));
  };
  group.spawn("hand over", hand(&log, &outcome));
  for (int ms = 0; ms < 100 && log.status().state == "leader"; ++ms) c.loop.run(1ms);
  // It has voted for its successor, and never hears of it again.
  REQUIRE(log.status().state == "follower");
  REQUIRE_FALSE(outcome.has_value());
  c.wires.isolate(1, c.ids());
  c.loop.run(3s);
  REQUIRE(outcome.has_value());
  CHECK_FALSE(outcome->has_value());
}

TEST_CASE("who has the most is elected though its term is long over", "[raft]") {
  Cluster c;
  c.make(2);
  c.wires.cut.insert({1, 2});
  TaskGroup group(c.loop.io.get_executor());
  auto write = [](FakeUser* user) -> Task<void> {
    std::vector<Op> ops(1);
    ops[0].key = "a";
    (void)co_await user->decide(std::move(ops));
  };
  group.spawn("write", write(c.nodes[1].user.get()));
  c.loop.run(10ms);
  c.crash(1);
  c.crash(2);
  c.wires.cut.clear();
  // Elections that it took no part in.
  c.nodes[2].disk->entries.state.term += 10;
  REQUIRE(c.start(1, Start::join).has_value());
  REQUIRE(c.start(2, Start::join).has_value());
  CHECK(c.wait_leader() == 1);
}

TEST_CASE("a reader of history that gives up costs the inner log nothing", "[raft]") {
  Cluster c;
  c.make(1);
  Node& one = c.nodes[1];
  REQUIRE(c.put(1, "a", "1").has_value());
  one.disk->slow = &c.loop.clock;
  TaskGroup group(c.loop.io.get_executor());
  auto read = [](RaftLog* log) -> Task<void> {
    store::Range all;
    (void)co_await log->history(std::move(all), 0, 1, 0);
  };
  group.spawn("reader", read(one.log.get()));
  c.loop.run(10ms);
  group.cancel();
  c.loop.run(2s);
  REQUIRE(group.size() == 0);
  one.disk->slow = nullptr;
  REQUIRE(c.put(1, "b", "1").has_value());
  REQUIRE(c.wait(one.log->sync()).has_value());
  REQUIRE(one.disk->records.size() == 2);
  CHECK(one.disk->records[0].item->key == "a");
}

TEST_CASE("a read shows at least what another server shows already", "[raft]") {
  Cluster c;
  c.entry_bytes = 64;
  c.make(3);
  TaskGroup group(c.loop.io.get_executor());
  auto write = [](FakeUser* user) -> Task<void> {
    std::vector<Op> ops(2);
    ops[0].key = "a";
    ops[1].key = "b";
    (void)co_await user->decide(std::move(ops));
  };
  // Two entries: the others write the first, and have no room for the second.
  group.spawn("write", write(c.nodes[1].user.get()));
  c.loop.run(1ms);
  c.loop.run(1ms);
  c.nodes[2].disk->full = c.nodes[3].disk->full = true;
  c.loop.run(300ms);
  REQUIRE(c.nodes[2].user->values.count("a") == 1);
  REQUIRE(c.nodes[2].user->values.count("b") == 0);
  REQUIRE(c.nodes[1].user->values.count("a") == 0);
  std::optional<Result<Revision>> read;
  auto ask = [](RaftLog* log, std::optional<Result<Revision>>* out) -> Task<void> {
    out->emplace(co_await log->barrier());
  };
  group.spawn("read", ask(c.nodes[1].log.get(), &read));
  c.loop.run(100ms);
  CHECK_FALSE(read.has_value());
  c.nodes[2].disk->full = c.nodes[3].disk->full = false;
  c.loop.run(2s);
  REQUIRE(read.has_value());
  REQUIRE(read->has_value());
  CHECK(**read >= c.nodes[2].user->revision);
}

TEST_CASE("garbage and strangers change nothing", "[raft]") {
  Cluster c;
  c.make(3);
  SeededRandom random{7};
  for (int i = 0; i < 2000; ++i) {
    std::string frame(random.below(200), '\0');
    random.fill({reinterpret_cast<std::uint8_t*>(frame.data()), frame.size()});
    c.wires.receivers[1](std::move(frame));
  }
  Cluster other;
  c.loop.run(1s);
  CHECK(c.leader() == 1);
  REQUIRE(c.put(2, "a", "1").has_value());
}

TEST_CASE("writes survive loss and repetition on the network", "[raft]") {
  Cluster c;
  c.make(3);
  c.wires.drop_one_in = 20;
  c.wires.twice = true;
  int done = 0;
  for (int i = 0; i < 200; ++i) {
    if (c.wait_leader() == 0) continue;
    if (c.put(1 + static_cast<Id>(i) % 3, "k" + std::to_string(i), "v")) ++done;
  }
  CHECK(done > 150);
  c.wires.drop_one_in = 0;
  c.loop.run(3s);
  const auto& all = c.nodes[1].user->values;
  CHECK(static_cast<int>(all.size()) >= done);
  CHECK(c.nodes[2].user->values == all);
  CHECK(c.nodes[3].user->values == all);
}

TEST_CASE("a stopping leader hands over first", "[raft]") {
  Cluster c;
  c.make(3);
  const TimePoint before = c.loop.clock.now();
  c.stop(1);
  CHECK(c.loop.clock.now() - before < 200ms);
  const Id leader = c.wait_leader(200ms);
  CHECK(leader > 1);
  REQUIRE(c.put(leader, "a", "1").has_value());
}

TEST_CASE("leases are written to the inner log once in a while", "[raft]") {
  Cluster c;
  c.make(1);
  for (int i = 0; i < 100; ++i) {
    REQUIRE(c.put(1, "lease", std::to_string(i), true).has_value());
    c.loop.run(10s);
  }
  CHECK(c.nodes[1].disk->records.size() <= 3);
  REQUIRE(c.put(1, "a", "1").has_value());
  c.crash(1);
  REQUIRE(c.start(1, Start::bootstrap).has_value());
  REQUIRE(c.wait_leader() == 1);
  CHECK(c.nodes[1].user->values["lease"] == "99");
}

TEST_CASE("an idle cluster says little", "[raft]") {
  Cluster c;
  c.make(3);
  c.loop.run(5s);
  const std::size_t sent = c.wires.sent;
  const int writes = c.nodes[1].disk->writes + c.nodes[2].disk->writes;
  c.loop.run(60s);
  // A heartbeat to two servers every 150 ms, and their answers.
  CHECK(c.wires.sent - sent <= 60 * 7 * 4);
  CHECK(c.nodes[1].disk->writes + c.nodes[2].disk->writes == writes);
}
