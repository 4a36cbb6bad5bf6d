// How a record's parts look on disk; the same for every log that writes files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "skiff/store/log.hpp"

namespace skiff::store {

// A number in LEB128.
void put_varint(std::string& out, std::uint64_t n);
// False when `in` does not begin with one; else `in` moves on.
bool get_varint(std::string_view& in, std::uint64_t& out);

// A length (LEB128) and its bytes.
void put_text(std::string& out, std::string_view text);
// False when `in` does not begin with one. A view into `in`, which moves on.
bool get_text(std::string_view& in, std::string_view& out);

// Attributes as name, value, name, value...: each a text. Empty for none.
std::string encode_attributes(const Attributes& attributes);
bool decode_attributes(std::string_view bytes, Attributes& out);

// Checksums find damage, not malice: 64 bits over everything a record says.
// Of format 1: no time, no author.
std::uint64_t checksum(const Item& item, Revision previous, unsigned flags);
// Of format 2. `value` as it stands in the file (perhaps sealed); `time` in microseconds.
std::uint64_t checksum(const Item& item, std::string_view value, Revision previous, unsigned flags,
                       std::int64_t time, std::string_view author);
// Of bytes; `seed` says what place they have.
std::uint64_t checksum(std::string_view bytes, std::uint64_t seed);

}  // namespace skiff::store
