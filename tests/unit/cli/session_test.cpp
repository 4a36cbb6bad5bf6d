#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "session.hpp"

using namespace skiff;
using namespace skiff::cli;
namespace fs = std::filesystem;

namespace {

// "pods/a deployments.apps/b", or the error.
std::string named(const std::vector<std::string>& words) {
  const auto names = parse_names(words);
  if (!names) return names.error().message;
  std::string out;
  for (const Named& n : *names) {
    out += (out.empty() ? "" : " ") + std::string(n.resource->plural);
    if (!n.resource->group.empty()) out += "." + std::string(n.resource->group);
    if (!n.name.empty()) out += "/" + n.name;
  }
  return out;
}

}  // namespace

TEST_CASE("how arguments name things") {
  struct Row {
    std::vector<std::string> words;
    const char* meaning;
  };
  const Row rows[] = {
      {{}, ""},
      {{"pods"}, "pods"},
      {{"po"}, "pods"},
      {{"Pod"}, "pods"},
      {{"deploy", "web", "db"}, "deployments.apps/web deployments.apps/db"},
      {{"deployments.apps"}, "deployments.apps"},
      {{"deployments.v1.apps", "x"}, "deployments.apps/x"},
      {{"po,svc"}, "pods services"},
      {{"po,svc", "a"}, "pods/a services/a"},
      {{"deployment/web", "svc/web"}, "deployments.apps/web services/web"},
      {{"events"}, "events"},
      {{"gizmos"}, "the server doesn't have a resource type \"gizmos\""},
      {{"deployments.batch"}, "the server doesn't have a resource type \"deployments.batch\""},
  };
  for (const Row& row : rows) CHECK(named(row.words) == row.meaning);
  CHECK(named({"pod/a", "b"}).starts_with("there is no need to specify a resource type"));
  CHECK(named({"pod/"}).starts_with("there is no need to specify a resource type"));
  const std::string all = named({"all"});
  CHECK(all.find("pods") != std::string::npos);
  CHECK(all.find("configmaps") == std::string::npos);
}

TEST_CASE("how things that were done are named") {
  const auto first = [](const char* word) { return parse_names({word}).value()[0].resource; };
  CHECK(display_name(*first("po"), "a") == "pod/a");
  CHECK(display_name(*first("deploy"), "web") == "deployment.apps/web");
}

TEST_CASE("durations") {
  struct Row {
    const char* text;
    std::int64_t milliseconds;  // -1: refused
  };
  const Row rows[] = {
      {"0", 0},       {"0s", 0},        {"30s", 30'000}, {"5m", 300'000}, {"1h30m", 5'400'000},
      {"250ms", 250}, {"1m1s", 61'000}, {"", -1},        {"5", -1},       {"s", -1},
      {"5d", -1},     {"5s5", -1}};
  for (const Row& row : rows) {
    INFO(row.text);
    const auto parsed = parse_duration(row.text);
    CHECK((parsed ? std::chrono::duration_cast<std::chrono::milliseconds>(*parsed).count() : -1) ==
          row.milliseconds);
  }
}

TEST_CASE("which kubeconfig is used") {
  ::unsetenv("KUBECONFIG");
  ::setenv("HOME", "/nowhere", 1);
  ::unsetenv("XDG_DATA_HOME");
  const std::string own = "/var/lib/skiff/kubeconfig";  // of root, if skiff was ever run here
  const bool has_own = ::geteuid() == 0 && fs::exists(own);
  CHECK(find_kubeconfig("") == (has_own ? own : "/nowhere/.kube/config"));
  ::setenv("KUBECONFIG", "/set", 1);
  CHECK(find_kubeconfig("") == "/set");
  CHECK(find_kubeconfig("/given") == "/given");
  ::unsetenv("KUBECONFIG");
}

TEST_CASE("manifests from files and directories") {
  std::string name = (fs::temp_directory_path() / "skiff-cli-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  const fs::path dir = name;
  fs::create_directories(dir / "deeper");
  const auto config_map = [](const char* n) {
    return std::string("{apiVersion: v1, kind: ConfigMap, metadata: {name: ") + n + "}}\n";
  };
  std::ofstream(dir / "b.yaml") << config_map("b1") + "---\n" + config_map("b2");
  std::ofstream(dir / "a.json")
      << R"({"apiVersion":"v1","kind":"List","items":[)"
         R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}]})";
  std::ofstream(dir / "notes.txt") << "not a manifest";
  std::ofstream(dir / "deeper/c.yml") << config_map("c");
  const auto names = [](const std::vector<std::string>& files, bool recursive) {
    const auto read = read_manifests(files, recursive);
    if (!read) return read.error().message;
    std::string out;
    for (const auto& o : *read) out += o["metadata"]["name"].as_string() + " ";
    return out;
  };
  CHECK(names({dir}, false) == "a b1 b2 ");
  CHECK(names({dir / "b.yaml"}, false) == "b1 b2 ");
  CHECK(names({dir}, true).find("c ") != std::string::npos);
  CHECK(names({dir / "none"}, false).ends_with("does not exist"));
  std::ofstream(dir / "b.yaml") << "{apiVersion: v1, kind: Gizmo}";
  CHECK(names({dir / "b.yaml"}, false) == "no matches for kind \"Gizmo\" in version \"v1\"");
  std::ofstream(dir / "b.yaml") << "{apiVersion: v1}";
  CHECK(names({dir / "b.yaml"}, false).starts_with("Object 'Kind' is missing"));
  fs::remove_all(dir);
}
