// Pieces that several rules are made of.
#pragma once

#include <cstdint>
#include <string>

#include "model.hpp"
#include "ruleset.hpp"
#include "skiff/linux/nftables.hpp"

namespace skiff::proxy {

using nft::Base;
using nft::Compare;
using nft::Meta;
using nft::Reg;
using nft::Rule;
using nft::Verdict;

inline constexpr nft::Family kFamily = nft::Family::ipv4;
// Offsets in the IPv4 header, and in those of TCP, UDP and SCTP.
inline constexpr std::uint32_t kSource = 12, kDestination = 16, kAddress = 4;
inline constexpr std::uint32_t kDestinationPort = 2;
inline constexpr std::uint32_t kTypeLocal = 2;  // RTN_LOCAL

// What fronts' elements say of masquerading.
inline constexpr std::uint32_t kMasqueradeAll = 1;   // every client
inline constexpr std::uint32_t kMasqueradeNode = 2;  // the node itself

netlink::Bytes word(std::uint32_t v);

// r0..r2 = destination address, protocol, destination port.
Rule& load_front(Rule& rule);
// r0..r1 = protocol, destination port; only for packets to one of this machine's addresses.
Rule& load_node_port(Rule& rule);
// r0.. = key of the map for packets of that kind.
Rule& load_key(Rule& rule, Front front);
// The rest use r12 and leave the others alone.
Rule& mark_for_masquerade(Rule& rule);
Rule& match_prefix(Rule& rule, std::uint32_t offset, const Prefix& prefix, Compare op);
Rule& only_new(Rule& rule);
Rule& from_this_node(Rule& rule, bool yes);

inline Verdict jump(std::string chain) { return {Verdict::Type::jump, std::move(chain)}; }
inline Verdict go(std::string chain) { return {Verdict::Type::go, std::move(chain)}; }
inline Verdict drop() { return {Verdict::Type::drop, ""}; }
inline Verdict ret() { return {Verdict::Type::ret, ""}; }

}  // namespace skiff::proxy
