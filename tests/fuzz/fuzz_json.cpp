#include "fuzz.hpp"
#include "skiff/api/value.hpp"

using namespace skiff::api;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> duplicates;
  const auto v = parse_json(text, {}, &duplicates);
  if (!v) {
    SKIFF_ASSERT(!v.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  SKIFF_ASSERT(v->depth() <= 1000, "depth is bounded");
  const std::string compact = to_json(*v);
  SKIFF_ASSERT(*parse_json(compact) == *v, "compact JSON reads back the same");
  SKIFF_ASSERT(to_json(*parse_json(compact)) == compact, "written JSON is stable");
  SKIFF_ASSERT(*parse_json(to_json(*v, 2)) == *v, "indented JSON reads back the same");
  Value copy = *v;
  SKIFF_ASSERT(copy == *v, "a copy is equal");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},
          "spec":{"containers":[{"name":"a","image":"x","ports":[{"containerPort":80}]}]}})",
      R"([1,-2,0,1.5,1e10,-1E-7,123456789012345678901234567890,9223372036854775807,true,false,null])",
      "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\ud83d\\ude00\\ud800 "
      "\xC3\xA9\xE4\xB8\x96\xF0\x9F\x98\x80\"",
      R"({"a":1,"a":2,"b":{"a":1,"a":{}},"":[{},[],""]})",
      "[[[[[[[[]]]]]]]]",
      " \t\r\n{ \"a\" : [ 1 , 2 ] } ",
  };
  return kSeeds;
}
