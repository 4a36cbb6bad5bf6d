#include "table.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::proxy;

namespace {

Target target(int last) { return {IpAddress::v4(0x0a2a0000U + static_cast<unsigned>(last)), 80}; }
std::vector<Target> targets(std::initializer_list<int> last) {
  std::vector<Target> t;
  for (const int l : last) t.push_back(target(l));
  return t;
}

Held bytes(std::uint8_t b) { return {{b}, std::nullopt}; }

api::Value service(int number, const char* more = "") {
  return *api::parse_yaml("metadata: {namespace: d, name: s" + std::to_string(number) +
                          "}\nspec: {clusterIP: 10.43." + std::to_string(number / 250) + "." +
                          std::to_string(number % 250 + 1) + ", ports: [{port: 80" + more + "}]}");
}

api::Value slice(std::initializer_list<int> last, const char* protocol = "TCP") {
  std::string text = "addressType: IPv4\nports: [{port: 8080, protocol: " + std::string(protocol) +
                     "}]\nendpoints: [";
  for (const int l : last) text += "{addresses: [10.42.0." + std::to_string(l) + "]},";
  return *api::parse_yaml(text + "]");
}

struct Count {
  std::size_t chains = 0, removed = 0, added = 0, dropped = 0;
  bool operator==(const Count&) const = default;
};
Count count(const Changes& c) {
  Count n{c.chains.size(), 0, 0, c.dropped_chains.size()};
  for (const auto& [set, elements] : c.removed) n.removed += elements.size();
  for (const auto& [set, elements] : c.added) n.added += elements.size();
  return n;
}

}  // namespace

TEST_CASE("endpoints keep their numbers as far as possible") {
  struct Case {
    std::vector<Target> before, wanted, after;
  };
  for (const auto& c : {
           Case{{}, targets({1, 2, 3}), targets({1, 2, 3})},
           Case{targets({1, 2, 3}), targets({1, 2, 3}), targets({1, 2, 3})},
           Case{targets({1, 2, 3}), targets({1, 3}), targets({1, 3})},
           Case{targets({1, 2, 3}), targets({2, 3}), targets({3, 2})},
           Case{targets({1, 2, 3}), targets({1, 4, 3}), targets({1, 4, 3})},
           Case{targets({1, 2}), targets({0, 1, 2}), targets({1, 2, 0})},
           Case{targets({1, 2, 3, 4}), targets({4}), targets({4})},
           Case{targets({1, 2}), {}, {}},
           Case{targets({1, 2, 3}), targets({7, 8, 9, 10}), targets({7, 8, 9, 10})},
       }) {
    CHECK(arrange(c.before, c.wanted) == c.after);
  }
}

TEST_CASE("the ledger nets changes and shares slots") {
  Ledger ledger;
  const Slot x{"set", {1}}, y{"set", {2}};
  const auto none = std::make_shared<const std::vector<nft::Rule>>();
  const auto some = std::make_shared<const std::vector<nft::Rule>>(1, nft::Rule().counter());
  ledger.set("b", {{{"chain-b", none}}, {{x, bytes(2)}}});
  CHECK(count(ledger.take_changes()) == Count{1, 0, 1, 0});
  CHECK(ledger.take_changes().empty());

  SECTION("the same again changes nothing") {
    ledger.set("b", {{{"chain-b", none}}, {{x, bytes(2)}}});
    CHECK(ledger.take_changes().empty());
  }
  SECTION("to and fro is nothing") {
    ledger.set("b", {});
    ledger.set("b", {{{"chain-b", none}}, {{x, bytes(2)}}});
    CHECK(ledger.take_changes().empty());
  }
  SECTION("a changed value is taken out and put in") {
    ledger.set("b", {{{"chain-b", none}}, {{x, bytes(3)}}});
    CHECK(count(ledger.take_changes()) == Count{0, 1, 1, 0});
  }
  SECTION("the first owner by name has the slot, the other follows") {
    ledger.set("a", {{}, {{x, bytes(1)}, {y, {}}}});
    auto changes = ledger.take_changes();
    CHECK(count(changes) == Count{0, 1, 2, 0});
    CHECK(changes.added["set"][0].value == nft::Bytes{1});
    ledger.set("a", {});
    changes = ledger.take_changes();
    CHECK(count(changes) == Count{0, 2, 1, 0});
    CHECK(changes.added["set"][0].value == nft::Bytes{2});
  }
  SECTION("a rule change replaces the chain's rules") {
    ledger.set("b", {{{"chain-b", some}}, {{x, bytes(2)}}});
    const auto changes = ledger.take_changes();
    REQUIRE(changes.chains.size() == 1);
    CHECK_FALSE(changes.chains[0].fresh);
  }
  SECTION("a shared chain stays until its last owner goes") {
    ledger.set("a", {{{"chain-b", none}}, {}});
    CHECK(ledger.take_changes().empty());
    ledger.set("b", {});
    CHECK(count(ledger.take_changes()) == Count{0, 1, 0, 0});
    ledger.set("a", {});
    CHECK(count(ledger.take_changes()) == Count{0, 0, 0, 1});
  }
  SECTION("gone is gone") {
    ledger.set("b", {});
    CHECK(count(ledger.take_changes()) == Count{0, 1, 0, 1});
    CHECK(ledger.take_everything().empty());
  }
}

TEST_CASE("the cost of a change does not depend on the number of services") {
  std::vector<std::size_t> sizes;
  for (const int services : {10, 1000}) {
    Table table({});
    const auto three = slice({2, 3, 4}), four = slice({2, 3, 4, 5});
    for (int i = 0; i < services; ++i) {
      const auto s = service(i);
      table.update({"d", "s" + std::to_string(i)}, &s, {&three});
    }
    CHECK(table.endpoints() == static_cast<std::size_t>(services) * 3);
    table.take_changes();
    const auto s = service(0), other = service(1);
    table.update({"d", "s0"}, &s, {&four});
    // The first of its size brings the picker, and the verdict that leads there.
    CHECK(count(table.take_changes()) == Count{1, 1, 3, 0});
    table.update({"d", "s1"}, &other, {&four});
    const auto changes = table.take_changes();
    CHECK(count(changes) == Count{0, 1, 2, 0});  // an endpoint more, and the new size
    nft::Batch batch(nft::Family::ipv4, "t");
    changes.write(batch);
    sizes.push_back(batch.size());
  }
  CHECK(sizes[0] == sizes[1]);
}

TEST_CASE("a service's life") {
  Table table({});
  const auto s = service(1, ", nodePort: 30080");
  const auto none = slice({}), two = slice({2, 3}), one = slice({3});
  const api::NamespacedName key{"d", "s1"};

  table.update(key, &s, {&none});
  auto changes = table.take_changes();
  CHECK(changes.chains.empty());
  CHECK(changes.added.contains("refused"));
  CHECK(changes.added.contains("refused-node-ports"));
  CHECK_FALSE(changes.added.contains("service-ips"));

  table.update(key, &s, {&two});
  changes = table.take_changes();
  CHECK(changes.chains.size() == 2);  // pickers for two, by address and by node port
  CHECK(changes.removed.contains("refused"));
  CHECK(changes.added["service-ips"].size() == 1);
  CHECK(changes.added["node-ports"].size() == 1);
  CHECK(changes.added["endpoints"].size() == 2);

  table.update(key, &s, {&one});
  changes = table.take_changes();
  CHECK(changes.chains.size() == 2);
  CHECK(changes.dropped_chains.size() == 2);
  CHECK(changes.removed["service-ips"].size() == 1);
  CHECK(changes.added["service-ips"].size() == 1);
  CHECK(changes.removed["endpoints"].size() == 2);  // 2 at [0]; 3 moves from [1] to [0]
  CHECK(changes.added["endpoints"].size() == 1);

  table.update(key, nullptr, {});
  changes = table.take_changes();
  CHECK(changes.dropped_chains.size() == 2);
  CHECK(table.service_ports() == 0);
  CHECK(table.endpoints() == 0);
  CHECK(table.take_everything().empty());
}

TEST_CASE("UDP flows are forgotten when their endpoint is gone") {
  Table table({});
  const auto s = service(1, ", protocol: UDP, nodePort: 30053");
  const auto two = slice({2, 3}, "UDP"), one = slice({3}, "UDP");
  table.update({"d", "s1"}, &s, {&two});
  table.take_udp();
  table.update({"d", "s1"}, &s, {&two});
  CHECK(table.take_udp().empty());
  table.update({"d", "s1"}, &s, {&one});
  const auto udp = table.take_udp();
  REQUIRE(udp.size() == 1);

  const auto ip = [](const char* text) { return *IpAddress::parse(text); };
  struct Case {
    const char* what;
    const char *front, *back;
    std::uint16_t front_port, back_port;
    bool stale;
  };
  for (const auto& c : {
           Case{"led to the one that is gone", "10.43.0.2", "10.42.0.2", 80, 8080, true},
           Case{"led to the one that stays", "10.43.0.2", "10.42.0.3", 80, 8080, false},
           Case{"another service", "10.43.0.3", "10.42.0.2", 80, 8080, false},
           Case{"another port", "10.43.0.2", "10.42.0.2", 81, 8080, false},
           Case{"by node port", "192.0.2.1", "10.42.0.2", 30053, 8080, true},
           Case{"a program's own port", "192.0.2.1", "192.0.2.1", 30053, 30053, false},
           Case{"not led anywhere yet", "10.43.0.2", "10.43.0.2", 80, 80, true},
       }) {
    CAPTURE(c.what);
    netlink::Flow flow;
    flow.protocol = 17;
    flow.original = {ip("10.42.0.9"), ip(c.front), 40000, c.front_port};
    flow.reply = {ip(c.back), ip("10.42.0.9"), c.back_port, 40000};
    CHECK(stale(flow, udp) == c.stale);
  }
}
