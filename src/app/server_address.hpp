// Which addresses a server has and gives out.
#pragma once

#include <string>

#include "skiff/linux/netlink.hpp"

namespace skiff::app {

// The n-th address of a range: .1 is the API's service, .10 the DNS service, as everywhere.
std::string nth_address(const netlink::Prefix& range, std::uint32_t n);

// The address other machines would reach this one by: that of the default route, else that of any
// real link other than `but_not_on`; "" on a machine without one. Nothing is sent.
std::string own_address(const std::string& but_not_on);

}  // namespace skiff::app
