#include "skiff/linux/nftables.hpp"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstring>

using namespace skiff;
using namespace skiff::nft;

namespace {

struct Parsed {
  std::uint16_t type;
  Bytes attributes;
};

std::vector<Parsed> parse(const Bytes& datagram) {
  std::vector<Parsed> out;
  for (std::size_t at = 0; at < datagram.size();) {
    nlmsghdr h{};
    std::memcpy(&h, datagram.data() + at, sizeof h);
    REQUIRE(h.nlmsg_len >= sizeof h + sizeof(nfgenmsg));
    const auto begin = datagram.begin() + static_cast<std::ptrdiff_t>(at);
    out.push_back({h.nlmsg_type, Bytes(begin + sizeof h + sizeof(nfgenmsg), begin + h.nlmsg_len)});
    at += (h.nlmsg_len + 3U) & ~3U;
  }
  return out;
}

class Refusing final : public netlink::Socket {
 public:
  explicit Refusing(std::uint32_t sequence) : sequence_(sequence) {}
  Result<netlink::Reply> exchange(ByteView, netlink::Until until) override {
    CHECK(until == netlink::Until::sent);
    return netlink::Reply{{}, {{sequence_, ENOENT, ""}}};
  }

 private:
  std::uint32_t sequence_;
};

}  // namespace

TEST_CASE("a batch is framed and keeps its order") {
  Batch batch(Family::ipv4, "t");
  CHECK(batch.empty());
  batch.add_table();
  batch.add_chain("c");
  batch.add_rule("c", Rule().verdict({Verdict::Type::drop, ""}).comment("no"));
  batch.delete_chain("c");
  CHECK(batch.operations() == 4);
  const auto messages = parse(batch.finish());
  REQUIRE(messages.size() == 6);
  CHECK(messages.front().type == NFNL_MSG_BATCH_BEGIN);
  CHECK(messages.back().type == NFNL_MSG_BATCH_END);
  CHECK((messages[1].type & 0xff) == NFT_MSG_NEWTABLE);
  CHECK((messages[2].type & 0xff) == NFT_MSG_NEWCHAIN);
  CHECK((messages[3].type & 0xff) == NFT_MSG_NEWRULE);
  CHECK((messages[4].type & 0xff) == NFT_MSG_DELCHAIN);
}

TEST_CASE("many elements are spread over messages of at most 64 KiB") {
  std::vector<Element> elements;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    Element e;
    append_part(e.key, netlink::IpAddress::v4(i));
    append_protocol(e.key, 6);
    append_port(e.key, static_cast<std::uint16_t>(i));
    e.verdict = Verdict{Verdict::Type::go, "chain-" + std::to_string(i)};
    elements.push_back(std::move(e));
  }
  Batch batch(Family::ipv4, "t");
  batch.add_elements("services", elements);
  CHECK(batch.operations() >= 5);
  std::size_t seen = 0;
  for (const auto& m : parse(batch.finish())) {
    CHECK(m.attributes.size() < 65'536);
    netlink::for_each_attribute(m.attributes, [&](std::uint16_t type, ByteView list) {
      if (type != NFTA_SET_ELEM_LIST_ELEMENTS) return;
      netlink::for_each_attribute(list, [&](std::uint16_t, ByteView) { ++seen; });
    });
  }
  CHECK(seen == elements.size());
}

TEST_CASE("keys are laid out as registers hold them") {
  Bytes key;
  append_part(key, *netlink::IpAddress::parse("10.43.0.1"));
  append_protocol(key, 17);
  append_port(key, 53);
  CHECK(key == Bytes{10, 43, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0});
}

TEST_CASE("equal rules compare equal, different ones do not") {
  const auto rule = [](std::uint32_t n) {
    return Rule().meta(Meta::l4proto, {0}).random(n, {1}).verdict({});
  };
  CHECK(rule(3) == rule(3));
  CHECK_FALSE(rule(3) == rule(4));
  CHECK_FALSE(rule(3) == rule(3).comment("x"));
}

TEST_CASE("a refused batch names what was refused") {
  struct Case {
    std::uint32_t sequence;
    std::string words;
  };
  for (const auto& c : {Case{2, "nftables: adding table t: "},
                        {3, "nftables: adding chain t web: "},
                        {4, "nftables: adding a rule to t web: "},
                        {5, "nftables: deleting elements of t services: "},
                        {1, "nftables: the transaction: "}}) {
    CAPTURE(c.sequence);
    Batch batch(Family::ipv4, "t");
    batch.add_table();
    batch.add_chain("web");
    batch.add_rule("web", Rule().counter());
    batch.delete_elements("services", std::vector<Element>{{.key = {1, 2, 3, 4}}});
    Refusing socket(c.sequence);
    const auto result = commit(socket, std::move(batch));
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Code::not_found);
    CHECK(result.error().message.starts_with(c.words));
  }
}
