// Which range of pod addresses each node gets. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "objects.hpp"

namespace skiff::controllers {

// IPv4 addresses that share their first `length` bits; `first` in host order.
struct AddressRange {
  std::uint32_t first = 0;
  std::uint8_t length = 32;

  // "10.42.0.0/16"; an address alone is a range of one. Bits behind the prefix are cleared.
  static std::optional<AddressRange> parse(std::string_view text);
  std::uint32_t last() const noexcept;
  bool overlaps(const AddressRange& other) const noexcept;
  std::string to_string() const;
  auto operator<=>(const AddressRange&) const = default;
};

// A node, and the addresses that pods on it hold already.
struct NodeInUse {
  ObjectPtr node;  // null: one that is gone while its pods are not
  std::vector<std::string> pod_ips;
};

struct RangePlan {
  std::vector<std::pair<ObjectPtr, AddressRange>> give;
  std::vector<ObjectPtr> left_out;  // no range is left for these
  // Nodes whose range overlaps that of an older one: such ranges cannot be changed.
  std::vector<std::pair<ObjectPtr, ObjectPtr>> doubled;
  std::uint32_t next = 0;  // where the next search begins
};

// Divides `cluster` into ranges of `length` bits and gives one to every node that has none. Ranges
// in spec.podCIDRs stand. A node whose pods have addresses gets the range these are in, if it is
// free. The others, oldest first, get the next free range counting from number `next`, going round:
// one that has just come free is used last. One that pods of a node that is gone still have
// addresses of is not free for them.
RangePlan plan_ranges(const AddressRange& cluster, std::uint8_t length,
                      std::span<const NodeInUse> nodes, std::uint32_t next);

}  // namespace skiff::controllers
