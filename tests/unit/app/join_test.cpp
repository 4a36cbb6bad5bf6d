#include "join.hpp"

#include <catch2/catch_test_macros.hpp>

#include "cluster.hpp"
#include "fixture.hpp"
#include "skiff/pki/keys.hpp"

using namespace skiff;
using namespace skiff::app;
using namespace skiff::test;

TEST_CASE("a join token says whom to trust and what to show") {
  SeededRandom random(1);
  const std::string hash(64, 'a');
  const JoinToken token = make_join_token(random, hash);
  const auto again = JoinToken::parse(token.to_string());
  REQUIRE(ok(again));
  CHECK(again->cluster_id == hash);
  CHECK(again->id == token.id);
  CHECK(again->secret == token.secret);
  CHECK(token.id.size() == 6);
  CHECK(token.secret.size() == 16);
  CHECK(make_join_token(random, hash).secret != token.secret);
}

TEST_CASE("what is no join token is refused, and its secret shown to nobody") {
  const std::string hash(64, 'a');
  const std::string rows[] = {
      "",
      "skiff10::",
      "skiff10::" + hash,
      "skiff10::" + hash + "::abcdef",
      "skiff10::" + hash + "::abcdef.0123456789abcde",
      "skiff10::" + hash + "::abcdef.0123456789abcdefg",
      "skiff10::" + hash + "::ABCDEF.0123456789abcdef",
      "skiff10::" + hash.substr(1) + "::abcdef.0123456789abcdef",
      "skiff10::" + hash.substr(1) + "G::abcdef.0123456789abcdef",
      "skiff11::" + hash + "::abcdef.0123456789abcdef",
      "abcdef.0123456789abcdef",
      "skiff10::a.b::c",
  };
  for (const std::string& text : rows) {
    const auto refused = JoinToken::parse(text);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.starts_with("--token is no join token"));
    CHECK(refused.error().message.find("0123456789") == std::string::npos);
  }
}

TEST_CASE("a token is good until it expires, for who knows its secret") {
  SeededRandom random(1);
  const WallTime now = parse_time("2026-01-01T00:00:00Z").value();
  const JoinToken token = make_join_token(random, std::string(64, 'a'));
  api::Value secret = token_secret(token, now + std::chrono::hours(24), "test");
  CHECK(secret["metadata"]["name"].as_string() == "bootstrap-token-" + token.id);
  CHECK(ok(check_token(secret, token.secret, now)));
  const auto wrong = check_token(secret, "0000000000000000", now);
  REQUIRE_FALSE(wrong.has_value());
  CHECK(wrong.error().code == Code::unauthorized);
  CHECK(wrong.error().message.starts_with("the token is not known here"));
  const auto late = check_token(secret, token.secret, now + std::chrono::hours(24));
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().message.starts_with("the token has expired"));
  CHECK_FALSE(check_token(api::Value(), token.secret, now).has_value());
  CHECK_FALSE(check_token(api::Value(), "", now).has_value());
  // A token that kubeadm made for nodes lets no server in.
  secret.member("data").erase("usage-skiff-join-server");
  CHECK_FALSE(check_token(secret, token.secret, now).has_value());
  secret = token_secret(token, now + std::chrono::hours(24), "test");
  secret.member("data").set("expiration", pki::base64_encode("never"));
  CHECK_FALSE(check_token(secret, token.secret, now).has_value());
}

TEST_CASE("clocks that are too far apart are told so") {
  const WallTime now = parse_time("2026-01-01T00:00:00Z").value();
  CHECK(ok(check_clocks(now, now + std::chrono::minutes(4))));
  CHECK(ok(check_clocks(now + std::chrono::minutes(4), now)));
  const auto ahead = check_clocks(now + std::chrono::minutes(65), now);
  REQUIRE_FALSE(ahead.has_value());
  CHECK(ahead.error().message ==
        "cannot join: this machine's clock is 1 h 5 min ahead of the server's: set it right (NTP) "
        "and try again");
  const auto behind = check_clocks(now, now + std::chrono::minutes(6));
  REQUIRE_FALSE(behind.has_value());
  CHECK(behind.error().message.find("is 6 min behind the server's") != std::string::npos);
}

TEST_CASE("servers of one cluster agree on its ranges") {
  ServerOptions here;
  ServerOptions cluster;
  CHECK(ok(check_settings(cluster_settings(here), cluster_settings(cluster))));
  cluster.service_cidr = "10.96.0.0/16";
  const auto differs = check_settings(cluster_settings(here), cluster_settings(cluster));
  REQUIRE_FALSE(differs.has_value());
  CHECK(differs.error().message ==
        "cannot join: this cluster was started with --service-cidr 10.96.0.0/16, and this server "
        "has 10.43.0.0/16: start it with the cluster's");
}

TEST_CASE("a server knows who it is, and damage to that is told") {
  const Directory directory;
  CHECK(Membership::read(directory.path).error().code == Code::not_found);
  const Membership m{"alpha", 12345678901234567890ULL, true, false, false};
  REQUIRE(ok(m.write(directory.path)));
  const auto again = Membership::read(directory.path);
  REQUIRE(ok(again));
  CHECK(again->name == "alpha");
  CHECK(again->id == m.id);
  CHECK(again->joins);
  CHECK_FALSE(again->removed);
  for (const char* text : {"", "{", "{}", "[]", R"({"name":"a","id":"none"})"}) {
    REQUIRE(ok(pki::write_private_file(directory.path + "/server.json", text)));
    const auto damaged = Membership::read(directory.path);
    REQUIRE_FALSE(damaged.has_value());
    CHECK(damaged.error().message.find("server.json is damaged") != std::string::npos);
  }
}

TEST_CASE("what a server is told about its cluster is held against its data directory") {
  struct Row {
    Membership known;
    bool cluster_reset;
    const char* server;
    const char* message;
  };
  const Row rows[] = {
      {{"n", 7, true, false, true}, false, "", "this server was removed from its cluster"},
      {{"other", 7, false, false, false}, false, "", "this data directory is the server other's"},
      {{"n", 7, true, true, false}, false, "", "this server has not finished joining"},
      {{"n", 7, true, true, false}, false, "https://127.0.0.1:1", "joining takes --token"},
      {{}, true, "", "/tmp"},
      {{}, false, "https://127.0.0.1:1", "joining takes --token"},
  };
  for (const Row& row : rows) {
    Loop loop;
    const Directory directory;
    if (row.known.id != 0) REQUIRE(ok(row.known.write(directory.path)));
    ServerOptions options;
    options.data_dir = directory.path;
    options.node_name = "n";
    options.cluster_reset = row.cluster_reset;
    options.server = row.server;
    Cluster cluster(loop.env, options);
    const auto refused = finish(loop, cluster.prepare());
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.starts_with(row.message));
  }
  // A directory that is a cluster already joins none.
  Loop loop;
  const Directory directory;
  REQUIRE(ok(pki::write_private_file(directory.path + "/state.db", "x")));
  ServerOptions options;
  options.data_dir = directory.path;
  options.node_name = "n";
  options.server = "https://127.0.0.1:1";
  options.token = "t";
  Cluster cluster(loop.env, options);
  const auto refused = finish(loop, cluster.prepare());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("holds a cluster already") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(directory.path + "/server.json"));
}
