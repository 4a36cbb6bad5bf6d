// What skiff keeps in one etcd value: the Op's value and what else a Record says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "skiff/store/log.hpp"

namespace skiff::etcd {

inline constexpr unsigned kFormat = 1;

// docs/internals/etcd.md has the bytes. Of an erase the envelope is a tombstone: it stands under
// the key `newest`, so it also says which key is gone.
struct Envelope {
  bool erase = false;
  bool is_volatile = false;
  bool sealed = false;         // `value` is what the sealer made of it
  std::uint64_t write_id = 0;  // random: tells a writer whether a write of unknown outcome happened
  std::int64_t time = 0;       // microseconds since 1970
  store::Revision previous = 0;
  store::Revision created = 0;  // erase only: etcd tells that of a key that exists
  std::string key;              // erase only
  std::string author;
  std::uint32_t slot = store::kNoSlot;  // in the open value
  store::Attributes attributes;
  std::string value;  // without its revision
};

std::string encode(const Envelope& envelope);
// Checks every length and number. The error does not name the key.
Result<Envelope> decode(std::string_view bytes);

// `value` with `revision` written in at `slot`.
std::string splice(std::string value, std::uint32_t slot, store::Revision revision);

}  // namespace skiff::etcd
