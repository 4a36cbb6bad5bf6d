// Bodies as generated clients send them.
#include "protobuf.hpp"

#include <catch2/catch_test_macros.hpp>

namespace skiff::apiserver {
namespace {

std::string varint(std::uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7U) out += static_cast<char>((v & 0x7FU) | 0x80U);
  return out + static_cast<char>(v);
}
std::string bytes(int number, const std::string& payload) {
  return varint(static_cast<std::uint64_t>(number) << 3U | 2U) + varint(payload.size()) + payload;
}
std::string integer(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3U) + varint(value);
}
std::string body(const std::string& version, const std::string& kind, const std::string& raw) {
  return std::string("k8s\0", 4) + bytes(1, bytes(1, version) + bytes(2, kind)) + bytes(2, raw) +
         bytes(3, "") + bytes(4, "");
}

}  // namespace

TEST_CASE("a config map from protobuf") {
  const std::string metadata = bytes(1, "a") + bytes(2, "") + bytes(3, "default") + integer(7, 0) +
                               bytes(8, "") + bytes(11, bytes(1, "app") + bytes(2, "web"));
  const auto doc =
      protobuf::parse_body(body("v1", "ConfigMap",
                                bytes(1, metadata) + bytes(2, bytes(1, "k") + bytes(2, "v")) +
                                    bytes(3, bytes(1, "b") + bytes(2, "\x01\x02"))));
  REQUIRE(doc.has_value());
  CHECK(*doc == api::parse_json(R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a",
      "namespace":"default","labels":{"app":"web"}},"data":{"k":"v"},
      "binaryData":{"b":"AQI="}})")
                    .value());
}

TEST_CASE("a deployment from protobuf: numbers, quantities, int-or-strings, times") {
  const std::string container = bytes(1, "c") + bytes(2, "i") +
                                bytes(8, bytes(1, bytes(1, "cpu") + bytes(2, bytes(1, "100m"))));
  const std::string pod_template = bytes(2, bytes(2, container));
  const std::string rolling = bytes(1, integer(1, 1) + integer(2, 0) + bytes(3, "25%"));
  const std::string strategy = bytes(1, "RollingUpdate") + bytes(2, rolling);
  const std::string spec =
      integer(1, 3) + bytes(3, pod_template) + bytes(4, strategy) + integer(7, 0);
  const std::string metadata = bytes(1, "d") + bytes(8, integer(1, 1767225600));
  const auto doc =
      protobuf::parse_body(body("apps/v1", "Deployment", bytes(1, metadata) + bytes(2, spec)));
  REQUIRE(doc.has_value());
  CHECK((*doc)["metadata"]["creationTimestamp"].as_string() == "2026-01-01T00:00:00Z");
  CHECK((*doc)["spec"]["replicas"].as_int() == 3);
  CHECK((*doc)["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"].as_string() == "25%");
  const api::Value& c = (*doc)["spec"]["template"]["spec"]["containers"].items()[0];
  CHECK(c["resources"]["limits"]["cpu"].as_string() == "100m");
}

TEST_CASE("embedded structs sit in messages of their own") {
  // A volume's source: {"name":"v","emptyDir":{}} is field 2 holding field 2.
  const std::string volume = bytes(1, "v") + bytes(2, bytes(2, ""));
  const std::string spec = bytes(1, volume);
  const auto doc = protobuf::parse_body(body("v1", "Pod", bytes(2, spec)));
  REQUIRE(doc.has_value());
  CHECK((*doc)["spec"]["volumes"].items()[0] ==
        api::parse_json(R"({"name":"v","emptyDir":{}})").value());
}

TEST_CASE("bytes that are no protobuf are refused") {
  const std::string good = body("v1", "ConfigMap", bytes(1, bytes(1, "a")));
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    INFO(cut);
    (void)protobuf::parse_body(good.substr(0, cut));  // must not crash
  }
  CHECK(protobuf::parse_body("").error().code == Code::bad_request);
  CHECK(protobuf::parse_body("{}").error().code == Code::bad_request);
  CHECK(protobuf::parse_body(body("v1", "Nothing", "")).error().code == Code::bad_request);
  CHECK(protobuf::parse_body(body("v1", "ConfigMap", "\xff\xff\xff")).error().code ==
        Code::bad_request);
  CHECK(protobuf::parse_body(body("v1", "ConfigMap", integer(1, 5))).error().code ==
        Code::bad_request);  // metadata cannot be a number
  std::string deep;
  for (int i = 0; i < 500; ++i) deep = bytes(1, deep);
  (void)protobuf::parse_body(body("v1", "ConfigMap", deep));
}

}  // namespace skiff::apiserver
