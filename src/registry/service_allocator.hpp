// Which cluster addresses and node ports are taken. Kept in memory and rebuilt from the Services at
// start: the store is the truth. As upstream, automatic choices come from the upper part of a range
// first, so that the lower part stays free for addresses chosen by hand (KEP-3070, KEP-3668).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "skiff/base/random.hpp"
#include "skiff/base/result.hpp"

namespace skiff::registry {

enum class IpFamily : std::uint8_t { v4, v6 };
std::string_view name_of(IpFamily family) noexcept;  // "IPv4"
std::optional<IpFamily> family_of(std::string_view address);

class ServiceAllocator {
 public:
  // `cidrs`: one range, or two of different families separated by a comma; the first is the
  // default family. Fails with a message for the user.
  static Result<ServiceAllocator> make(Random& random, std::string_view cidrs, int port_min,
                                       int port_max);

  const std::vector<IpFamily>& families() const noexcept { return order_; }
  std::string_view cidr(IpFamily family) const;

  // unavailable when the range is full.
  Result<std::string> next_ip(IpFamily family);
  // Takes this address: already_exists when taken, invalid when outside the range, each with
  // upstream's reason as message.
  Result<void> claim_ip(std::string_view address);
  void release_ip(std::string_view address);
  // The range's first usable address, which belongs to default/kubernetes.
  std::string first_ip() const;

  Result<int> next_port();
  Result<void> claim_port(int port);
  void release_port(int port);

 private:
  struct Pool {
    std::string cidr;
    std::array<std::uint8_t, 16> base{};
    std::uint64_t size = 0;  // addresses, capped at 2^32
    std::unordered_set<std::uint64_t> used;
    IpFamily family = IpFamily::v4;
  };
  Pool* pool(IpFamily family);
  static std::string address_at(const Pool& pool, std::uint64_t offset);
  static std::optional<std::uint64_t> offset_of(const Pool& pool, std::string_view address);
  static Result<Pool> parse_pool(std::string_view cidr);

  Random* random_ = nullptr;
  std::vector<Pool> pools_;
  std::vector<IpFamily> order_;
  int port_min_ = 0;
  int port_max_ = 0;
  std::unordered_set<int> ports_;
};

}  // namespace skiff::registry
