// Where a node has its range of pod addresses from.
#include "pod_range.hpp"

#include <catch2/catch_test_macros.hpp>
#include <fstream>

#include "../../support/fake_client.hpp"
#include "fixture.hpp"

using namespace skiff;
using namespace skiff::app;
using client::resources::kNodes;

namespace {

class World {
 public:
  World() : file_(directory_.path + "/pod-range") {}

  // A server that starts; what it opens is told by opened().
  struct Start {
    explicit Start(World& w)
        : informers(w.loop.env, w.api),
          range(w.loop.env, w.api, informers, "me", w.file_,
                [&w](netlink::Prefix p) -> Task<Result<void>> {
                  w.opened_ += p.to_string() + " ";
                  co_return w.refusal_;
                }),
          tasks(w.loop) {
      const auto begun = test::finish(w.loop, range.begin());
      began = begun.has_value();
      w.opened_ += "| ";
      range.start(tasks.group);
      informers.start(tasks.group);
      w.loop.run();
    }
    client::InformerFactory informers;
    PodRange range;
    test::Tasks tasks;
    bool began = false;
  };

  void put(const std::string& name, const std::string& range) {
    auto node = *api::parse_json(R"({"metadata":{"name":")" + name + R"("}})");
    REQUIRE(api.create_now(kNodes, std::move(node)).has_value());
    loop.run();
    if (!range.empty()) give(name, range);
  }
  void give(const std::string& name, const std::string& range) {
    const auto patch = *api::parse_json(R"({"spec":{"podCIDRs":[")" + range + R"("]}})");
    REQUIRE(api.patch_now(kNodes.at("", name), patch).has_value());
    loop.run();
  }
  std::string opened() { return std::exchange(opened_, ""); }
  std::string remembered() const {
    std::ifstream in(file_);
    std::string line;
    std::getline(in, line);
    return line;
  }
  void remember(const std::string& line) const { std::ofstream(file_) << line << "\n"; }
  void refuse(bool on) {
    refusal_ = on ? Result<void>(Error{Code::forbidden, "no"}) : Result<void>();
  }

  test::Loop loop;
  test::FakeClient api{loop.env};

 private:
  test::Directory directory_;
  std::string file_;
  std::string opened_;
  Result<void> refusal_;
};

}  // namespace

TEST_CASE("a new node opens its network when it is given a range, and remembers it") {
  World w;
  {
    const World::Start start(w);
    CHECK(w.opened() == "| ");
    w.put("other", "10.42.0.0/24");
    w.put("me", "");
    CHECK(w.opened().empty());
    w.give("me", "10.42.1.0/24");
    CHECK(w.opened() == "10.42.1.0/24 ");
    CHECK(w.remembered() == "me 10.42.1.0/24");
  }
  // Started again it has it at once, whether the cluster answers or not.
  const World::Start again(w);
  CHECK(w.opened() == "10.42.1.0/24 | ");
}

TEST_CASE("a node that does not remember asks") {
  World w;
  w.put("me", "10.42.3.0/24");
  SECTION("nothing there") {}
  SECTION("another node's") { w.remember("you 10.42.0.0/24"); }
  SECTION("nonsense") { w.remember("me ten"); }
  SECTION("the wrong family") { w.remember("me fd00::/64"); }
  const World::Start start(w);
  CHECK(w.opened() == "10.42.3.0/24 | ");
  CHECK(w.remembered() == "me 10.42.3.0/24");
}

TEST_CASE("what the Node says is right, later if need be") {
  World w;
  w.put("me", "10.42.3.0/24");
  w.remember("me 10.42.0.0/24");
  const World::Start start(w);
  CHECK(w.opened() == "10.42.0.0/24 | 10.42.3.0/24 ");
  CHECK(w.remembered() == "me 10.42.3.0/24");
}

TEST_CASE("a network that cannot be opened is tried again, and not remembered") {
  World w;
  w.refuse(true);
  {
    const World::Start start(w);
    CHECK(start.began);  // nothing was known to begin with
    w.put("me", "10.42.3.0/24");
    CHECK(w.opened() == "| 10.42.3.0/24 ");
    w.loop.run(5s);
    CHECK(w.opened() == "10.42.3.0/24 ");
    CHECK(w.remembered().empty());
  }
  const World::Start again(w);
  CHECK_FALSE(again.began);
}
