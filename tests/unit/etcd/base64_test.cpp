#include "base64.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace skiff;
using namespace skiff::etcd;

TEST_CASE("bytes as text and back") {
  // RFC 4648 section 10.
  const std::pair<std::string_view, std::string_view> table[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
      {"\xff\xfe\xfd", "//79"},
  };
  for (const auto& [bytes, text] : table) {
    std::string out = "x";
    append_base64(out, bytes);
    CHECK(out.substr(1) == text);
    CHECK(*decode_base64(text) == bytes);
  }
  for (const std::string_view bad : {"Z", "Zg", "Zg=", "Zm9v!A==", "====", "Zm=v", "Zg==Zg=="}) {
    INFO(bad);
    CHECK(decode_base64(bad).has_error());
  }
}
