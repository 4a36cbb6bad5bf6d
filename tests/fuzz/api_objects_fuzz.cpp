// libFuzzer entry: decoding, defaulting and validation of objects of every kind.
#include <cstdio>
#include <cstdlib>

#include "support/api_objects.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string wrong = skiff::api::test::check_one({data, size});
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}
