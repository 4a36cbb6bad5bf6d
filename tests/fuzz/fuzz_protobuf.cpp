// Request bodies in protobuf.
#include "fuzz.hpp"
#include "protobuf.hpp"

using namespace skiff;
using namespace std::string_view_literals;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto body = apiserver::protobuf::parse_body(bytes);
  if (body) {
    SKIFF_ASSERT(body->is_object(), "a body is an object");
    SKIFF_ASSERT(api::parse_json(api::to_json(*body)).has_value(), "and has a JSON form");
  } else {
    SKIFF_ASSERT(!body.error().message.empty(), "an error says what is wrong");
  }
  // The same bytes inside a good envelope: the mutations go into the object.
  const std::string_view head = "k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12"sv;
  std::string framed(head);
  std::size_t rest = size;
  while (rest >= 0x80) {
    framed += static_cast<char>(0x80 | (rest & 0x7f));
    rest >>= 7;
  }
  framed += static_cast<char>(rest);
  framed += bytes;
  const auto pod = apiserver::protobuf::parse_body(framed);
  if (pod) SKIFF_ASSERT(api::parse_json(api::to_json(*pod)).has_value(), "a pod has a JSON form");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      // metadata{name, labels{a: b}}, spec{containers[{name, image, ports[{containerPort}]}]}
      "\x0a\x0e\x0a\x03web\x5a\x06\x0a\x01"
      "a\x12\x01"
      "b\x12\x14\x12\x12\x0a\x01"
      "c\x12\x05image\x32\x05\x10\x90\x3f\x22\x00"sv,
      "\x0a\x05\x0a\x03web\x12\x02\x20\x1e\x1a\x00"sv,
      "k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
      "ConfigMap\x12\x10\x0a\x03\x0a\x01"
      "a\x12\x06\x0a\x01k\x12\x01v\x1a\x00"sv,
      "k8s\0\x0a\x16\x0a\x07"
      "apps/v1\x12\x0a"
      "Deployment\x12\x0b\x0a\x05\x0a\x03web\x12\x02\x08\x03"sv,
      "\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01"sv,
      "\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x08\x0b\x0c\x0d\x01\x02\x03\x04"sv,
  };
  return kSeeds;
}
