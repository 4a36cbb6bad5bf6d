// What a contained process may do: capabilities and system-call filters.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/result.hpp"

namespace skiff::sys {

// A set of capabilities, bit n being capability number n (capabilities(7)).
using CapabilitySet = std::uint64_t;

// Accepts "NET_ADMIN", "CAP_NET_ADMIN" in any case.
std::optional<int> capability_number(std::string_view name) noexcept;
std::string_view capability_name(int number) noexcept;  // "CAP_NET_ADMIN"; "" when unknown
// What the running kernel knows (/proc/sys/kernel/cap_last_cap).
CapabilitySet all_capabilities() noexcept;
// What this process may hand on: its bounding set.
CapabilitySet bounding_capabilities() noexcept;
// What container engines grant by default.
CapabilitySet default_capabilities() noexcept;
// `base` with `drop` removed and `add` added; "ALL" in either, as the CRI's Capability defines:
// drop ALL first leaves only what is added. Unknown names are Code::invalid.
Result<CapabilitySet> adjust_capabilities(CapabilitySet base, const std::vector<std::string>& add,
                                          const std::vector<std::string>& drop);

// A system-call filter, in the terms of the OCI runtime-spec's linux.seccomp.
struct SeccompArg {
  unsigned index = 0;
  std::uint64_t value = 0;
  std::uint64_t value_two = 0;
  std::string op;  // SCMP_CMP_EQ ...
};
struct SeccompRule {
  std::vector<std::string> names;
  std::string action;  // SCMP_ACT_ALLOW ...
  std::optional<unsigned> errno_ret;
  std::vector<SeccompArg> args;
};
struct SeccompProfile {
  std::string default_action = "SCMP_ACT_ERRNO";
  std::optional<unsigned> default_errno_ret;
  std::vector<std::string> architectures;  // beside the native one: SCMP_ARCH_X86 ...
  std::vector<SeccompRule> rules;
};

// The default profile of container engines: everything programs use in practice, without what
// reaches around a container's walls. Some calls depend on the capabilities the process has.
SeccompProfile default_seccomp_profile(CapabilitySet capabilities);

// The filter as the kernel takes it (struct sock_filter, 8 bytes each). Calls that this kernel's
// libseccomp does not know are left out, as engines do. Equal profiles share one program.
using SeccompProgram = std::shared_ptr<const std::vector<std::uint64_t>>;
Result<SeccompProgram> compile_seccomp(const SeccompProfile& profile);

}  // namespace skiff::sys
