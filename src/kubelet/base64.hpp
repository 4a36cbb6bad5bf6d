// Decoding of Secret data (RFC 4648, both alphabets). Validation has let only well-formed text in.
#pragma once

#include <string>
#include <string_view>

namespace skiff::kubelet {

std::string decode_base64(std::string_view text);

}  // namespace skiff::kubelet
