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
      {{"--datastore", "etcd"}, "unknown --datastore \"etcd\": use sqlite or memory"},
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
