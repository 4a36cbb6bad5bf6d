// Decoding, defaulting and validation of objects of every kind. The bytes are choices, not text:
// what they choose is mostly well formed.
#include <cstdio>

#include "fuzz.hpp"
#include "support/api_objects.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string wrong = skiff::api::test::check_one({data, size});
  if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
  SKIFF_ASSERT(wrong.empty(), "objects keep the schema's promises");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static const std::string pattern = [] {
    std::string out;
    for (int i = 0; i < 400; ++i) out += static_cast<char>(i * 37 + i / 7);
    return out;
  }();
  static const std::string zeros(64, '\0');
  static const std::string ones(200, '\1');
  static const std::string_view kSeeds[] = {pattern, zeros, ones, "a pod with all its fields"};
  return kSeeds;
}
