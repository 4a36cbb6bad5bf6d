#include "wire.hpp"

#include <catch2/catch_test_macros.hpp>

#include "gateway.hpp"
#include "skiff/etcd/etcd.hpp"

using namespace skiff;
using namespace skiff::etcd;

TEST_CASE("requests") {
  CHECK(to_body({"a", "b", 7, 10, true}) ==
        R"({"key":"YQ==","range_end":"Yg==","revision":"7","limit":"10","keys_only":true})");
  TxnRequest txn("a", 3);
  txn.put("a", "v").erase("b").otherwise({"a"});
  CHECK(std::move(txn).body() ==
        R"({"compare":[{"key":"YQ==","target":"MOD","result":"EQUAL","mod_revision":"3"}],)"
        R"("success":[{"request_put":{"key":"YQ==","value":"dg=="}},)"
        R"({"request_delete_range":{"key":"Yg=="}}],)"
        R"("failure":[{"request_range":{"key":"YQ=="}}]})");
}

TEST_CASE("answers") {
  auto value = parse_answer(
      R"({"header":{"cluster_id":"9","revision":"12"},"kvs":[{"key":"YQ==","create_revision":"2",)"
      R"("mod_revision":"3","value":"dg=="}],"more":true})");
  const auto range = read_range(*value);
  REQUIRE(range.has_value());
  CHECK(range->revision == 12);
  CHECK(range->cluster == "9");
  CHECK(range->more);
  CHECK(range->kvs[0].key == "a");
  CHECK(range->kvs[0].modified == 3);
  const auto lost = read_watch(R"({"result":{"canceled":true,"compact_revision":"30"}})");
  CHECK(lost->canceled);
  CHECK(lost->compacted == 30);
  const auto failed = read_watch(R"({"error":{"grpc_code":14,"message":"no leader"}})");
  CHECK(failed.error().code == Code::unavailable);
  for (const std::string_view bad :
       {"", "{", "[]", "{}", R"({"result":{"events":[{"kv":{"mod_revision":"x"}}]}})",
        R"({"result":{"events":[{"kv":{"key":"?","mod_revision":"1"}}]}})",
        R"({"result":{"events":[{"kv":7}]}})", R"({"result":{"events":[{"type":"X","kv":{}}]}})",
        R"({"result":{"header":{"revision":"-4"}}})",
        R"({"result":{"events":[{"kv":{"mod_revision":"99999999999999999999"}}]}})"}) {
    INFO(bad);
    CHECK(read_watch(bad).has_error());
  }
}

TEST_CASE("what refusals mean") {
  struct Row {
    int status;
    std::string_view body;
    Code code;
    bool transient;
  };
  const Row table[] = {
      {400, R"({"error":"etcdserver: request is too large","code":3})", Code::too_large, false},
      {429, R"x({"error":"grpc: received message larger than max (1 vs. 2)","code":8})x",
       Code::too_large, false},
      {400, R"({"error":"etcdserver: mvcc: required revision has been compacted","code":11})",
       Code::expired, false},
      {401, R"({"error":"etcdserver: invalid auth token","code":16})", Code::unauthorized, false},
      {400, R"({"error":"etcdserver: user name is empty","code":3})", Code::unauthorized, false},
      {403, R"({"error":"etcdserver: permission denied","code":7})", Code::forbidden, false},
      {503, R"({"error":"etcdserver: no leader","code":14})", Code::unavailable, true},
      {429, R"({"error":"etcdserver: mvcc: database space exceeded","code":8})", Code::unavailable,
       false},
      {404, "404 page not found", Code::unavailable, false},
      {503, "<html>", Code::unavailable, true},
      {500, R"({"error":[]})", Code::internal, false},
  };
  for (const Row& row : table) {
    INFO(row.body);
    const Refusal refusal = refusal_of(row.status, row.body);
    CHECK(refusal.error.code == row.code);
    CHECK(refusal.transient == row.transient);
    CHECK_FALSE(refusal.error.message.empty());
  }
}

TEST_CASE("options that cannot be used") {
  EtcdOptions good;
  good.endpoints = {"http://127.0.0.1:2379", "https://[::1]:2379/"};
  CHECK(check_options(good).has_value());
  const auto bad = [&](auto change) {
    EtcdOptions options = good;
    change(options);
    CHECK(check_options(options).error().code == Code::bad_request);
  };
  bad([](EtcdOptions& o) { o.endpoints.clear(); });
  bad([](EtcdOptions& o) { o.endpoints = {"127.0.0.1:2379"}; });
  bad([](EtcdOptions& o) { o.endpoints = {"http://h:1/v3"}; });
  bad([](EtcdOptions& o) { o.prefix = "skiff"; });
  bad([](EtcdOptions& o) { o.prefix = "/skiff/"; });
  bad([](EtcdOptions& o) { o.user = "root"; });
  bad([](EtcdOptions& o) { o.tls.identity.certificate_pem = "x"; });
  bad([](EtcdOptions& o) { o.connections = 0; });
}
