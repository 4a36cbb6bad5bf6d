// How a record's parts look on disk; the same for every log that writes files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "skiff/store/log.hpp"

namespace skiff::store {

// Attributes as name, value, name, value...: each a length (LEB128) and its bytes. Empty for none.
std::string encode_attributes(const Attributes& attributes);
bool decode_attributes(std::string_view bytes, Attributes& out);

// Finds damage, not malice: 64 bits over everything a record says.
std::uint64_t checksum(const Item& item, Revision previous, unsigned flags);

}  // namespace skiff::store
