// Where a paged LIST goes on: opaque to clients, URL-safe, good for as long as its revision is
// readable.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "skiff/base/result.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry {

struct ContinueToken {
  store::Revision revision = 0;  // -1: the newest, a list that need not be consistent
  std::string after;             // the key of the last item returned, below the resource's prefix
  std::int64_t remaining = -1;   // how many were left when it was made; -1: not counted

  std::string encode() const;
  static Result<ContinueToken> decode(std::string_view text);
};

}  // namespace skiff::registry
