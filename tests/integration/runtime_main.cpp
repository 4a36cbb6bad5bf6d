// The test program is also the shim, and a skiff that a test may kill.
#include <catch2/catch_session.hpp>
#include <cstring>

#include "runtime_fixture.hpp"
#include "skiff/runtime/shim.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "shim") == 0) {
    return skiff::runtime::shim_main(argc - 1, argv + 1);
  }
  if (argc > 1 && std::strcmp(argv[1], "victim") == 0) {
    return skiff::test::victim_main(argc - 1, argv + 1);
  }
  return Catch::Session().run(argc, argv);
}
