// Servers crash and lose power, links are cut in one direction or both, frames get lost and come
// twice, members come and go; writers go on all the time. Nothing acknowledged is lost, no revision
// is given twice, and in the end all have the same.
#include "cluster.hpp"

using namespace skiff;
using namespace skiff::raft;
using namespace skiff::raft::test;

namespace {

struct Chaos {
  explicit Chaos(std::uint64_t seed) : random{seed}, group(c.loop.io.get_executor()) {
    c.loop.random = SeededRandom{seed + 1000};
    c.keep_bytes = 8'000;
    c.apply_bytes = 2'000;
    c.chunk_bytes = 1'000;
    c.power_cuts = true;
  }
  Cluster c;
  SeededRandom random;
  TaskGroup group;
  std::map<Revision, std::string> acknowledged;
  std::map<std::string, std::string> latest;
  int refused = 0;
  int number = 0;

  static Task<void> write(Chaos& chaos, Id at, std::string key, std::string value) {
    FakeUser* user = chaos.c.nodes[at].user.get();
    Op op;
    op.key = key;
    op.value = value;
    std::vector<Op> ops;
    ops.push_back(std::move(op));
    Verdicts verdicts;
    if (user->log->decider() == store::Decider::here) {
      verdicts = co_await user->decide(std::move(ops));
    } else {
      verdicts = co_await user->log->forward(std::move(ops));
    }
    if (!verdicts.front()) {
      ++chaos.refused;
      co_return;
    }
    const auto [it, fresh] = chaos.acknowledged.emplace(*verdicts.front(), key);
    INFO("revision " << it->first << " was given to " << it->second << " and " << key);
    CHECK(fresh);
    chaos.latest[key] = value;
  }

  Id any() { return 1 + random.below(3); }
  bool up(Id id) { return c.nodes[id].log != nullptr; }
  int running() { return int{up(1)} + int{up(2)} + int{up(3)}; }

  void hurt() {
    const Id id = any();
    switch (random.below(9)) {
      case 0:
        if (up(id) && running() > 1) c.crash(id);
        break;
      case 1:
        if (up(id) && running() > 1) c.stop(id);
        break;
      case 2:
      case 3:
        for (Id i = 1; i <= 3; ++i) {
          if (!up(i)) REQUIRE(c.start(i, Start::join).has_value());
        }
        break;
      case 4:
        c.wires.cut.insert({id, any()});
        break;
      case 5:
        c.wires.isolate(id, c.ids());
        break;
      case 6:
        c.wires.drop_one_in = static_cast<int>(random.below(2) * 5);
        c.wires.twice = random.below(2) == 0;
        break;
      default:
        c.wires.cut.clear();
        break;
    }
  }

  void run() {
    c.make(3);
    for (int step = 0; step < 60; ++step) {
      for (int i = 0; i < 20; ++i) {
        const Id at = any();
        // Keys of their own: what is acknowledged stays.
        const std::string key = "k" + std::to_string(number++);
        if (up(at)) group.spawn("write", write(*this, at, key, std::to_string(number)));
        c.loop.run(Duration(random.below(20'000'000)));
      }
      hurt();
      c.loop.run(Duration(random.below(1'500'000'000)));
    }
    c.wires.cut.clear();
    c.wires.drop_one_in = 0;
    c.wires.twice = false;
    for (Id i = 1; i <= 3; ++i) {
      if (!up(i)) REQUIRE(c.start(i, Start::join).has_value());
    }
    c.loop.run(30s);
    const Id leader = c.wait_leader();
    REQUIRE(leader != 0);
    REQUIRE(c.put(leader, "end", "1").has_value());
    c.loop.run(2s);
  }
};

}  // namespace

TEST_CASE("chaos", "[raft][chaos]") {
  const char* only = std::getenv("SKIFF_RAFT_SEED");
  const std::uint64_t first = only != nullptr ? std::stoull(only) : 1;
  const char* many = std::getenv("SKIFF_RAFT_SEEDS");
  const std::uint64_t count = many != nullptr ? std::stoull(many) : only != nullptr ? 1 : 8;
  const std::uint64_t last = first + count - 1;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    INFO("SKIFF_RAFT_SEED=" << seed);
    Chaos chaos(seed);
    chaos.run();
    const auto& all = chaos.c.nodes[1].user->values;
    for (const auto& [key, value] : chaos.latest) {
      const auto it = all.find(key);
      INFO("lost: " << key);
      REQUIRE(it != all.end());
      REQUIRE(it->second == value);
    }
    CHECK((chaos.c.nodes[2].user->values == all));
    CHECK((chaos.c.nodes[3].user->values == all));
    CHECK(chaos.acknowledged.size() > 50);
  }
}
