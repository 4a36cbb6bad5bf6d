#include "fuzz.hpp"
#include "skiff/api/selector.hpp"

using namespace skiff::api;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const Value object = *parse_json(
      R"({"metadata":{"name":"a","labels":{"a":"b","c":"5","in":"x"}},"spec":{"x":true}})");
  const auto labels = LabelSelector::parse(text);
  if (labels) {
    const std::string written = labels->to_string();
    const auto again = LabelSelector::parse(written);
    SKIFF_ASSERT(again.has_value() && again->to_string() == written, "a label selector is stable");
    SKIFF_ASSERT(again->matches(object["metadata"]["labels"]) ==
                     labels->matches(object["metadata"]["labels"]),
                 "a written label selector selects the same");
  } else {
    SKIFF_ASSERT(!labels.error().message.empty(), "an error says what is wrong");
  }
  const auto fields = FieldSelector::parse(text);
  if (fields) {
    const std::string written = fields->to_string();
    const auto again = FieldSelector::parse(written);
    SKIFF_ASSERT(again.has_value(), "a written field selector is one");
    SKIFF_ASSERT(again->matches(object) == fields->matches(object),
                 "a written field selector selects the same");
  }
  if (const auto document = parse_json(text)) (void)LabelSelector::from(*document);
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      "a=b,c!=d,e in (f,g),h notin (i),j,!k",
      "app.kubernetes.io/name==web , c>1,c<9",
      "in in (in,,notin), notin",
      "metadata.name=a,spec.x!=true,metadata.labels.a=b",
      "a=b\\,c\\=d\\\\,e==f",
      R"({"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"In","values":["5"]}]})",
  };
  return kSeeds;
}
