// Not a test but a measurement: `test_registry "[.bench]"`.
#include <catch2/catch_test_macros.hpp>
#include <cstdio>

#include "fixture.hpp"

namespace skiff::test {
namespace {

constexpr int kPods = 10'000;
constexpr int kBatch = 1000;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::vector<client::Write> batch_of(int begin, bool bind) {
  static const Value pod = parse(R"({"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{
    "name":"c","image":"registry.example/app:1","ports":[{"containerPort":8080}],"resources":{
    "requests":{"cpu":"100m","memory":"64Mi"}},"env":[{"name":"A","value":"b"}]}]}})");
  static const Value binding = parse(R"({"target":{"kind":"Node","name":"node-1"}})");
  std::vector<client::Write> writes;
  for (int i = begin; i < begin + kBatch; ++i) {
    client::Write w;
    const std::string name = "p" + std::to_string(i);
    w.object = bind ? binding : pod;
    if (!bind) w.object.member("metadata").set("name", name);
    w.ref = client::resources::kPods.in("default");
    if (bind) w.ref = w.ref.at("default", name).sub("binding");
    writes.push_back(std::move(w));
  }
  return writes;
}

}  // namespace

TEST_CASE("batches of pods and bindings", "[.bench]") {
  Fixture f;
  f.create(client::resources::kServiceAccounts.in("default"), R"({"metadata":{"name":"default"}})")
      .value();
  for (const bool bind : {false, true}) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kPods; i += kBatch) {
      for (const auto& r : f.run(f.client->batch(batch_of(i, bind)))) REQUIRE(r.has_value());
    }
    std::printf("%s: %.0f/s\n", bind ? "bindings" : "pods", kPods / seconds_since(begin));
  }
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) {
    client::ListOptions options;
    options.field_selector = "status.phase=Running";
    options.label_selector = "app=web";
    f.run(f.client->list(client::resources::kPods, options)).value();
  }
  std::printf("selected lists of %d pods: %.0f/s\n", kPods, 100 / seconds_since(begin));
}

}  // namespace skiff::test
