#include "skiff/linux/netlink.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstring>
#include <deque>

using namespace skiff;
using namespace skiff::netlink;

namespace {

// Stands in for the kernel: keeps what it is sent, answers what it was told to.
class FakeSocket final : public Socket {
 public:
  explicit FakeSocket(std::vector<Bytes>& sent) : sent_(sent) {}
  Result<Reply> exchange(ByteView request, Until) override {
    sent_.emplace_back(request.begin(), request.end());
    if (replies.empty()) return Reply{};
    Reply r = std::move(replies.front());
    replies.pop_front();
    return r;
  }
  std::deque<Reply> replies;

 private:
  std::vector<Bytes>& sent_;
};

std::uint32_t u32_at(const Bytes& b, std::size_t at) {
  std::uint32_t v = 0;
  std::memcpy(&v, b.data() + at, sizeof v);
  return v;
}

}  // namespace

TEST_CASE("addresses and prefixes") {
  struct Case {
    std::string text;
    bool good;
  };
  for (const auto& c : {Case{"10.42.0.1", true},
                        {"::1", true},
                        {"fd00::10:1", true},
                        {"10.42.0", false},
                        {"10.42.0.256", false},
                        {"", false},
                        {"web", false}}) {
    CAPTURE(c.text);
    const auto a = IpAddress::parse(c.text);
    CHECK(a.has_value() == c.good);
    if (a) CHECK(a->to_string() == c.text);
  }
  CHECK(IpAddress::v4(0x0a2a0001).to_string() == "10.42.0.1");
  CHECK(IpAddress::parse("127.1.2.3")->loopback());
  CHECK(IpAddress::parse("::1")->loopback());
  CHECK_FALSE(IpAddress::parse("::2")->loopback());
  CHECK(IpAddress::parse("0.0.0.0")->unspecified());

  struct Inside {
    std::string prefix, address;
    bool inside;
  };
  for (const auto& c : {Inside{"10.42.0.0/16", "10.42.200.1", true},
                        {"10.42.0.0/16", "10.43.0.1", false},
                        {"10.0.0.0/9", "10.127.0.1", true},
                        {"10.0.0.0/9", "10.128.0.1", false},
                        {"0.0.0.0/0", "1.2.3.4", true},
                        {"10.1.2.3/32", "10.1.2.3", true},
                        {"10.1.2.3/32", "10.1.2.2", false},
                        {"fd00::/8", "fd12::1", true},
                        {"fd00::/8", "10.0.0.1", false}}) {
    CAPTURE(c.prefix, c.address);
    CHECK(Prefix::parse(c.prefix)->contains(*IpAddress::parse(c.address)) == c.inside);
  }
  for (const char* bad :
       {"10.42.0.0", "10.42.0.0/33", "10.42.0.0/", "10.42.0.0/x", "/8", "::/129"}) {
    CAPTURE(bad);
    CHECK(Prefix::parse(bad).error().code == Code::invalid);
  }
  CHECK(Prefix::parse("10.42.0.0/20")->mask() == Bytes{255, 255, 240, 0});
}

TEST_CASE("messages are padded and their lengths are set") {
  Writer w(7);
  w.begin_message(100, 1);
  w.attribute(1, std::string_view("ab"));  // 4 + 3, padded to 8
  const auto nest = w.begin_nest(2);
  w.be16(3, 0x0102);
  w.end_nest(nest);
  w.end_message();
  const auto& b = w.bytes();
  REQUIRE(b.size() == 16 + 8 + 4 + 8);
  CHECK(u32_at(b, 0) == b.size());
  CHECK(u32_at(b, 8) == 7);
  std::vector<std::pair<int, Bytes>> seen;
  for_each_attribute(ByteView(b).subspan(16), [&](std::uint16_t type, ByteView data) {
    seen.emplace_back(type, Bytes(data.begin(), data.end()));
  });
  REQUIRE(seen.size() == 2);
  CHECK(seen[0] == std::pair{1, Bytes{'a', 'b', 0}});
  CHECK(seen[1].first == 2);  // the nested flag is gone
  for_each_attribute(seen[1].second, [&](std::uint16_t type, ByteView data) {
    CHECK(type == 3);
    CHECK(Bytes(data.begin(), data.end()) == Bytes{1, 2});
  });
}

TEST_CASE("damaged attributes end the walk") {
  const Bytes too_long{200, 0, 1, 0, 1, 2, 3, 4};
  const Bytes too_short{2, 0, 1, 0};
  for (const auto& b : {too_long, too_short, Bytes{1, 2}}) {
    int seen = 0;
    for_each_attribute(b, [&](std::uint16_t, ByteView) { ++seen; });
    CHECK(seen == 0);
  }
}

TEST_CASE("a refusal becomes an error with the kernel's words") {
  std::vector<Bytes> sent;
  struct Case {
    int number;
    Code code;
  };
  for (const auto& c : {Case{EEXIST, Code::already_exists},
                        {ENODEV, Code::not_found},
                        {ESRCH, Code::not_found},
                        {EPERM, Code::forbidden},
                        {EBUSY, Code::conflict},
                        {EOPNOTSUPP, Code::unavailable},
                        {EINVAL, Code::internal}}) {
    auto socket = std::make_unique<FakeSocket>(sent);
    socket->replies.push_back({{}, {{1, c.number, "because"}}});
    Route route(std::move(socket));
    const auto result = route.add_bridge("skiff0", {}, 1500);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == c.code);
    CHECK(result.error().message.starts_with("creating bridge skiff0: "));
    CHECK(result.error().message.ends_with("(because)"));
  }
  Route route(std::make_unique<FakeSocket>(sent));
  CHECK(route.add_bridge("a-name-too-long-for-a-link", {}, 0).error().code == Code::invalid);
}

TEST_CASE("adding what is there already succeeds") {
  std::vector<Bytes> sent;
  auto socket = std::make_unique<FakeSocket>(sent);
  socket->replies.push_back({{}, {{1, EEXIST, ""}}});
  Route route(std::move(socket));
  CHECK(route.add_address(3, *Prefix::parse("10.42.0.1/24")).has_value());
}
