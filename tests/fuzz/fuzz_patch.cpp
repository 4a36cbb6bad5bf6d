// Input: a letter for the kind of patch, then documents in JSON, each on a line.
#include "fuzz.hpp"
#include "skiff/api/patch.hpp"

using namespace skiff::api;

namespace {

std::string_view take_line(std::string_view& text) {
  const auto end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

bool has_null(const Value& v) {
  if (v.is_null()) return true;
  for (const Value& item : v.items()) {
    if (has_null(item)) return true;
  }
  for (const Member& m : v.members()) {
    if (has_null(m.value)) return true;
  }
  return false;
}

void check_whole(const Value& v) {
  SKIFF_ASSERT(v.depth() <= 2000, "a patched document stays shallow");
  SKIFF_ASSERT(*parse_json(to_json(v), {.max_bytes = SIZE_MAX, .max_depth = SIZE_MAX}) == v,
               "a patched document is JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const char kind = text[0];
  text.remove_prefix(1);
  const auto doc = parse_json(take_line(text));
  const auto patch = parse_json(take_line(text));
  if (!doc || !patch) return 0;
  const Type& pod = *find_kind("", "v1", "Pod")->type;
  Value result = *doc;
  switch (kind) {
    case 'j':
      if (!json_patch(result, *patch))
        SKIFF_ASSERT(result == *doc, "a refused patch changes nothing");
      break;
    case 'm':
      merge_patch(result, *patch);
      break;
    case 's':
      if (!strategic_merge_patch(pod, result, *patch)) {
        SKIFF_ASSERT(result == *doc, "a refused patch changes nothing");
      }
      break;
    case 'd': {
      const Value merge = create_merge_patch(*doc, *patch);
      if (doc->is_object() && patch->is_object() && !has_null(*patch)) {
        merge_patch(result, merge);
        SKIFF_ASSERT(result == *patch, "a computed merge patch leads to the document");
      }
      if (const auto two_way = create_two_way(pod, *doc, *patch)) check_whole(*two_way);
      break;
    }
    default: {
      const auto current = parse_json(take_line(text));
      if (!current) return 0;
      check_whole(merge_three_way(*doc, *patch, *current));
      const auto three_way = strategic_three_way(pod, *doc, *patch, *current);
      if (!three_way) return 0;
      check_whole(*three_way);
      result = *current;
      if (!strategic_merge_patch(pod, result, *three_way)) return 0;
    }
  }
  check_whole(result);
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
#define POD                                                                                      \
  R"({"metadata":{"name":"a","labels":{"x":"1"},"finalizers":["f","g"]},"spec":{"containers":[)" \
  R"({"name":"c","image":"i","env":[{"name":"E","value":"1"}],"ports":[{"containerPort":80}]},)" \
  R"({"name":"d"}],"volumes":[{"name":"v","emptyDir":{}}]}})"
  static constexpr std::string_view kSeeds[] = {
      "j{\"a\":{\"b\":[1,2,{\"c\":3}],\"d/e\":1},\"l\":[]}\n"
      R"([{"op":"add","path":"/a/b/-","value":{"x":1}},{"op":"remove","path":"/a/b/0"},)"
      R"({"op":"copy","from":"/a","path":"/l/0"},{"op":"move","from":"/a/d~1e","path":"/z"},)"
      R"({"op":"replace","path":"/z","value":[]},{"op":"test","path":"/z","value":[]}])",
      "m{\"a\":{\"b\":1,\"c\":[1]},\"d\":null}\n{\"a\":{\"b\":null,\"e\":{\"f\":null}},\"d\":2}",
      "s" POD
      "\n"
      R"({"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"n"}],"containers":[)"
      R"({"name":"n","image":"y"},{"$patch":"delete","name":"c"}],"volumes":[{"name":"v",)"
      R"("$retainKeys":["name"]}]},"metadata":{"$deleteFromPrimitiveList/finalizers":["f"],)"
      R"("labels":{"$patch":"replace","y":"2"}}})",
      "s" POD
      "\n"
      R"({"spec":{"containers":[{"$patch":"replace"},{"name":"z"}]}})",
      "d" POD
      "\n"
      R"({"metadata":{"name":"a","finalizers":["h"]},"spec":{"containers":[{"name":"d"},)"
      R"({"name":"c","image":"j"}],"volumes":[]}})",
      "t" POD
      "\n"
      R"({"metadata":{"name":"a","labels":{"y":"2"}},"spec":{"containers":[{"name":"c","image":"k"}]}})"
      "\n" POD,
  };
#undef POD
  return kSeeds;
}
