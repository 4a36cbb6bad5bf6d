// What requests cost in allocations, so that a careless change shows.
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <new>

#include "cluster.hpp"

namespace {
std::size_t allocations = 0;
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace skiff::test {
namespace {

std::size_t cost(Cluster& cluster, const Call& call, int status) {
  std::size_t least = SIZE_MAX;
  for (int i = 0; i < 3; ++i) {  // the first fills caches
    Call copy = call;
    if (copy.method == "POST") {
      copy.body = R"({"metadata":{"name":"n)" + std::to_string(i) + copy.body;
    }
    const std::size_t before = allocations;
    const Recorder answer = cluster.ask(std::move(copy));
    least = std::min(least, allocations - before);
    REQUIRE(answer.status == status);
  }
  return least;
}

}  // namespace

TEST_CASE("requests allocate little") {
  Cluster cluster;
  cluster.send("POST", "/api/v1/namespaces/default/configmaps",
               R"({"metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}})");
  const std::size_t get = cost(cluster, {.target = "/api/v1/namespaces/default/configmaps/a"}, 200);
  const std::size_t list = cost(cluster, {.target = "/api/v1/namespaces/default/configmaps"}, 200);
  const std::size_t selected =
      cost(cluster, {.target = "/api/v1/namespaces/default/configmaps?labelSelector=x"}, 200);
  const std::size_t create =
      cost(cluster,
           {.method = "POST",
            .target = "/api/v1/namespaces/default/configmaps",
            .body = R"(","labels":{"app":"b"}},"data":{"key1":"some text","key2":"more text"}})"},
           201);
  INFO("get " << get << ", list " << list << ", selected " << selected << ", create " << create);
  CHECK(get < 40);
  CHECK(list < 60);
  CHECK(selected < list + 10);  // a selector looks at bytes, it does not parse objects
  CHECK(create < 120);
}

}  // namespace skiff::test
