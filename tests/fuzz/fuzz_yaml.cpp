#include "fuzz.hpp"
#include "skiff/api/value.hpp"

using namespace skiff::api;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> duplicates;
  const auto v = parse_yaml(text, {}, &duplicates);
  if (!v) SKIFF_ASSERT(!v.error().message.empty(), "an error says what is wrong");
  const auto stream = parse_yaml_stream(text);
  if (stream) SKIFF_ASSERT(v.has_value(), "a stream is read when its first document is");
  if (!v) return 0;
  SKIFF_ASSERT(v->depth() <= 1000, "depth is bounded");
  SKIFF_ASSERT(*parse_json(to_json(*v)) == *v, "YAML is JSON");
  const std::string yaml = to_yaml(*v);
  const auto again = parse_yaml(yaml, {.max_bytes = SIZE_MAX});
  SKIFF_ASSERT(again.has_value() && *again == *v, "written YAML reads back the same");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {app: web}\nspec:\n"
      "  replicas: 3\n  template:\n    spec:\n      containers:\n      - name: a\n        image: "
      "x\n"
      "        args: [\"-c\", 'it''s', 0x1F]\n",
      "a: &x {b: 1, c: [1, 2]}\nd: *x\ne:\n  <<: *x\n  b: 2\nf: {<<: [*x, {g: 1}]}\n",
      "a: |\n  text\n    more\n\nb: >-\n  folded\n  text\nc: |+\n  kept\n\n",
      "--- # one\na: 1\n...\n---\n- - 1\n  - 2\n- ? k\n  : v\n",
      "{\"json\": [1, 1.5, null, true, \"x\\u00e9\\n\"]}",
      "a: yes\nb: 0644\nc: 1_000\nd: .5\ne: 2001-01-01\nf: !!str 1\ng: !!binary aGk=\nh: ~\ni: "
      "1e3\n",
      "%YAML 1.1\n---\n!!set {a, b}\n",
  };
  return kSeeds;
}
