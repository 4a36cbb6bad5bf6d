#include "node_ipam_plan.hpp"

#include <algorithm>
#include <charconv>
#include <map>

namespace skiff::controllers {
namespace {

// A number of at most `most` off the front of `text`.
std::optional<std::uint32_t> take_number(std::string_view& text, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value > most) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool older(const ObjectPtr& a, const ObjectPtr& b) {
  return std::pair(created_at(*a), a->name()) < std::pair(created_at(*b), b->name());
}

std::vector<AddressRange> ranges_of(const api::Object& node) {
  std::vector<AddressRange> out;
  for (const Value& cidr : node["spec"]["podCIDRs"].items()) {
    if (const auto range = AddressRange::parse(cidr.as_string())) out.push_back(*range);
  }
  return out;
}

// The ranges of a cluster by number, and whose they are.
class Shares {
 public:
  Shares(const AddressRange& cluster, std::uint8_t length)
      : cluster_(cluster), length_(std::max(length, cluster.length)) {}

  std::uint32_t count() const { return std::uint32_t{1} << (length_ - cluster_.length); }
  AddressRange at(std::uint32_t number) const {
    return {cluster_.first + (number << (32U - length_)), length_};
  }
  bool free(std::uint32_t number) const { return !owners_.contains(number); }

  // Marks all shares that `range` touches; the owner of one that was marked before, or null.
  ObjectPtr take(const AddressRange& range, const ObjectPtr& node) {
    if (!range.overlaps(cluster_)) return nullptr;
    const std::uint32_t begin = std::max(range.first, cluster_.first) - cluster_.first;
    const std::uint32_t end = std::min(range.last(), cluster_.last()) - cluster_.first;
    ObjectPtr before;
    for (std::uint32_t n = begin >> (32U - length_); n <= end >> (32U - length_); ++n) {
      const auto [owner, fresh] = owners_.try_emplace(n, node);
      if (!fresh && owner->second != node) before = owner->second;
    }
    return before;
  }

  // The number of the share with this address.
  std::optional<std::uint32_t> number_of(const std::string& address) const {
    const auto range = AddressRange::parse(address);
    if (!range || !range->overlaps(cluster_)) return std::nullopt;
    return (range->first - cluster_.first) >> (32U - length_);
  }

 private:
  AddressRange cluster_;
  std::uint8_t length_;
  std::map<std::uint32_t, ObjectPtr> owners_;
};

}  // namespace

std::optional<AddressRange> AddressRange::parse(std::string_view text) {
  std::uint32_t address = 0;
  for (int part = 0; part < 4; ++part) {
    if (part > 0) {
      if (!text.starts_with('.')) return std::nullopt;
      text.remove_prefix(1);
    }
    const auto byte = take_number(text, 255);
    if (!byte) return std::nullopt;
    address = address << 8U | *byte;
  }
  if (text.empty()) return AddressRange{address, 32};
  if (!text.starts_with('/')) return std::nullopt;
  text.remove_prefix(1);
  const auto length = take_number(text, 32);
  if (!length || !text.empty()) return std::nullopt;
  const std::uint32_t mask = *length == 0 ? 0 : ~std::uint32_t{0} << (32U - *length);
  return AddressRange{address & mask, static_cast<std::uint8_t>(*length)};
}

std::uint32_t AddressRange::last() const noexcept {
  return length == 0 ? ~std::uint32_t{0} : first | ~(~std::uint32_t{0} << (32U - length));
}

bool AddressRange::overlaps(const AddressRange& other) const noexcept {
  return first <= other.last() && other.first <= last();
}

std::string AddressRange::to_string() const {
  std::string out;
  for (std::uint32_t shift = 32; shift > 0; shift -= 8) {
    out += std::to_string(first >> (shift - 8) & 255U) + (shift > 8 ? "." : "/");
  }
  return out + std::to_string(length);
}

RangePlan plan_ranges(const AddressRange& cluster, std::uint8_t length,
                      std::span<const NodeInUse> nodes, std::uint32_t next) {
  RangePlan plan;
  Shares shares(cluster, length);
  std::vector<const NodeInUse*> sorted;
  std::vector<const NodeInUse*> gone;
  for (const NodeInUse& n : nodes) (n.node ? sorted : gone).push_back(&n);
  std::ranges::sort(sorted, [](auto* a, auto* b) { return older(a->node, b->node); });

  std::vector<const NodeInUse*> without;
  for (const NodeInUse* n : sorted) {
    if ((*n->node)["spec"]["podCIDRs"].empty()) without.push_back(n);
    for (const AddressRange& range : ranges_of(*n->node)) {
      if (auto first = shares.take(range, n->node)) plan.doubled.emplace_back(n->node, first);
    }
  }
  const auto give = [&](const NodeInUse* n, std::uint32_t number) {
    shares.take(shares.at(number), n->node);
    plan.give.emplace_back(n->node, shares.at(number));
  };
  std::vector<const NodeInUse*> any;
  for (const NodeInUse* n : without) {
    std::optional<std::uint32_t> held;
    for (const std::string& ip : n->pod_ips) {
      const auto number = shares.number_of(ip);
      if (number && shares.free(*number) && !held) held = number;
    }
    if (held) {
      give(n, *held);
    } else {
      any.push_back(n);
    }
  }
  for (const NodeInUse* n : gone) {
    for (const std::string& ip : n->pod_ips) {
      const auto number = shares.number_of(ip);
      if (number && shares.free(*number)) shares.take(shares.at(*number), nullptr);
    }
  }
  const std::uint32_t count = shares.count();
  for (const NodeInUse* n : any) {
    std::uint32_t tried = 0;
    while (tried < count && !shares.free((next + tried) % count)) ++tried;
    if (tried == count) {
      plan.left_out.push_back(n->node);
      continue;
    }
    give(n, (next + tried) % count);
    next = (next + tried + 1) % count;
  }
  plan.next = next % count;
  return plan;
}

}  // namespace skiff::controllers
