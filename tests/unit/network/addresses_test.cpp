#include "addresses.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::network;
using netlink::IpAddress;
using netlink::Prefix;

namespace {
AddressPool pool_of(std::string_view prefix) {
  return *AddressPool::create(*Prefix::parse(prefix));
}
std::string next(AddressPool& pool) {
  const auto a = pool.take();
  return a ? a->to_string() : "none";
}
}  // namespace

TEST_CASE("addresses go round: one given back is the last to be used again") {
  auto pool = pool_of("10.42.0.0/29");
  CHECK(pool.gateway().to_string() == "10.42.0.1");
  CHECK(next(pool) == "10.42.0.2");
  CHECK(next(pool) == "10.42.0.3");
  pool.give_back(*IpAddress::parse("10.42.0.2"));
  CHECK(next(pool) == "10.42.0.4");
  CHECK(next(pool) == "10.42.0.5");
  CHECK(next(pool) == "10.42.0.6");
  CHECK(next(pool) == "10.42.0.2");
  CHECK(next(pool) == "none");
  CHECK(pool.take().error().code == Code::unavailable);
}

TEST_CASE("a prefix need not be written as its network") {
  auto pool = pool_of("10.42.7.9/24");
  CHECK(pool.gateway().to_string() == "10.42.7.1");
  CHECK(next(pool) == "10.42.7.2");
}

TEST_CASE("an address found taken is not given out") {
  auto pool = pool_of("10.42.0.0/29");
  CHECK(pool.take(*IpAddress::parse("10.42.0.2")));
  CHECK_FALSE(pool.take(*IpAddress::parse("10.42.0.2")));
  CHECK(next(pool) == "10.42.0.3");
}

TEST_CASE("pod CIDRs that can not work are refused") {
  for (const char* bad : {"10.42.0.0/31", "10.42.0.0/32", "10.0.0.0/7", "fd00::/64"}) {
    CAPTURE(bad);
    CHECK(AddressPool::create(*Prefix::parse(bad)).error().code == Code::invalid);
  }
}

TEST_CASE("interface names fit and aliases lead back to the pod") {
  const std::string id = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
  CHECK(host_interface(id).size() == 15);
  CHECK(host_interface(id) == host_interface(id));
  CHECK(host_interface(id) != host_interface(id + "x"));
  const auto owner = owner_of(alias_of({*IpAddress::parse("10.42.0.9"), id}));
  REQUIRE(owner.has_value());
  CHECK(owner->pod_id == id);
  CHECK(owner->address.to_string() == "10.42.0.9");
  for (const char* other :
       {"", "eth", "skiff ", "skiff 10.42.0.9", "skiff 10.42.0.9 ", "skiff x y"}) {
    CAPTURE(other);
    CHECK_FALSE(owner_of(other).has_value());
  }
}
