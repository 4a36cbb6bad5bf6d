#include <unistd.h>
#include <catch2/catch_test_macros.hpp>

#include <cstdlib>
#include <fstream>

#include "options.hpp"

using namespace skiff;
using namespace skiff::app;

namespace {

Result<ServerOptions> parse(const std::vector<std::string>& args) {
  return parse_server_options(args);
}

}  // namespace

TEST_CASE("a server that is told nothing has what it needs") {
  const auto o = parse({});
  REQUIRE(o.has_value());
  CHECK(o->data_dir == default_data_dir());
  CHECK_FALSE(o->node_name.empty());
  CHECK(o->https_port == 6443);
  CHECK(o->datastore == "sqlite");
  CHECK(o->kubeconfig() == o->data_dir + "/kubeconfig");
  CHECK_FALSE(o->disabled("proxy"));
}

TEST_CASE("what a server can be told") {
  const auto o = parse({"--data-dir", "/d", "--node-name=n", "--https-port", "7443", "--disable",
                        "proxy,kubelet", "--datastore", "memory", "--durability", "relaxed"});
  REQUIRE(o.has_value());
  CHECK(o->data_dir == "/d");
  CHECK(o->node_name == "n");
  CHECK(o->https_port == 7443);
  CHECK(o->disabled("proxy"));
  CHECK(o->disabled("kubelet"));
  CHECK_FALSE(o->disabled("scheduler"));
  CHECK(o->history_age == std::chrono::hours(24));
  CHECK(o->history_size == 256U << 20U);
  CHECK(o->encrypt == std::vector<std::string>{"secrets"});
  const auto more = parse({"--history", "90s", "--history-bytes", "0", "--encrypt",
                           "secrets,configmaps", "--datastore", "http://127.0.0.1:2379"});
  REQUIRE(more.has_value());
  CHECK(more->history_age == std::chrono::seconds(90));
  CHECK(more->history_size == 0);
  CHECK(more->encrypt == std::vector<std::string>{"secrets", "configmaps"});
  CHECK(more->external_datastore());
  const auto joining = parse({"--datastore", "http://127.0.0.1:2379", "--server", "https://a:6443",
                              "--token", "t", "--datastore-prefix", "/other"});
  REQUIRE(joining.has_value());
  CHECK(joining->history_age == std::chrono::hours(1));
  CHECK(joining->datastore_prefix == "/other");
}

TEST_CASE("spans of time") {
  CHECK(parse_span("0").value() == Duration::zero());
  CHECK(parse_span("7d").value() == std::chrono::hours(168));
  for (const char* text : {"", "h", "-1h", "1.5h", "5", "1000001s", "5 h"}) {
    CHECK_FALSE(parse_span(text).has_value());
  }
}

TEST_CASE("what a server refuses, in one line") {
  struct Row {
    std::vector<std::string> args;
    const char* message;
  };
  const Row rows[] = {
      {{"extra"}, "unexpected argument \"extra\""},
      {{"--https-port", "0"}, "ports lie between 1 and 65535"},
      {{"--https-port", "70000"}, "ports lie between 1 and 65535"},
      {{"--datastore", "etcd"},
       "unknown --datastore \"etcd\": use sqlite, memory or the http(s):// address of an etcd"},
      {{"--history", "1y"}, "--history: \"1y\" is no span of time: write 90s, 30m, 24h or 7d"},
      {{"--history", "99999999999999999999h"},
       "--history: \"99999999999999999999h\" is no span of time: write 90s, 30m, 24h or 7d"},
      {{"--history-bytes", "much"}, "--history-bytes much: want a size such as 256Mi or 1G"},
      {{"--history-bytes", "-1"}, "--history-bytes -1: want a size such as 256Mi or 1G"},
      {{"--encryption-keys", "a", "--encryption-keys-command", "b"},
       "--encryption-keys and --encryption-keys-command: give one of them"},
      {{"--cluster-init", "--server", "https://a:6443"},
       "--cluster-init begins a cluster and --server joins one: give one of them"},
      {{"--cluster-init", "--cluster-reset"},
       "--cluster-reset goes with neither --cluster-init nor --server"},
      {{"--cluster-init", "--datastore", "memory"},
       "several servers keep their state on disk: leave out --datastore memory"},
      {{"--datastore", "http://a:2379", "--cluster-init"},
       "servers over one etcd are a cluster without more ado: leave out --cluster-init and "
       "--cluster-reset"},
      {{"--datastore-cafile", "ca.crt"},
       "--datastore-... flags are for an etcd: give its address with --datastore"},
      {{"--datastore", "http://a:2379", "--datastore-user", "skiff"},
       "--datastore-user and --datastore-password-file: give both or none"},
      {{"--datastore", "https://a:2379", "--datastore-keyfile", "k"},
       "--datastore-certfile and --datastore-keyfile: give both or none"},
      {{"--server", "10.0.0.1"}, "--server 10.0.0.1: want https://HOST:PORT"},
      {{"--durability", "some"}, "unknown --durability \"some\": use full or relaxed"},
      {{"--dat-dir", "x"}, "unknown flag --dat-dir; did you mean --data-dir?"},
      {{"--config", "/nowhere/skiff.yaml"},
       "cannot read --config /nowhere/skiff.yaml: no such file, or no right to read it"},
  };
  for (const Row& row : rows) {
    const auto o = parse(row.args);
    REQUIRE_FALSE(o.has_value());
    CHECK(o.error().message == row.message);
  }
  const auto o = parse({"--disable", "gizmo"});
  REQUIRE_FALSE(o.has_value());
  CHECK(o.error().message.starts_with("unknown component \"gizmo\" for --disable"));
}

TEST_CASE("a configuration file says what the command line does not") {
  std::string name = "/tmp/skiff-options-XXXXXX";
  const int fd = ::mkstemp(name.data());
  REQUIRE(fd >= 0);
  ::close(fd);
  std::ofstream(name) << "https-port: 7000\nnode-name: from-file\ndisable: [proxy]\n";
  const auto o = parse({"--config", name, "--https-port", "8000"});
  REQUIRE(o.has_value());
  CHECK(o->https_port == 8000);
  CHECK(o->node_name == "from-file");
  CHECK(o->disabled("proxy"));
  std::ofstream(name) << "https-prot: 7000\n";
  const auto wrong = parse({"--config", name});
  REQUIRE_FALSE(wrong.has_value());
  CHECK(wrong.error().message.find("did you mean --https-port?") != std::string::npos);
  ::unlink(name.c_str());
}

TEST_CASE("help names every flag") {
  const std::string help = server_help();
  for (const char* flag : {"--data-dir", "--https-port", "--disable", "--config"})
    CHECK(help.find(flag) != std::string::npos);
  const auto o = parse({"--help"});
  REQUIRE(o.has_value());
  CHECK(o->help);
}
