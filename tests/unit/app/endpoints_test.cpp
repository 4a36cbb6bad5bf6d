#include <catch2/catch_test_macros.hpp>

#include "cluster.hpp"

using namespace skiff::app;

TEST_CASE("default/kubernetes leads to servers with one port that others can reach") {
  const std::vector<std::string> all = {"https://10.0.0.2:6443", "https://127.0.0.1:6443",
                                        "https://10.0.0.1:6443", "https://10.0.0.3:7443", "junk"};
  CHECK(usable_endpoints(all, "https://10.0.0.1:6443") ==
        std::vector<std::string>{"https://10.0.0.1:6443", "https://10.0.0.2:6443"});
  CHECK(usable_endpoints(all, "https://10.0.0.3:7443") ==
        std::vector<std::string>{"https://10.0.0.3:7443"});
  CHECK(usable_endpoints({}, "https://10.0.0.1:6443").empty());
}
