#include "identity.hpp"

#include <catch2/catch_test_macros.hpp>

#include "fixture.hpp"

using namespace skiff;
using namespace skiff::app;
using namespace skiff::test;

namespace {

ServerOptions options_in(const Directory& directory) {
  ServerOptions o;
  o.data_dir = directory.path;
  o.node_name = "n";
  o.node_ip = "10.0.0.1";
  return o;
}

std::string serial(const pki::KeyPair& pair) {
  return pki::Certificate::from_pem(pair.certificate_pem)->serial();
}

Identity load(Loop& loop, const ServerOptions& options) {
  auto identity = load_or_make_identity(loop.env, options, "10.43.0.1");
  REQUIRE(ok(identity));
  return std::move(*identity);
}

}  // namespace

TEST_CASE("an identity stays until something about it changes") {
  Loop loop;
  const Directory directory;
  ServerOptions options = options_in(directory);
  const Identity first = load(loop, options);
  const Identity again = load(loop, options);
  CHECK(serial(again.server) == serial(first.server));
  CHECK(again.cluster_id == first.cluster_id);
  CHECK(again.cluster_id.size() == 64);
  options.tls_san = {"api.example"};
  const Identity named = load(loop, options);
  CHECK(serial(named.server) != serial(first.server));
  CHECK(serial(named.admin) == serial(first.admin));
  CHECK(named.cluster_id == first.cluster_id);
}

TEST_CASE("a key and certificate that do not belong together are made anew") {
  Loop loop;
  const Directory directory;
  const ServerOptions options = options_in(directory);
  const Identity first = load(loop, options);
  // A renewal that was cut short: the key is the new one, the certificate the old.
  SeededRandom other(9);
  const std::string key = pki::PrivateKey::generate(other).to_pem();
  REQUIRE(ok(pki::write_private_file(directory.path + "/pki/server.key", key)));
  const Identity mended = load(loop, options);
  CHECK(serial(mended.server) != serial(first.server));
  std::filesystem::remove(directory.path + "/pki/admin.crt");
  CHECK(serial(load(loop, options).admin) != serial(first.admin));
  // The authority is not: what it issued would be worth nothing.
  REQUIRE(ok(pki::write_private_file(directory.path + "/pki/ca.key", key)));
  const auto refused = load_or_make_identity(loop.env, options, "10.43.0.1");
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("ca.key does not belong to") != std::string::npos);
}

TEST_CASE("certificates are renewed while the server runs, long before they expire") {
  Loop loop;
  Tasks tasks(loop);
  const Directory directory;
  const ServerOptions options = options_in(directory);
  const Identity first = load(loop, options);
  std::vector<Identity> renewed;
  tasks.group.spawn("renew", keep_identity_fresh(loop.env, options, "10.43.0.1", first.renew_at,
                                                 [&](const Identity& i) { renewed.push_back(i); }));
  loop.run(std::chrono::hours(24 * 200));
  CHECK(renewed.empty());
  loop.run(std::chrono::hours(24 * 60));
  REQUIRE(renewed.size() == 1);
  CHECK(serial(renewed[0].server) != serial(first.server));
  CHECK(serial(renewed[0].peer) != serial(first.peer));
  CHECK(renewed[0].ca_pem == first.ca_pem);
  const auto old = pki::Certificate::from_pem(first.server.certificate_pem);
  CHECK(old->not_after() - loop.clock.wall() > std::chrono::hours(24 * 60));
  CHECK(serial(load(loop, options).server) == serial(renewed[0].server));
  // A clock that jumps a year ahead is noticed within a day.
  loop.clock.jump_wall(std::chrono::hours(24 * 365));
  loop.run(std::chrono::hours(24));
  CHECK(renewed.size() == 2);
}
