// RFC 4648 section 4, as protobuf's JSON mapping writes bytes.
#pragma once

#include <string>
#include <string_view>

#include "skiff/base/result.hpp"

namespace skiff::etcd {

void append_base64(std::string& out, std::string_view bytes);
// Refuses what is not whole groups of the alphabet with its padding.
Result<std::string> decode_base64(std::string_view text);

}  // namespace skiff::etcd
